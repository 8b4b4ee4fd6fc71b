image "sh" { ref = "busybox:1.36" }
param "where" { default = "staging" }

secret "db" {
  description = "the warehouse"
  env         = "DB_PASSWORD"
}
secret "token" { file = "~/.tokens/${param.where}" }
secret "key" { command = ["pass", "show", "plumb/${param.where}"] }
secret "unused" { file = "/etc/plumb/key" }

stage "load" {
  image   = image.sh
  secrets = [secret.token, secret.db, secret.key, secret.db]
  command = "load --password-file /run/secrets/db"
}
stage "many" {
  for_each = ["a", "b"]
  image    = image.sh
  secrets  = [secret.db]
  command  = "load ${each.key}"
}
