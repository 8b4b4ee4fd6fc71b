image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  inputs  = ["data", "src/a.py"]
  command = "true"
  outputs = { one = "x/one", two = "data/two" } # ERROR: Output overlaps an input
}
stage "b" {
  image   = image.sh
  command = "true"
  outputs = { one = "x/one" } # ERROR: Path written twice
}
stage "c" {
  image   = image.sh
  command = "true"
  outputs = { all = "x/" } # ERROR: Output inside another
  metrics = "y/m.json"
}
stage "d" {
  image   = image.sh
  command = "true"
  outputs = ["y/m.json/deep"] # ERROR: Output inside another
}
stage "e" {
  for_each = ["p", "q"]
  image    = image.sh
  command  = "true"
  outputs  = ["same.txt"] # ERROR: Path written twice
}
stage "f" {
  image   = image.sh
  inputs  = [stage.a.one, { from = "src/b.py", as = "x/one" }] # ERROR: Inputs at one path
  command = "true"
}
stage "g" {
  image   = image.sh
  inputs  = ["x/one", "parts/*.csv"] # ERROR: Output overlaps an input
  command = "true"
  outputs = { part = "parts/1.csv" } # ERROR: Output overlaps an input
}
stage "h" {
  image   = image.sh
  inputs  = ["lib", { from = stage.b.one, as = "lib/one" }] # ERROR: Inputs at one path
  command = "true"
}
stage "i" {
  matrix  = { depth = [1, 2] }
  image   = image.sh
  command = "true"
  outputs = { o = "m.txt" } # ERROR: Path written twice
}
export "src/a.py" { from = stage.a.two } # ERROR: Export over an input
export "out" { from = stage.a.one }
export "out/deep" { from = stage.b.one } # ERROR: Two exports to one path
export "plumb.hcl" { from = stage.d.deep } # ERROR: Export over the pipeline
