param "trees" { default = 200 }
source "wine" { path = "data/wine.csv" }
image "sh" { ref = "busybox:1.36" }
profile "ci" {
  params = { tres = 1 } # ERROR: Unknown param
  source "wien" { path = "x" } # ERROR: Unknown source
  stage "train" { # ERROR: Unknown stage
    timeout = "1m"
  }
  stage "a" {
    command = "x" # ERROR: Unknown attribute
    timeout = "soon" # ERROR: Bad duration
  }
  resources {
    memory = "much" # ERROR: Bad size
  }
  image "x" {} # ERROR: Unknown block
}
stage "a" {
  image   = image.sh
  command = "true"
}
