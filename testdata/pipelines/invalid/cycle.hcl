image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  inputs  = [stage.c.out]
  command = "true"
  outputs = { out = "a" }
}
stage "b" {
  image   = image.sh
  inputs  = [stage.a.out] # ERROR: Dependency cycle
  command = "true"
  outputs = { out = "b" }
}
stage "c" {
  image   = image.sh
  inputs  = [stage.b.out]
  command = "true"
  outputs = { out = "c" }
}
stage "self" {
  image   = image.sh
  inputs  = [stage.self.out] # ERROR: Dependency cycle
  command = "true"
  outputs = { out = "self" }
}
stage "waits" {
  image   = image.sh
  command = "true"
  after   = [stage.waits] # ERROR: Stage after itself
}
stage "m" {
  image   = image.sh
  command = "echo ${stage.n.metrics.x}"
  metrics = "m.json"
}
stage "n" {
  image   = image.sh
  command = "true"
  metrics = "n.json"
  when    = stage.m.metrics.x > 1 # ERROR: Dependency cycle
}
