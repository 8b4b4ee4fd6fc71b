pipeline "wine" {
  description = "Cultivar from chemistry"
  requires    = ">= 0.1"
}

param "trees" {
  type    = number
  default = 200
  validation {
    condition = param.trees > 0
    message   = "trees must be positive"
  }
}
param "seed" { default = 42 }

source "wine" { path = "data/wine.csv" }

image "python" { ref = "python:3.12.4-slim" }

stage "split" {
  image   = image.python
  inputs  = [source.wine, "src/split.py"]
  command = "python3 src/split.py ${source.wine.path} --seed ${param.seed} --train train.csv --holdout holdout.csv"
  outputs = { train = "train.csv", holdout = "holdout.csv" }
}

stage "train" {
  image   = image.python
  inputs  = [stage.split.train, "src/train.py"]
  command = "python3 src/train.py train.csv --trees ${param.trees} --out model.pkl"
  outputs = { model = "model.pkl" }
  seed    = param.seed
  timeout = "10m"
  resources {
    cpu    = 2
    memory = "1GiB"
  }
  retry {
    oom           = 2
    memory_factor = 1.5
  }
}

stage "evaluate" {
  image   = image.python
  inputs  = [stage.train.model, stage.split.holdout, "src/evaluate.py"]
  command = "python3 src/evaluate.py model.pkl holdout.csv > metrics.json"
  metrics = "metrics.json"
}

export "models/wine.pkl" { from = stage.train.model }
