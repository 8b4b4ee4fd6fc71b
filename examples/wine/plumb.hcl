# Which of three cultivars is a wine from, going by its chemistry? Real Python with
# scikit-learn, in an image that plumb makes of Debian packages: no registry, no
# Dockerfile, and every package pinned in plumb.lock.hcl.

pipeline "wine" {
  description = "Cultivar from chemistry"
  image       = image.python
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

image "python" {
  debian {
    suite    = "bookworm"
    packages = ["python3-sklearn"]
  }
}

stage "split" {
  inputs  = [source.wine, "src/split.py"] # what is not listed is not there
  command = "python3 src/split.py data/wine.csv --train train.csv --holdout holdout.csv"
  outputs = { train = "train.csv", holdout = "holdout.csv" }
  seed    = param.seed
}

stage "train" {
  inputs  = [stage.split.train, "src/train.py"]
  command = "python3 src/train.py train.csv --trees ${param.trees} --out model.joblib"
  outputs = { model = "model.joblib" }
  seed    = param.seed
  timeout = "10m"

  resources {
    memory = "1GiB"
  }
}

stage "evaluate" {
  inputs  = [stage.train.model, stage.split.holdout, "src/evaluate.py"]
  command = "python3 src/evaluate.py model.joblib holdout.csv --metrics metrics.json | tee report.txt"
  outputs = { report = "report.txt" }
  metrics = "metrics.json" # stage.evaluate.metrics.accuracy
}

export "models/wine.joblib" { from = stage.train.model } # the only things that plumb writes into the project
export "report.txt" { from = stage.evaluate.report }
