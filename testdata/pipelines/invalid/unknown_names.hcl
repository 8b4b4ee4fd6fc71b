pipelin "x" {} # ERROR: Unknown block

image "python" { ref = "python:3.12.4" }
source "wine" { path = "data/wine.csv" }
param "trees" { default = 1 }
version = 1 # ERROR: Attribute outside of a block

stage "split" {
  image   = image.pyton # ERROR: Unknown image
  inputs  = [source.wien] # ERROR: Unknown source
  command = "run ${param.tres}" # ERROR: Unknown param
  outputs = { train = "train.csv" }
  comand  = "x" # ERROR: Unknown attribute
  resource { # ERROR: Unknown block
    cpu = 1
  }
  env {} # ERROR: Unknown block
  resources = {} # ERROR: Unknown attribute
}

stage "train" {
  image   = image.python
  inputs  = [stage.splt.train, stage.split.trian, source.wine.pth] # ERROR: Unknown stage; Unknown output; Unknown attribute
  command = "run ${uper("x")} ${trees} ${input.data} ${output.model}" # ERROR: Unknown reference; Unknown input; Unknown output
}

stage "fit" {
  image   = image.python
  command = "run ${uper("x")}" # ERROR: Unknown function
  after   = [stages.train] # ERROR: Unknown reference
  outputs = [nothing] # ERROR: Unknown reference
}

stage "env" {
  image   = image.python
  command = "run ${env("HOME")} ${each.key}" # ERROR: Reference not allowed here
}

export "model.pkl" { from = stage.split.trains } # ERROR: Unknown output
export "all.pkl" { from = stage.nowhere.x } # ERROR: Unknown stage
