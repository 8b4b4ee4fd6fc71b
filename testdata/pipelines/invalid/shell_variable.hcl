image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  command = "echo ${HOME} $HOME $${HOME}" # ERROR: Shell variable in braces
}
stage "b" {
  image = image.sh
  command = <<EOT
    set -x
    cp in ${TARGET} # ERROR: Shell variable in braces
  EOT
}
