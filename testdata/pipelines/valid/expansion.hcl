# PROFILE: ci
# PARAM: token=hunter2
pipeline "grid" {
  image   = image.sh
  env     = { LEVEL = "info", MODE = "fast", TOKEN = param.token }
  timeout = "1h"
  resources {
    cpu    = 2
    memory = 1073741824
  }
}

param "depths" {
  type    = list(number)
  default = [3, 5]
}
param "regions" { default = { eu = "Europe", us = "America" } }
param "token" { sensitive = true }
param "unused" { default = true }
param "wait" { default = "10m" }

image "sh" { ref = "busybox:1.36" }

source "table" {
  path = "data/wine.csv"
  keep = false
}
source "parts" { path = "data/**/*.csv" }

stage "split" {
  for_each = param.regions
  inputs   = { table = source.table, parts = source.parts }
  command  = "cut ${input.table} ${each.key} > ${output.part}"
  outputs  = { part = "split/${each.key}.csv" }
  env      = { REGION = each.value, MODE = null }
}

stage "train" {
  matrix  = { lr = [0.1, 0.01], depth = param.depths }
  inputs  = [stage.split, "src/train.py"]
  command = ["train", "--depth", matrix.depth, "--lr=${matrix.lr}"]
  outputs = ["train/${matrix.depth}-${matrix.lr}/"]
  metrics = "train/${matrix.depth}-${matrix.lr}.json"
  timeout = param.wait
  retry {
    exit    = 1
    codes   = [75, 111]
    infra   = 0
    backoff = "2s"
  }
}

stage "pick" {
  inputs = {
    best = { from = stage.train["depth=3,lr=0.1"]._3-0, as = "best" }
    east = stage.split["eu"].part
  }
  command = "pick ${input.best} ${stage.train["depth=3,lr=0.01"].metrics.loss.mean} ${param.depths[0]}"
  outputs = "picked/"
  env = {
    LOSS   = stage.train["depth=5,lr=0.1"].metrics.loss.mean
    SECRET = "t:${param.token}"
  }
  params  = [param.unused]
  seed    = 7
  network = true
  cache   = true
  grace   = "0s"
  when    = stage.train["depth=3,lr=0.1"].metrics.acc > 0.5 && length(param.depths) > 0
  after   = [stage.split]
}

stage "conditional" {
  inputs  = concat([source.table], [for k in ["eu", "us"] : stage.split[k].part], [true ? "src/split.py" : null])
  command = <<-EOT
    cat ${file("data/note.txt")}
    ${join(" ", sort(fileset("src", "*.py")))}
  EOT
  when    = false
}

profile "ci" {
  params = { depths = [3, 5], wait = "1m" }
  source "table" { path = "data/small.csv" }
  resources {
    memory = "256MiB"
  }
  stage "pick" {
    timeout = "30s"
    resources {
      cpu = 0.5
    }
  }
}
profile "night" { params = { wait = "10h" } }

export "models/best" { from = stage.pick.picked }
