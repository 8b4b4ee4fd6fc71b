package apt

import (
	"path/filepath"
	"testing"
	"time"

	"plumb/engine/fetch"
)

// The whole way with the lists in the cache, as a lock that is made anew takes it.
func BenchmarkResolve(b *testing.B) {
	all, err := MachineSources("/")
	sources := ForSuite(all, "bookworm")
	if err != nil || len(sources) == 0 {
		b.Skip("this machine has no apt sources for bookworm")
	}
	r := Resolver{Cache: filepath.Join(b.TempDir(), "lists"), Client: &fetch.Client{}, Now: time.Now}
	for _, names := range [][]string{{"busybox-static"}, {"python3-sklearn"}} {
		b.Run(names[0], func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Resolve(b.Context(), Request{Packages: names, Architecture: "amd64", Sources: sources, Keyrings: DefaultKeyrings()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
