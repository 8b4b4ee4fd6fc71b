param "trees" {
  type    = number
  default = -1
  validation {
    condition = param.trees > 0 # ERROR: Validation failed
    message   = "trees must be positive, not ${param.trees}"
  }
  validation {
    condition = param.trees < 100
  }
  validation { # ERROR: Missing condition
    message = "x"
  }
}
param "token" {
  default   = ""
  sensitive = true
  validation {
    condition = length(param.token) > 20 # ERROR: Error in function call
  }
  validation {
    condition = strlen(param.token) > 20 # ERROR: Validation failed
    message   = "the token ${param.token} is too short"
  }
}
