image "sh" { ref = "busybox:1.36" }
source "abs" { path = "/data/x" } # ERROR: Absolute path
source "up" { path = "../x" } # ERROR: Path leaves the project
source "none" {} # ERROR: Missing path
source "empty" { path = "" } # ERROR: Empty path
source "home" { path = "~/x" } # ERROR: Absolute path
source "null" { path = null } # ERROR: Wrong type
image "archive" { archive = "/x.tar" } # ERROR: Absolute path
stage "a" {
  image   = image.sh
  inputs  = ["/etc/passwd", "a/../../b", "", ".", "a\\b", { from = "x", as = "/y" }] # ERROR: Absolute path; Path leaves the project; Empty path; Path is the whole project; Bad path; Absolute path
  command = "true"
  outputs = {
    a = "/workspace/a" # ERROR: Absolute path
    b = "../b" # ERROR: Output outside the sandbox
    c = "" # ERROR: Empty path
    d = "parts/*" # ERROR: Pattern in an output
    metrics = "x" # ERROR: Bad name
  }
  metrics = "../m.json" # ERROR: Output outside the sandbox
}
stage "b" {
  image   = image.sh
  inputs  = [{ as = "x" }, { from = "x", at = "y" }, { from = "x/*", as = "y" }] # ERROR: Missing from; Unknown attribute; Several things at one path
  command = "true"
  outputs = ["one/x.csv", "two/x.csv"] # ERROR: Duplicate name
}
export "/tmp/x" { from = stage.b.x } # ERROR: Absolute path
export "../x" { from = stage.b.x } # ERROR: Path leaves the project
