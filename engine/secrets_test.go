package engine

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/hcl"
)

const hunter = "hunter2-hunter2"

// withSecrets is what a client sends that was asked for secrets.
func withSecrets(secrets map[string]Secret) func(*RunRequest) {
	return func(r *RunRequest) { r.Secrets = secrets }
}

func value(s string) map[string]Secret { return map[string]Secret{"db": {Value: []byte(s)}} }

const secretive = `
secret "db" { env = "DB" }
stage "a" {
  secrets = [secret.db]
  command = ["print-secret", "db", ";", "write", "out", "x"]
  outputs = { out = "out" }
}
`

// saw looks for a text in all events.
func saw(t *testing.T, events []event.Event, text string) bool {
	t.Helper()
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

func warnings(events []event.Event) []string {
	var all []string
	for _, e := range events {
		if e.Type == event.Warning {
			all = append(all, e.Message)
		}
	}
	return all
}

func TestSecretsAreAskedFor(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, secretive)
	var e *Error
	if _, _, err := r.ran(ctx); !errors.As(err, &e) || e.Kind != Wanting || !cmp.Equal(e.Secrets, []string{"db"}) {
		t.Fatalf("want to be asked for db, got %#v", err)
	}
	status, events, err := r.ran(ctx, withSecrets(value(hunter)))
	if err != nil || status["a"] != "ran" {
		t.Fatal(status, err)
	}
	if saw(t, events, hunter) || saw(t, events, hex.EncodeToString([]byte(hunter))) || !saw(t, events, "it is ***, and ***") {
		t.Errorf("the log as told: %v", events)
	}
	if status, _, err := r.ran(ctx); err != nil || status["a"] != "cached" {
		t.Errorf("unchanged, it is %v, %v", status, err)
	}
	r.project(strings.Replace(secretive, "secrets =", "# secrets =", 1))
	doc, err := r.Plan(ctx, r.request().Request)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.Stages[0].Reasons[0].String(); got != "secret db removed" {
		t.Errorf("without the secret: %s", got)
	}
}

func TestSecretsMissing(t *testing.T) {
	ctx := context.Background()
	missing := withSecrets(map[string]Secret{"db": {Missing: "the variable DB is not set"}})
	t.Run("certain", func(t *testing.T) {
		r := newRig(t, secretive)
		_, events, err := r.ran(ctx, missing)
		e := AsError(err)
		if e.Kind != Invalid || !strings.Contains(err.Error(), `Stage "a" needs secret "db": the variable DB is not set.`) {
			t.Errorf("got %v", err)
		}
		if len(events) > 0 || r.rt.created > 0 {
			t.Errorf("%d containers were made, told was %v", r.rt.created, events)
		}
	})
	t.Run("perhaps", func(t *testing.T) {
		const src = `
secret "db" { env = "DB" }
stage "first" {
  inputs  = ["in"]
  command = ["write", "mid", "%s"]
  outputs = { mid = "mid" }
}
stage "a" {
  inputs  = [stage.first.mid]
  secrets = [secret.db]
  command = ["print", "x"]
}
`
		r := newRig(t, fmt.Sprintf(src, "1"))
		r.write("in", "1")
		if _, _, err := r.ran(ctx, withSecrets(value(hunter))); err != nil {
			t.Fatal(err)
		}
		r.write("in", "2") // the first stage writes the same
		status, events, err := r.ran(ctx, missing)
		if err != nil || status["first"] != "ran" || status["a"] != "cached" {
			t.Fatal(status, err)
		}
		if diff := cmp.Diff([]string{"secret db: the variable DB is not set; stage a fails if it has to run"}, warnings(events)); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
		r.project(fmt.Sprintf(src, "2"))
		status, _, err = r.ran(ctx, missing)
		if AsError(err).Kind != Invalid || status["first"] != "ran" || status["a"] != "failed" {
			t.Errorf("status %v, %v", status, err)
		}
	})
}

func TestSecretsInFailures(t *testing.T) {
	r := newRig(t, strings.Replace(secretive, `"write", "out", "x"`, `"name-secret", "db"`, 1))
	_, events, err := r.ran(context.Background(), withSecrets(value(hunter)))
	if AsError(err).Kind != StageFailed || saw(t, events, hunter) || !saw(t, events, "it wrote instead: ***") {
		t.Errorf("%v, %v", err, events)
	}
}

func TestSecretWarnings(t *testing.T) {
	for _, c := range []struct {
		name, value, command string
		want                 []string
	}{
		{"none", hunter, `["write", "out", "x"]`, nil},
		{"short", "abc", `["write", "out", "x"]`, []string{"secret db is shorter than 4 bytes: it is not hidden in the log of stage a"}},
		{"kept", hunter + "\n", `["copy-secret", "db", "out"]`, []string{"stage a: the output out contains the secret db, and is kept in the store"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, strings.Replace(secretive, `["print-secret", "db", ";", "write", "out", "x"]`, c.command, 1))
			_, events, err := r.ran(context.Background(), withSecrets(value(c.value)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, warnings(events)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsRefused(t *testing.T) {
	large := string(make([]byte, MaxSecret+1))
	for name, secrets := range map[string]map[string]Secret{"large": value(large), "empty": value("")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, secretive)
			if _, _, err := r.ran(context.Background(), withSecrets(secrets)); AsError(err).Kind != Invalid {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, value(hunter)); strings.Contains(got, hunter) || strings.Contains(got, "104") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}

// TestSensitiveIsHidden prints sensitive params, and what is made of one.
func TestSensitiveIsHidden(t *testing.T) {
	r := newRig(t, `
param "token" { sensitive = true }
param "all" {
  type      = any
  sensitive = true
}
stage "a" {
  env     = { LOUD = upper("x${param.token}") }
  params  = [param.token, param.all]
  command = ["print-env", "PLUMB_PARAM_token", ";", "print-env", "LOUD", ";", "print-env", "PLUMB_PARAM_all"]
}
`)
	_, events, err := r.ran(context.Background(), func(q *RunRequest) {
		q.Project.Params = map[string]string{"token": "hunter2"}
		q.Project.Files = []hcl.File{{Name: "all.hcl", Data: []byte("all = { pin = 47114711, names = [\"alice\", \"bob\"], on = true }\n")}}
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range events {
		if e.Type == event.StageLog {
			lines = append(lines, e.Line)
		}
	}
	if diff := cmp.Diff([]string{"***", "***", `{"names":["***","bob"],"on":true,"pin":***}`}, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}
