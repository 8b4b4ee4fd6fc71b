pipeline "one" {
  requires = "around 2" # ERROR: Bad version constraint
  image    = "python" # ERROR: Wrong type
  env = {
    PLUMB_SEED = "1" # ERROR: Reserved variable name
    "A-B"      = "1" # ERROR: Bad variable name
    A          = stage.x.out # ERROR: Reference not allowed here
  }
}
