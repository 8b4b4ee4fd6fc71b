image "sh" { ref = "busybox:1.36" }
pipeline "p" { image = image.sh }
stage "a" {
  command    = "true"
  checkpoint = "../outside" # ERROR: Output outside the sandbox
}
stage "b" {
  command    = "true"
  checkpoint = "/abs" # ERROR: Absolute path
}
stage "c" {
  command    = "true"
  outputs    = { model = "out/model" }
  checkpoint = "out" # ERROR: Checkpoint overlaps output
}
stage "d" {
  inputs     = ["data"]
  command    = "true"
  checkpoint = "data/ckpt" # ERROR: Checkpoint overlaps input
}
stage "e" {
  command    = "true"
  metrics    = "m/metrics.json"
  checkpoint = "m/" # ERROR: Checkpoint overlaps metrics
}
stage "f" {
  command    = "true"
  checkpoint = "ckpt-*" # ERROR: Pattern in an output
}
stage "g" {
  command    = "true"
  idempotent = true # ERROR: Idempotent without effect
}
stage "h" {
  command = "true"
  effect  = true
  cache   = false # ERROR: Effect that is not remembered
}
stage "i" {
  command = "true"
  effect  = true
  outputs = { big = { path = "i.bin", retain = "none" } } # ERROR: Output of an effect not kept
}
stage "j" {
  command = "true"
  outputs = { big = { path = "j.bin", retain = "non" } } # ERROR: Bad retain
}
stage "k" {
  command = "true"
  outputs = { big = { retain = "none" } } # ERROR: Missing path
}
stage "l" {
  command = "true"
  outputs = { big = { path = "l.bin", keep = "none" } } # ERROR: Unknown attribute
}
stage "m" {
  command = "true"
  outputs = { big = { path = "mm/", retain = "none" } } # ERROR: Metrics not kept
  metrics = "mm/metrics.json"
}
stage "n" {
  command = "true"
  effect  = "perhaps" # ERROR: Wrong type
}
