image "sh" { ref = "busybox:1.36" }
param "list" { # a list
  type    = list(number)
  default = ["x"] # ERROR: Wrong type
}
param "typo" {
  type    = strin # ERROR: Unknown type
  default = "x"
}
param "open" {} # ERROR: Param without a value

stage "a" {
  image   = "sh" # ERROR: Wrong type
  command = { a = 1 } # ERROR: Wrong type
  inputs  = [1, ["x"], null] # ERROR: Wrong type; Wrong type
  outputs = 5 # fine as a name, bad as a habit
  env     = "A=1" # ERROR: Wrong type
  seed    = 1.5 # ERROR: Bad number
  network = "maybe" # ERROR: Wrong type
  cache   = [] # ERROR: Wrong type
  timeout = "10" # ERROR: Bad duration
  grace   = "-1s" # ERROR: Bad duration
  after   = ["x"] # ERROR: Wrong type
  params  = ["x"] # ERROR: Wrong type
  when    = "perhaps" # ERROR: Wrong type
  resources {
    cpu    = 0 # ERROR: Bad number
    memory = "512M" # ERROR: Bad size
    pids   = -1 # ERROR: Bad number
  }
  retry {
    exit          = 1.5 # ERROR: Bad number
    codes         = [0, 300, 75] # ERROR: Bad number; Bad number
    oom           = -1 # ERROR: Bad number
    memory_factor = 0.5 # ERROR: Bad number
    backoff       = "soon" # ERROR: Bad duration
    timeout       = 100000 # ERROR: Bad number
  }
}

stage "b" {
  image   = image.sh
  command = []  # ERROR: Empty command
  inputs  = "x" # ERROR: Wrong type
  timeout = "0s" # ERROR: Bad duration
  resources {
    memory = "lots" # ERROR: Bad size
  }
  resources {} # ERROR: Duplicate block
}

stage "c" {
  image   = image.sh
  command = " " # ERROR: Empty command
  inputs  = stage.b # ERROR: Wrong type
  metrics = 7
  outputs = { "a b" = "x", "é" = "y" } # ERROR: Bad name; Bad name
}

stage "d" {
  image   = image.sh
  command = null # ERROR: Wrong type
}
