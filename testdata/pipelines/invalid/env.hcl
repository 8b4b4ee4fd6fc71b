image "sh" { ref = "busybox:1.36" }
source "wine" { path = "data/wine.csv" }
stage "a" {
  image   = image.sh
  inputs  = { wine = source.wine, wine = "x" } # ERROR: Duplicate name
  command = "cat ${source.wine} ${image.sh}" # ERROR: Reference in a string; Reference not allowed here
  env = {
    PLUMB_PARAM_x = "1" # ERROR: Reserved variable name
    "1A"          = "x" # ERROR: Bad variable name
    GOOD          = source.wine.path
    BAD           = source.wine # ERROR: Reference in a string
    TWICE         = 1
    TWICE         = 2 # ERROR: Duplicate name
    LIST          = [1] # ERROR: Wrong type
  }
  outputs = { out = "out/${source.wine}" } # ERROR: Reference in a string
}
stage "b" {
  image   = image.sh
  command = ["cat", stage.c.out, "${stage.c.out}", "x/${stage.c}"] # ERROR: Reference in a string; Reference in a string; Reference in a string
  env     = { OUT = stage.c.out } # ERROR: Reference in a string
}
stage "c" {
  image   = image.sh
  command = "true"
  outputs = { out = "c" }
}
