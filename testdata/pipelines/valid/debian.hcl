param "suite" { default = "bookworm" }
param "extra" { default = ["python3-numpy", "libopenblas0"] }

image "python" {
  debian {
    suite    = param.suite
    packages = ["python3-sklearn"]
  }
}

image "all" {
  description = "everything that can be said"
  debian {
    suite          = "${param.suite}-security"
    packages       = ["python3=3.11.2-1+b1", "busybox-static:arm64", "libstdc++6", "g++"]
    variant        = "minimal"
    recommends     = true
    components     = ["main", "non-free-firmware"]
    mirror         = ["http://deb.example/debian", "https://deb.example:8443/debian-security   bookworm-security main contrib", "file:///srv/debian/"]
    snapshot       = "http://snapshot.example/archive/debian/20260101T000000Z"
    keyring        = "./src/keys.gpg"
    accept_expired = true
    architecture   = "armhf"
  }
}

image "computed" {
  platform = "linux/arm64"
  debian {
    suite        = "buster/updates"
    packages     = param.extra
    mirror       = "http://deb.example/debian"
    architecture = "arm64"
  }
}

image "bare" {
  debian {
    suite    = "trixie"
    packages = []
  }
}

stage "use" {
  image   = image.python
  command = "python3 -c 'import sklearn'"
}
