image "none" {} # ERROR: Image without origin
image "both" {
  ref     = "busybox:1.36"
  archive = "x.tar" # ERROR: Image with two origins
}
image "bare" { ref = "python" } # ERROR: Floating image
image "latest" { ref = "ghcr.io/org/python:latest" } # ERROR: Floating image
image "port" { ref = "localhost:5000/python" } # ERROR: Floating image
image "allowed" {
  ref      = "python:latest"
  floating = true
}
image "digest" { ref = "python@sha256:0123456789012345678901234567890123456789012345678901234567890123" }
image "bad" { ref = "Python Image:1" } # ERROR: Bad image reference
image "void" { ref = "" } # ERROR: Bad image reference
image "platform" {
  ref      = "python:3.12"
  platform = "amd64" # ERROR: Bad platform
}
image "unknown_builtin" { builtin = "toolbx" } # ERROR: Unknown builtin
image "two_more" {
  ref     = "busybox:1.36"
  builtin = "toolbox" # ERROR: Image with two origins
}
