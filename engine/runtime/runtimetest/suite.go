package runtimetest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

// Lack is what a runtime may not have: a machine does not let it do that for an ordinary
// user, or there are no containers at all. The tests of it are skipped.
type Lack int

const (
	OtherIDs   Lack = iota // ids inside that are others outside; those of the process are passed on
	ManyIDs                // more than one id
	Limits                 // of memory and CPU time, and counting them
	Mounts                 // inputs that cannot be written to, secrets that are files
	Namespaces             // of users, and of what else a place without containers may lack
	Alone                  // all namespaces, and what is mounted in them: /proc, /sys
)

// Run is the conformance suite. Each test has one runtime; newRuntime is called
// once.
func Run(t *testing.T, newRuntime New, lacks ...Lack) {
	b := &bench{rt: newRuntime(t), lacks: lacks}
	t.Run("outputs", b.testOutputs)
	t.Run("mounts", b.testMounts)
	t.Run("secrets", b.testSecrets)
	t.Run("streams", b.testStreams)
	t.Run("isolation", b.testIsolation)
	t.Run("limits", b.testLimits)
	t.Run("lifecycle", b.testLifecycle)
	t.Run("refusals", b.testRefusals)
}

// told is a container whose whole output is known beforehand.
type told struct {
	name   string
	needs  []Lack
	image  Image
	change func(*runtime.Spec)
	script string
	want   string
	code   int
}

func (b *bench) tell(t *testing.T, all []told) {
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			b.need(t, c.needs...)
			s := b.spec(t, c.image, c.script)
			if c.change != nil {
				c.change(&s)
			}
			got := b.run(t, s)
			want := strings.ReplaceAll(strings.TrimPrefix(c.want, "\n"), "\t", "")
			if diff := cmp.Diff(want, got.log); diff != "" || got.Code != c.code {
				t.Errorf("exit status %d, want %d; output (-want +got):\n%s", got.Code, c.code, diff)
			}
		})
	}
}

// testOutputs is what a command prints and how it ends, and what it finds of
// itself.
func (b *bench) testOutputs(t *testing.T) {
	b.tell(t, []told{
		{name: "nothing", script: "true"},
		{name: "status", script: "exit 7", code: 7},
		{name: "killed", script: "sh -c '/bin/kill -9 $$'", code: 137},
		{name: "both streams in order", script: "echo one; echo two >&2; echo three", want: "one\ntwo\nthree\n"},
		{name: "streams by name", script: "echo one > /dev/stdout; echo two > /dev/stderr", want: "one\ntwo\n"},
		{name: "no input", script: "cat; echo end", want: "end\n"},
		{name: "directory", script: "pwd", change: func(s *runtime.Spec) { s.Dir = "/some/where" }, want: "/some/where\n"},
		{name: "hostname", needs: []Lack{Alone}, script: "cat /proc/sys/kernel/hostname", want: "plumb\n"},
		{name: "hostname given", needs: []Lack{Alone}, script: "cat /proc/sys/kernel/hostname", change: func(s *runtime.Spec) { s.Hostname = "other" }, want: "other\n"},
		{name: "localhost", script: "grep localhost /etc/hosts | wc -l | tr -d ' '", want: "2\n"},
		{name: "not found", change: func(s *runtime.Spec) { s.Args = []string{"no-such", "thing"} }, want: "plumb: no-such: command not found in the image\n", code: 127},
		{name: "not found by path", change: func(s *runtime.Spec) { s.Args = []string{"/no/such"} }, want: "plumb: /no/such: No such file or directory\n", code: 127},
		{name: "not executable", change: func(s *runtime.Spec) { s.Args = []string{"/etc/passwd"} }, want: "plumb: /etc/passwd: Permission denied\n", code: 126},
		{name: "directory as command", change: func(s *runtime.Spec) { s.Args = []string{"/etc"} }, want: "plumb: /etc: Is a directory\n", code: 126},
		{
			name:   "no interpreter",
			image:  Image{Files: []File{{Path: "bin/script", Data: "#!/no/such/shell\n", Mode: 0o755}}},
			change: func(s *runtime.Spec) { s.Args = []string{"script"} },
			want:   "plumb: script: its interpreter does not exist in the image\n", code: 126,
		},
		{
			name:   "no program",
			image:  Image{Files: []File{{Path: "bin/text", Data: "just words", Mode: 0o755}}},
			change: func(s *runtime.Spec) { s.Args = []string{"text"} },
			want:   "plumb: text: Exec format error\n", code: 126,
		},
		{
			name:   "searched in order",
			image:  Image{Files: []File{{Path: "a/x", Data: "#!/bin/sh\necho a", Mode: 0o644}, {Path: "b/x", Data: "#!/bin/sh\necho b", Mode: 0o755}}},
			change: func(s *runtime.Spec) { s.Args, s.Env = []string{"x"}, []string{"PATH=/none:/a:/b:/bin"} },
			want:   "b\n",
		},
		{
			name:   "environment",
			image:  Image{Env: []string{"PATH=/bin:/image", "OF=image", "A=image"}},
			change: func(s *runtime.Spec) { s.Env, s.Args = []string{"HOME=/h", "A=stage"}, []string{"env"} },
			want:   "A=stage\nHOME=/h\nOF=image\nPATH=/bin:/image\n",
		},
		{name: "root", script: "id", want: "uid=0(root) gid=0 groups=[]\n"},
		{name: "user by name", needs: []Lack{ManyIDs}, image: Image{User: "worker"}, script: "id; touch x; stat .", want: "uid=1000(worker) gid=1000 groups=[29]\n755 1000 1000 4096 .\n"},
		{name: "user by number", needs: []Lack{ManyIDs}, image: Image{User: "1234:29"}, script: "id; touch x; stat .", want: "uid=1234(plumb) gid=29 groups=[]\n755 1234 29 4096 .\n"},
		{name: "user without passwd", needs: []Lack{ManyIDs}, image: Image{User: "7", Bare: true}, script: "id; stat /tmp; touch /tmp/x; grep plumb /etc/passwd", want: `
			uid=7(plumb) gid=0 groups=[]
			1777 0 0 4096 /tmp
			plumb:x:7:0::/home/stage:/bin/sh
		`},
		{name: "image of many layers", image: Image{Layers: 40}, script: "ls /layer | wc -l", want: "40\n"},
		{name: "image files keep their owners", needs: []Lack{ManyIDs}, image: Image{Files: []File{{Path: "data/a", UID: 1000, GID: 29, Mode: 0o640}}}, script: "stat /data/a", want: "640 1000 29 0 /data/a\n"},
		{name: "home behind a link", image: Image{Links: []string{"home/stage ../root"}}, script: "readlink /home/stage; touch x; ls /root", want: "../root\nx\n"},
		{name: "scratch is writable", script: "echo x > /new; mkdir /opt /usr/local; rm /etc/passwd; cat /new", want: "x\n"},
		{name: "scratch is thrown away", script: "ls /new", want: "ls: lstat /new: no such file or directory\n", code: 1},
		{name: "files may change owners", needs: []Lack{ManyIDs}, script: "touch a; chown 1000:29 a; cp -a a b; stat a b", want: "644 1000 29 0 a\n644 1000 29 0 b\n"},
	})
}

// testRefusals are specifications that make no container.
func (b *bench) testRefusals(t *testing.T) {
	link := t.TempDir() + "/link"
	symlink(t, "/etc", link)
	for _, c := range []struct {
		name   string
		change func(*runtime.Spec)
		want   string
	}{
		{"no command", func(s *runtime.Spec) { s.Args = nil }, "no command"},
		{"id", func(s *runtime.Spec) { s.ID = "Not/This" }, "id must be"},
		{"image", func(s *runtime.Spec) { s.Image = "sha256:" + strings.Repeat("0", 64) }, "is not prepared"},
		{"directory", func(s *runtime.Spec) { s.Dir = "here" }, "absolute"},
		{"target", func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Source: "/etc", Target: "/a/../b"}} }, "absolute"},
		{"secret", func(s *runtime.Spec) { s.Secrets = runtime.Secrets{Dir: "/s", Files: map[string][]byte{"../x": nil}} }, "no name"},
		{"place of secrets", func(s *runtime.Spec) { s.Secrets = runtime.Secrets{Dir: "s", Files: map[string][]byte{"x": nil}} }, "absolute"},
		{"source", func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Source: "/no/such", Target: "/a"}} }, "no such file"},
		{"link", func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Source: link, Target: "/a", ReadOnly: true}} }, "symbolic link"},
		{"behind a link", func(s *runtime.Spec) {
			s.Mounts = []runtime.Mount{{Source: link + "/passwd", Target: "/a", ReadOnly: true}}
		}, "symbolic link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := b.spec(t, ToolImage(), "true")
			c.change(&s)
			got, err := b.rt.Create(t.Context(), s)
			if err == nil {
				t.Fatal("it was created", got.Delete(t.Context()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want something of %q", err, c.want)
			}
		})
	}
}
