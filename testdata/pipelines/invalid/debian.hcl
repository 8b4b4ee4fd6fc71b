param "secret" {
  default   = ""
  sensitive = true
}
image "ref_too" {
  ref = "busybox:1.36"
  debian { # ERROR: Image with two origins
    suite    = "bookworm"
    packages = ["bash"]
  }
}
image "twice" {
  debian {
    suite    = "bookworm"
    packages = ["bash"]
  }
  debian { # ERROR: Duplicate block
    suite    = "trixie"
    packages = ["bash"]
  }
}
image "named" {
  debian "bookworm" {} # ERROR: Bad block header
}
image "attribute" {
  debian = { suite = "bookworm" } # ERROR: Unknown attribute
}
image "nothing" {
  debian {} # ERROR: Missing suite; Missing packages
}
image "null" {
  debian {
    suite    = null # ERROR: Wrong type
    packages = null # ERROR: Wrong type
  }
}
image "misspelt" {
  debian {
    suite   = "bookworm"
    package = ["bash"] # ERROR: Unknown attribute
    packages = [
      "bash",
      "Python3",         # ERROR: Bad package name
      "bash coreutils",  # ERROR: Bad package name
      "x",               # ERROR: Bad package name
      "bash:",           # ERROR: Bad package name
      "python3=",        # ERROR: Bad package name
      "dash (>= 0.5)",   # ERROR: Bad package name
      "bash=5.2.15-2+b8" # ERROR: Duplicate package
    ]
    variant      = "minmal"  # ERROR: Unknown variant
    architecture = "aarch64" # ERROR: Unknown architecture
  }
}
image "types" {
  debian {
    suite          = ["bookworm"] # ERROR: Wrong type
    packages       = "bash"       # ERROR: Wrong type
    recommends     = "yes"        # ERROR: Wrong type
    accept_expired = 3            # ERROR: Wrong type
    components     = "main"       # ERROR: Wrong type
    mirror         = 3            # ERROR: Wrong type
  }
}
image "suite" {
  debian {
    suite    = "Bookworm" # ERROR: Bad suite
    packages = ["bash"]
  }
}
image "suite_path" {
  debian {
    suite    = "bookworm/main" # ERROR: Bad suite
    packages = ["bash"]
  }
}
image "minimal" {
  debian {
    suite    = "bookworm"
    packages = [] # ERROR: Image without packages
    variant  = "minimal"
  }
}
image "mirrors" {
  debian {
    suite      = "bookworm"
    packages   = ["bash", param.secret] # ERROR: Sensitive value exposed
    components = ["main", "non free"]   # ERROR: Bad component
    mirror = [
      "deb.example/debian",                     # ERROR: Bad mirror
      "ftp://deb.example/debian",               # ERROR: Bad mirror
      "http://deb.example/debian bookworm",     # ERROR: Bad mirror
      "http://deb.example/debian ./ main",      # ERROR: Bad mirror
      "deb http://deb.example/debian sid main", # ERROR: Bad mirror
      "file:srv/debian",                        # ERROR: Bad mirror
      "http://deb.example/debian?token=1",      # ERROR: Bad mirror
      "https://me:secret@deb.example/debian",   # ERROR: Password in a URL
    ]
    snapshot = "http://snapshot.example/ sid main" # ERROR: Bad snapshot
    keyring  = "../keys.gpg"                       # ERROR: Path leaves the project
  }
}
image "snapshot" {
  debian {
    suite    = "bookworm"
    packages = ["bash"]
    snapshot = "http://me@snapshot.example/" # ERROR: Password in a URL
  }
}
image "floats" {
  floating = true # ERROR: Floating packages
  debian {
    suite    = "bookworm"
    packages = ["bash"]
  }
}
image "disagrees" {
  platform = "linux/amd64"
  debian {
    suite        = "bookworm"
    packages     = ["bash"]
    architecture = "arm64" # ERROR: Image for two platforms
  }
}
image "elsewhere" {
  platform = "windows/amd64"
  debian {
    suite    = "bookworm"
    packages = ["bash"] # ERROR: Platform without Debian
  }
}
