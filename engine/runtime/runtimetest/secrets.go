package runtimetest

import (
	"bytes"
	"testing"

	"plumb/engine/runtime"
)

// testSecrets is what a stage finds of its secrets, and what one without finds.
func (b *bench) testSecrets(t *testing.T) {
	secrets := func(s *runtime.Spec) {
		s.Secrets = runtime.Secrets{Dir: "/run/secrets", Files: map[string][]byte{
			"db": []byte("hunter2\n"), "binary": {0, 1, 0xff}, "large": bytes.Repeat([]byte("x"), 1<<20),
		}}
	}
	b.tell(t, []told{
		{name: "read", change: secrets, script: "cat /run/secrets/db; wc -c < /run/secrets/binary | tr -d ' '; wc -c < /run/secrets/large | tr -d ' '; ls /run/secrets", want: `
			hunter2
			3
			1048576
			binary
			db
			large
		`},
		{name: "mode", change: secrets, script: "stat /run/secrets/db", want: "400 0 0 8 /run/secrets/db\n"},
		{name: "as another user", needs: []Lack{ManyIDs}, image: Image{User: "worker"}, change: secrets, script: "cat /run/secrets/db", want: "hunter2\n"},
		{name: "write", needs: []Lack{Mounts}, change: secrets, script: "touch /run/secrets/new || true; sh -c 'echo x > /run/secrets/db' || true; rm -f /run/secrets/db || true; cat /run/secrets/db", want: `
			touch: open /run/secrets/new: read-only file system
			open /run/secrets/db: read-only file system
			rm: remove /run/secrets/db: read-only file system
			hunter2
		`},
		{name: "none", script: "ls /run/secrets", want: "ls: lstat /run/secrets: no such file or directory\n", code: 1},
	})
}
