package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/runtime/runtimetest"
	"plumb/store"
)

// outcome is what the stages of a place came to, by their names: what must be the same
// elsewhere.
type outcome struct{ keys, digests map[string]string }

// outcomes are those of all places.
type outcomes struct {
	mu  sync.Mutex
	all map[string]outcome
}

func (o *outcomes) add(p place, of outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]outcome{}
	}
	o.all[p.name] = of
}

// compare requires the same digests everywhere, and the same keys where stages are kept
// apart in the same way.
func (o *outcomes) compare(t *testing.T) {
	t.Helper()
	first := map[string]outcome{}
	for _, p := range places {
		got, ok := o.all[p.name]
		if !ok {
			continue // skipped, or it failed and said so
		}
		for _, isolation := range []string{"", p.isolation} {
			if _, ok := first[isolation]; !ok {
				first[isolation] = got
			}
		}
		if diff := cmp.Diff(first[""].digests, got.digests); diff != "" {
			t.Errorf("outputs of %s (+) are not those of %s (-):\n%s", p.name, places[0].name, diff)
		}
		if diff := cmp.Diff(first[p.isolation].keys, got.keys); diff != "" {
			t.Errorf("keys in %s (+) differ from those of another place with isolation %s (-):\n%s", p.name, p.isolation, diff)
		}
		for name, key := range got.keys {
			if p.isolation != places[0].isolation && key == o.all[places[0].name].keys[name] {
				t.Errorf("the key of %s in %s is that of a container", name, p.name)
			}
		}
	}
}

// collect adds what the newest run of a project came to.
func (o outcome) collect(s *site, dir string) {
	s.t.Helper()
	for name, value := range s.made(dir) {
		if value == (store.Key{}).String() {
			continue // it was not come to
		}
		name = filepath.Base(dir) + "/" + name
		if strings.Contains(name, ".") {
			o.digests[name] = value
		} else {
			o.keys[name] = value
		}
	}
}

// TestEverywhere does the same in every place where plumb has to run.
func TestEverywhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make all of the places")
	}
	t.Parallel()
	var all outcomes
	t.Run("in", func(t *testing.T) {
		for _, p := range places {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				s := p.site(t, "all")
				of := outcome{map[string]string{}, map[string]string{}}
				for _, part := range []func(*site, place, outcome){
					(*site).doesHello, (*site).hasOwners, (*site).goesOn, (*site).cutsOff, (*site).failsInEveryWay, (*site).keepsSecrets,
				} {
					part(s, p, of)
				}
				s.want(0, "", "agent", "stop")
				s.wantNothingLeft()
				all.add(p, of)
				t.Logf("%d stages took %v", len(of.keys), time.Since(began).Round(100*time.Millisecond))
			})
		}
	})
	all.compare(t)
}

// doesHello is the example in plumb's own image.
func (s *site) doesHello(_ place, of outcome) {
	s.t.Helper()
	dir := s.hello()
	s.want(0, dir, "run").wantSays(s.t, "succeeded: 3 ran")
	s.want(0, dir, "run").wantSays(s.t, "nothing to do: 3 stages unchanged")
	s.want(0, dir, "run", "--expect-cached")
	b, err := os.ReadFile(filepath.Join(dir, "report.txt"))
	if err != nil || !strings.Contains(string(b), "accuracy") {
		s.t.Errorf("the report: %q, %v", b, err)
	}
	of.collect(s, dir)
}

// hasOwners runs as the image says, and finds the files of its image to be whose they
// are; where there is one id all is root's, and the run says so.
func (s *site) hasOwners(p place, of outcome) {
	s.t.Helper()
	plain := s.image
	defer func() { s.image = plain }()
	s.image = filepath.Join(s.t.TempDir(), "owners")
	img := runtimetest.Image{User: "worker", Files: []runtimetest.File{
		{Path: "data/", Mode: 0o755, UID: 33, GID: 33},
		{Path: "data/mine", Data: "mine\n", Mode: 0o400, UID: 1000, GID: 1000},
		{Path: "data/ours", Data: "ours\n", Mode: 0o640, UID: 5, GID: 29},
		{Path: "data/theirs", Data: "theirs\n", Mode: 0o600, UID: 12345, GID: 12345},
	}}
	if err := img.Write(s.image); err != nil {
		s.t.Fatal(err)
	}
	dir := s.give(s.project("owners", `
stage "whose" {
  command = <<-EOT
    id
    stat /data /data/mine /data/ours /data/theirs
    if cat /data/theirs > /dev/null; then echo theirs is open; else echo theirs is closed; fi
    cat /data/mine /data/ours > out
  EOT
  outputs = { out = "out" }
}
`))
	r := s.want(0, dir, "run")
	log := s.want(0, dir, "logs", "latest", "whose").out
	want := []string{"uid=1000(worker) gid=1000", "755 33 33 ", "400 1000 1000 ", "640 5 29 ", "600 12345 12345 ", "theirs is closed"}
	if p.oneID {
		r.wantSays(s.t, `the image's user is "worker"`, "plumb doctor says how")
		want = []string{"uid=0(root) gid=0", "755 0 0 ", "400 0 0 ", "640 0 0 ", "600 0 0 ", "theirs is open"}
	}
	for _, w := range want {
		if !strings.Contains(log, w) {
			s.t.Errorf("there is no %q in\n%s", w, log)
		}
	}
	of.collect(s, dir)
}

// cutsOff has params, metrics and a directory, and a change that comes to nothing.
func (s *site) cutsOff(_ place, of outcome) {
	s.t.Helper()
	dir := s.give(s.project("dag", `
param "rows" {
  type    = number
  default = 300
}
param "note" { default = "" }
stage "numbers" {
  command = ": ${param.note}; seq 1 ${param.rows} > numbers"
  outputs = { numbers = "numbers" }
}
stage "parts" {
  inputs  = [stage.numbers.numbers]
  command = "mkdir -p parts/sub; head -n 10 numbers > parts/head; tail -n 10 numbers > parts/sub/tail; ln -s sub/tail parts/link; chmod 755 parts/head"
  outputs = { parts = "parts/" }
}
stage "count" {
  inputs  = [stage.parts.parts, stage.numbers.numbers]
  command = "cat parts/head parts/link > both; echo \"{\\\"rows\\\": $(wc -l < numbers)}\" > metrics.json"
  outputs = { both = "both" }
  metrics = "metrics.json"
}
`))
	s.want(0, dir, "run").wantSays(s.t, "succeeded: 3 ran")
	of.collect(s, dir)
	var doc engine.ShowDoc
	s.document(&doc, dir, "show", "--json")
	for _, st := range doc.Stages {
		if st.Name == "count" && st.Metrics["rows"] != 300 {
			s.t.Errorf("metrics: %v", st.Metrics)
		}
	}
	if r := s.want(0, dir, "get", "count.both", "-o", "-"); !strings.HasPrefix(r.out, "1\n2\n") || !strings.HasSuffix(r.out, "299\n300\n") {
		s.t.Errorf("both: %q", r.out)
	}
	if e := finished(s.t, s.want(0, dir, "--json", "run", "--param", "note=changed")); e.Counts == nil || e.Counts.Ran != 1 || e.Counts.Cached != 2 {
		s.t.Errorf("a change that comes to nothing: %+v", e.Counts)
	}
	r := s.want(0, dir, "shell", "count", "--", "cat", "parts/link")
	if want := strings.TrimSpace(r.out); !strings.HasPrefix(want, "291\n") || !strings.HasSuffix(want, "\n300") {
		s.t.Errorf("the shell: %v", r)
	}
	s.want(4, dir, "shell", "count", "--", "sh", "-c", "exit 4")
}

// failsInEveryWay has stages that fail, each by itself.
func (s *site) failsInEveryWay(_ place, of outcome) {
	s.t.Helper()
	dir := s.give(s.project("failures", `
stage "exits" {
  command = "echo said; echo x > out; exit 9"
  outputs = { out = "out" }
}
stage "lasts" {
  command = "probe-daemon 600; sleep 600"
  timeout = "500ms"
  grace   = "200ms"
}
stage "lacks" {
  command = "echo x > other"
  outputs = { out = "missing" }
}
stage "works" {
  command = "echo x > made"
  outputs = { out = "made" }
}
stage "waits" {
  inputs  = [stage.exits.out]
  command = "cat out"
}
`))
	e := finished(s.t, s.want(1, dir, "--json", "run", "--keep-going"))
	got := map[string]string{}
	for _, st := range e.Stages {
		got[st.Name] = st.Status
		if st.Error != nil {
			got[st.Name] = fmt.Sprint(st.Status, " ", st.Error.Class, " ", st.Error.ExitCode)
		}
	}
	want := map[string]string{
		"exits": fmt.Sprint("failed ", store.ClassExit, " 9"), "lasts": fmt.Sprint("failed ", store.ClassTimeout, " 143"), "lacks": fmt.Sprint("failed ", store.ClassOutput, " 0"),
		"works": "ran", "waits": "skipped",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("how stages ended (-want +got):\n%s", diff)
	}
	of.collect(s, dir)
}

// keepsSecrets prints one.
func (s *site) keepsSecrets(_ place, of outcome) {
	s.t.Helper()
	const secret = "hunter2-and-more"
	dir := s.give(s.project("secret", `
secret "db" { env = "DB_PASSWORD" }
stage "prints" {
  secrets = [secret.db]
  command = "echo \"it is $(cat /run/secrets/db)\"; cat /run/secrets/db | wc -c > out"
  outputs = { out = "out" }
}
`))
	before := s.env
	defer func() { s.env = before }()
	s.env = append(s.env[:len(s.env):len(s.env)], "DB_PASSWORD="+secret)
	r := s.want(0, dir, "--verbose", "run")
	r.wantSays(s.t, "succeeded: 1 ran")
	log := s.want(0, dir, "logs", "latest", "prints").out
	if !strings.Contains(log, "it is ***") || strings.Contains(log+r.out+r.err, secret) {
		s.t.Errorf("it printed\n%s\n%v", log, r)
	}
	if out := s.want(0, dir, "get", "prints.out", "-o", "-").out; strings.TrimSpace(out) != fmt.Sprint(len(secret)) {
		s.t.Errorf("the secret had %s bytes", out)
	}
	of.collect(s, dir)
}

// goesOn kills the agent while a stage runs: the client starts another, and what was
// done is not done again.
func (s *site) goesOn(_ place, of outcome) {
	s.t.Helper()
	dir := s.give(s.project("killed", `
stage "before" {
  command = "echo once > once"
  outputs = { once = "once" }
}
stage "long" {
  inputs  = [stage.before.once]
  command = "echo begun; probe-daemon 600; sleep 1; echo long > long"
  outputs = { long = "long" }
}
`))
	p := s.start(dir, "--json", "run")
	p.says(`"line":"begun"`)
	s.killAgent()
	r := p.wait()
	if r.code != 0 || !strings.Contains(r.err, "the agent is gone; starting another") {
		s.t.Fatalf("the client did not go on: %v%s", r, s.agentLog())
	}
	got := map[string]string{}
	for _, st := range finished(s.t, r).Stages {
		got[st.Name] = st.Status
	}
	if diff := cmp.Diff(map[string]string{"before": "cached", "long": "ran"}, got); diff != "" {
		s.t.Errorf("stages (-want +got):\n%s", diff)
	}
	of.collect(s, dir)
}
