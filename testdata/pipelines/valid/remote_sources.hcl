param "year" { default = 2026 }

image "sh" { ref = "busybox:1.36" }

source "wine" { url = "https://data.example/${param.year}/wine.csv?x=1" }
source "placed" {
  url  = "https://data.example/red.csv"
  path = "data/red.csv"
}
source "weights" { oci = "registry.example:5000/models/resnet:1.0" }
source "moves" {
  oci      = "registry.example/models/newest"
  floating = true
}

image "tools" { builtin = "toolbox" }

stage "use" {
  image   = image.sh
  inputs  = { wine = source.wine, red = source.placed, weights = source.weights, moves = source.moves }
  command = "cat ${input.wine} ${source.placed.path} > out"
  outputs = { out = "out" }
}
