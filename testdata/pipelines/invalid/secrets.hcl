image "sh" { ref = "busybox:1.36" }
param "prefix" { default = secret.db } # ERROR: Secret in an expression

secret "db" { env = "DB_PASSWORD" }
secret "file" { file = "data/wine.csv" }
secret "none" { description = "nothing says where from" } # ERROR: Secret without origin
secret "two" {
  env  = "A"
  file = "b" # ERROR: Secret with two origins
}
secret "variable" { env = "$A" } # ERROR: Bad variable name
secret "directory" { file = "secrets/" } # ERROR: Bad path
secret "string" { command = "pass show db" } # ERROR: Wrong type
secret "nothing" { command = [] } # ERROR: Empty command
secret "mistyped" { evn = "A" } # ERROR: Secret without origin; Unknown attribute
secret "circle" { env = secret.db } # ERROR: Secret in an expression
secret "db" { env = "OTHER" } # ERROR: Duplicate name
secret "../up" { env = "A" } # ERROR: Bad name

stage "a" {
  image   = image.sh
  command = "login ${secret.db} ${secret.bd}" # ERROR: Secret in an expression; Unknown secret
  env     = { PASSWORD = secret.db } # ERROR: Secret in an expression
  params  = [secret.db] # ERROR: Secret in an expression
  secrets = [secret.db, secret.dbx, "db", param.prefix] # ERROR: Unknown secret; Wrong type; Wrong type
  when    = secret.db == "x" # ERROR: Secret in an expression
}
stage "b" {
  image   = image.sh
  command = "login ${db}" # ERROR: Unknown reference
  inputs  = ["data"] # ERROR: Secret read as data
  secrets = secret.db # ERROR: Wrong type
  secret {} # ERROR: Unknown block
}
