image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  command = "echo ${HOME:-/root}" # ERROR: Shell expansion in braces
}
