image "sh" { ref = "busybox:1.36" }
source "ftp" { url = "ftp://x/y.csv" } # ERROR: Bad URL
source "nohost" { url = "https:///y.csv" } # ERROR: Bad URL
source "password" { url = "https://me:secret@x/y.csv" } # ERROR: Password in a URL
source "noname" { url = "https://x/" } # ERROR: URL without a file name
source "both" {
  url = "https://x/y.csv"
  oci = "x/y:1" # ERROR: Source with two origins
}
source "pattern" {
  url  = "https://x/y.csv"
  path = "data/*.csv" # ERROR: Pattern for one place
}
source "out" {
  url  = "https://x/y.csv"
  path = "../y.csv" # ERROR: Path leaves the project
}
source "moves" { oci = "registry.example/data/wine" } # ERROR: Floating image
source "bad" { oci = "Registry Example" } # ERROR: Bad image reference
source "null" { url = null } # ERROR: Wrong type
stage "a" {
  image   = image.sh
  command = "true"
  outputs = { a = "a" }
}
