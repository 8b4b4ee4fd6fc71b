image "sh" { ref = "busybox:1.36" }
pipeline "p" {
  image = image.sh
  resources { gpu = true } # ERROR: Wrong type
}
stage "a" {
  command = "true"
  resources { gpu = -1 } # ERROR: Bad number
}
stage "b" {
  command = "true"
  resources { gpu = 0.5 } # ERROR: Bad number
}
stage "c" {
  command = "true"
  resources { gpu = "nvidia.com/gpu" } # ERROR: Bad device name
}
stage "d" {
  command = "true"
  resources { gpu = ["nvidia.com/gpu=0", "0", 1] } # ERROR: Bad device name; Bad device name
}
stage "e" {
  command = "true"
  resources { gpu = ["nvidia.com/gpu=0", "nvidia.com/gpu=0"] } # ERROR: Device named twice
}
