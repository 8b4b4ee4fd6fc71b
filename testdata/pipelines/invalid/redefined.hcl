stage "twice" {
  command = "true"
  command = "false" # ERROR: Attribute redefined
}
