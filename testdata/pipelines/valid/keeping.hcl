param "shard" { default = "s1" }
param "retain" { default = "none" }
image "sh" { ref = "busybox:1.36" }
pipeline "keeping" { image = image.sh }

stage "train" {
  inputs     = ["data/wine.csv"]
  command    = "train"
  outputs    = { model = "model.pkl", all = { path = "features/", retain = param.retain }, log = { path = "log", retain = "always" } }
  checkpoint = "ckpt/${param.shard}"
}

stage "list" {
  command = "list"
  outputs = [{ path = "list/big.bin", retain = "none" }, "list/small.txt"]
}

stage "load" {
  inputs     = [stage.train.model]
  command    = "load"
  network    = true
  effect     = true
  outputs    = { receipt = { path = "receipt", retain = "none" } }
  idempotent = true
}

stage "announce" {
  inputs  = [stage.train.all]
  command = "announce"
  effect  = true
}
