stage "a" {
  command = # ERROR: Invalid expression
} # the value is missing above
