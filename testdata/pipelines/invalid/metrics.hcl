image "sh" { ref = "busybox:1.36" }
stage "a" {
  image   = image.sh
  command = "true"
  outputs = { out = "a/out" }
  metrics = "a/m.json"
}
stage "b" {
  image   = image.sh
  command = "echo ${stage.a.metrics} ${stage.f.metrics.x}" # ERROR: Incomplete reference; Stage without metrics
  outputs = { out = "b/${stage.a.metrics.x}" } # ERROR: Reference not allowed here
}
stage "c" {
  image   = image.sh
  inputs  = ["x/${stage.a.metrics.x}"] # ERROR: Metric not allowed here
  command = "echo ${file("data/note.txt")} ${stage.a.metrics.x}" # ERROR: File and metric together
  timeout = "${stage.a.metrics.x}s" # ERROR: Reference not allowed here
}
stage "each" {
  for_each = ["p", "q"]
  image    = image.sh
  command  = "true"
  metrics  = "each/${each.key}.json"
}
stage "d" {
  image   = image.sh
  command = "echo ${max([for k in ["p", "q"] : stage.each[k].metrics.x]...)}" # ERROR: Metric reference not fixed
}
stage "f" {
  image   = image.sh
  command = "true"
}
