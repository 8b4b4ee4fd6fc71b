# A classifier in three stages, with nothing but a shell and awk: which of three
# cultivars is a wine from, going by its chemistry?

pipeline "hello" {
  description = "Cultivar from chemistry, by the nearest centroid"
  image       = image.sh
}

param "holdout" {
  type        = number
  default     = 4
  description = "every how manieth wine is held out"

  validation {
    condition = param.holdout >= 2
    message   = "holding out every wine leaves nothing to learn from"
  }
}

source "wine" { path = "data/wine.csv" }

image "sh" { builtin = "toolbox" } # a shell, awk and the usual commands: plumb itself

stage "split" {
  inputs  = [source.wine, "src/split.awk"]
  command = "awk -v nth=${param.holdout} -f src/split.awk data/wine.csv"
  outputs = { train = "train.csv", holdout = "holdout.csv" }
}

stage "train" {
  inputs  = [stage.split.train, "src/train.awk"]
  command = "awk -f src/train.awk train.csv > centroids.csv"
  outputs = { model = "centroids.csv" }
}

stage "evaluate" {
  inputs  = [stage.train.model, stage.split.holdout, "src/evaluate.awk"]
  command = "awk -f src/evaluate.awk centroids.csv holdout.csv > report.txt; cat report.txt"
  outputs = { report = "report.txt" }
  metrics = "metrics.json"
}

export "report.txt" { from = stage.evaluate.report }
