image "sh" { ref = "busybox:1.36" }
stage "both" {
  for_each = ["a"]
  matrix   = { x = [1] } # ERROR: Two expansions
  image    = image.sh
  command  = "true"
}
stage "dup" {
  for_each = ["a", "a"] # ERROR: Duplicate name
  image    = image.sh
  command  = "true"
}
stage "key" {
  for_each = ["a]", ""] # ERROR: Bad key; Bad key
  image    = image.sh
  command  = "true"
}
stage "text" {
  for_each = "a" # ERROR: Wrong type
  image    = image.sh
  command  = "true"
}
stage "flat" {
  matrix  = { x = 1 } # ERROR: Wrong type
  image   = image.sh
  command = "true"
}
stage "deep" {
  matrix  = { x = [[1]] } # ERROR: Wrong type
  image   = image.sh
  command = "true"
}
stage "huge" {
  matrix  = { a = range(1000), b = range(1000) } # ERROR: Too many stages
  image   = image.sh
  command = "true"
}
stage "ok" {
  for_each = { a = 1, b = 2 }
  image    = image.sh
  command  = "echo ${each.vale}" # ERROR: Unknown reference
  outputs  = { out = "ok/${each.key}", all = "all/${matrix.x}" } # ERROR: Reference not allowed here
}
stage "fine" {
  for_each = { a = 1, b = 2 }
  image    = image.sh
  command  = "true"
  outputs  = { out = "fine/${each.key}" }
}
stage "use" {
  image   = image.sh
  inputs  = [stage.fine["c"].out, stage.fine.a.oot, stage.fine] # ERROR: Unknown stage instance; Unknown output
  command = "true"
}
stage "loop" {
  image    = image.sh
  for_each = stage.fine # ERROR: Reference not allowed here
  command  = "true"
}
export "x" { from = stage.fine } # ERROR: Export of a whole stage
export "y" {} # ERROR: Export of nothing
export "z" { from = "x" } # ERROR: Wrong type
