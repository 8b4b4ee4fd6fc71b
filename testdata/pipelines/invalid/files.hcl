image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  command = "echo ${file("data/missing.txt")}" # ERROR: Invalid function argument
}
stage "b" {
  image   = image.sh
  command = "echo ${file("/etc/hostname")}" # ERROR: Invalid function argument
}
stage "c" {
  image   = image.sh
  command = "echo ${join(" ", fileset("../", "*"))}" # ERROR: Invalid function argument
}
