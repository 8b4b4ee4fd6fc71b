stage "a" {
  command = "true # ERROR: Invalid multi-line string
  image = image.sh
}
