package cmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// secretForms are the texts that must be nowhere: the secret as it is and in every
// stated form. They are made by other means than what hides them.
func secretForms(t *testing.T, secret string) map[string]string {
	t.Helper()
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"as it is": secret, "most of it": secret[:len(secret)*3/4], "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "JSON": string(quoted[1 : len(quoted)-1]),
		"HTML": html.EscapeString(secret), "hexadecimal": fmt.Sprintf("%x", secret), "HEXADECIMAL": fmt.Sprintf("%X", secret),
	}
	for n, before := range []string{"", "a", "ab"} {
		for alphabet, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 for URLs": base64.RawURLEncoding} {
			text := e.EncodeToString([]byte(before + secret))
			forms[fmt.Sprintf("%s behind %d bytes", alphabet, n)] = text[[]int{0, 2, 3}[n] : (n+len(secret))*8/6]
		}
	}
	return forms
}

// nowhere requires that no form of the secret is in a text.
func nowhere(t *testing.T, where string, text []byte, forms map[string]string) {
	t.Helper()
	for what, form := range forms {
		if bytes.Contains(text, []byte(form)) {
			t.Errorf("the secret (%s) is in %s", what, where)
		}
	}
}

// inflated is all that a file holds: its bytes, and what is compressed in it.
func inflated(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.Clone(raw)
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	for at := bytes.Index(raw, magic); at >= 0; {
		if err := d.Reset(bytes.NewReader(raw[at:])); err == nil {
			var out bytes.Buffer
			out.ReadFrom(d) //nolint:errcheck // behind a frame is something else
			all = append(all, out.Bytes()...)
		}
		next := bytes.Index(raw[at+1:], magic)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return all
}

// TestSecretIsNowhere prints a secret in every form and then looks for it in all
// there is: what plumb printed, the events, the store, the arguments and
// environments of all processes of the machine.
func TestSecretIsNowhere(t *testing.T) {
	s := newSite(t)
	// Not a constant: the test binary is the toolbox, and so in the store.
	secret := fmt.Sprintf(`%x/horse+b "%x"? <é>`, rand.Uint64(), rand.Uint64())
	forms := secretForms(t, secret)
	dir := s.project("p", `
image "tools" { builtin = "toolbox" }
secret "db" { file = "../secret" }
secret "told" { command = ["cat", "../secret"] }
stage "prints" {
  image   = image.tools
  secrets = [secret.db, secret.told]
  command = <<-EOT
    s=$(cat /run/secrets/db)
    test "$s" = "$(cat /run/secrets/told)"
    echo "marker as it is: $s"
    for before in "" a ab abc; do printf "%s%s" "$before" "$s" | base64; printf "%s%s and more" "$before" "$s" | base64 -w 0; echo; done
    jq -rn --rawfile s /run/secrets/db '$s, ($s|@uri), ($s|@base64), ($s|@html), ({password: $s}|tojson)'
    printf %s "$s" | od -An -tx1 | tr -d ' \n'
    echo
    printf %s "$s" | od -An -tx1 | tr -d ' \n' | tr a-f A-F
    echo
    head -c 15 /run/secrets/db
    sleep 0.2
    tail -c +16 /run/secrets/db
    echo
    jq -rn --rawfile s /run/secrets/db '$s|@uri|gsub("%20"; "+"), gsub("%(?<h>..)"; "%\(.h|ascii_downcase)")'
    echo ready
    sleep 3
    echo x > out
  EOT
  outputs = { out = "out" }
}
stage "fails" {
  image   = image.tools
  inputs  = [stage.prints.out]
  secrets = [secret.db]
  retry { exit = 1 }
  command = <<-EOT
    cat /run/secrets/db; echo; base64 /run/secrets/db
    : > "$(cut -c 1-2 /run/secrets/db)"
    exit 3
  EOT
}
`)
	if err := os.WriteFile(filepath.Join(s.root, "secret"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.start(dir, "run", "--json")
	p.says(`"line":"ready"`)
	seen := processes(t, forms, 0)
	if !strings.Contains(seen, "marker as it is") {
		t.Error("the stage's command is in no process: the test looks in the wrong place")
	}
	r := p.wait()
	if r.code != 1 {
		t.Fatal(r)
	}
	nowhere(t, "the events", []byte(r.out), forms)
	nowhere(t, "standard error", []byte(r.err), forms)
	again := s.want(1, dir, "run")
	nowhere(t, "what people see", []byte(again.out+again.err), forms)
	if !strings.Contains(again.err, "fails | ***") {
		t.Errorf("it is not said that something is hidden: %v", again)
	}
	for _, args := range [][]string{{"show", "--json"}, {"logs", "latest"}, {"logs", string(s.runs()[1].ID)}, {"runs", "--json"}, {"why", "fails", "--json"}} {
		r := s.want(0, dir, args...)
		nowhere(t, "plumb "+strings.Join(args, " "), []byte(r.out+r.err), forms)
	}
	s.want(0, "", "agent", "stop")
	found := false
	if err := filepath.WalkDir(s.store, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text := inflated(t, name)
		nowhere(t, name, text, forms)
		found = found || bytes.Contains(text, []byte("marker as it is: ***"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Error("the log is nowhere in the store: the test looks in the wrong place")
	}
}

// processes reads arguments and environments of all processes, and requires that no
// form of the secret is there, but for the environment of the process but.
func processes(t *testing.T, forms map[string]string, but int) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil || name == fmt.Sprintf("/proc/%d/environ", but) {
				continue // it has ended
			}
			nowhere(t, name, b, forms)
			all.Write(b)
		}
	}
	return all.String()
}

// TestSecretOfTheEnvironment has it in the client's environment, and nowhere else:
// neither the agent that the client starts nor a stage gets it there.
func TestSecretOfTheEnvironment(t *testing.T) {
	s := newSite(t)
	const secret = "Xk29fJq0Lm7Zp4Wd-of-the-environment"
	dir := s.project("p", `
secret "db" { env = "DB_PASSWORD" }
stage "a" {
  secrets = [secret.db]
  command = "cat /run/secrets/db; echo; env; echo ready; sleep 2"
}
`)
	s.env = append(s.env, "DB_PASSWORD="+secret)
	p := s.start(dir, "run")
	p.says("a | ready")
	processes(t, secretForms(t, secret), p.cmd.Process.Pid)
	r := p.wait()
	if r.code != 0 || !strings.Contains(r.err, "a | ***\n") || strings.Contains(r.err, secret) {
		t.Error(r)
	}
}

// TestSecretAfterAKill kills the agent under a stage that has a secret: nothing of it
// is left, and the run goes on with the next agent.
func TestSecretAfterAKill(t *testing.T) {
	s := newSite(t)
	const secret = "Xk29fJq0Lm7Zp4Wd"
	dir := s.project("p", `
secret "db" { env = "DB_PASSWORD" }
stage "a" {
  secrets = [secret.db]
  command = "cat /run/secrets/db; echo; echo ready; sleep 2; cat /run/secrets/db > out"
  outputs = { out = "out" }
}
`)
	s.env = append(s.env, "DB_PASSWORD="+secret)
	p := s.start(dir, "run")
	p.says("a | ready")
	kill(t, s.agentPID(), false)
	if r := p.wait(); r.code != 0 || strings.Contains(r.err, secret) {
		t.Error(r)
	}
	eventually(t, "no secret is mounted", func() bool {
		left, err := filepath.Glob(filepath.Join(statePath(s.store), "secrets", "*", "*"))
		return err == nil && len(left) == 0
	})
}

// TestSecretCommandTakesTooLong is ended, with what it started holding its output.
func TestSecretCommandTakesTooLong(t *testing.T) {
	env := &Env{Environ: os.Environ(), Stderr: &bytes.Buffer{}}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := env.secretCommand(ctx, t.TempDir(), []string{"sh", "-c", "sleep 20 & sleep 20"}); err == nil || !strings.Contains(err.Error(), "not done") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
