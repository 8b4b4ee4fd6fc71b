param "token" {
  default   = ""
  sensitive = true
}
image "sh" { ref = "busybox:${param.token}" } # ERROR: Sensitive value exposed
source "wine" { path = "data/${param.token}" } # ERROR: Sensitive value exposed
stage "a" {
  image    = image.sh
  inputs   = ["x/${param.token}"] # ERROR: Sensitive value exposed
  command  = "login ${upper(param.token)}" # ERROR: Sensitive value exposed
  outputs  = { out = param.token } # ERROR: Sensitive value exposed
  env      = { TOKEN = param.token }
  seed     = param.token == "x" ? 1 : 2 # ERROR: Sensitive value exposed
  description = param.token # ERROR: Sensitive value exposed
}
stage "b" {
  for_each = [param.token] # ERROR: Sensitive value exposed
  image    = image.sh
  command  = ["true"]
}
stage "c" {
  image    = image.sh
  command  = ["x", param.token] # ERROR: Sensitive value exposed
  when     = param.token == "x" # ERROR: Sensitive value exposed
}
