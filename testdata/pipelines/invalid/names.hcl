pipeline "one" {
  requires = ">= 2" # ERROR: Plumb version not supported
}
pipeline "two" {} # ERROR: Duplicate name
pipeline "1x" {} # ERROR: Bad name
param "a" { default = 1 }
param "a" { default = 2 } # ERROR: Duplicate name
param "a b" { default = 2 } # ERROR: Bad name
image "sh" { ref = "busybox:1.36" }
stage "x.y" {} # ERROR: Bad name
stage {} # ERROR: Bad block header
stage "a" "b" {} # ERROR: Bad block header
stage "nothing" {} # ERROR: Stage without command; Stage without image
