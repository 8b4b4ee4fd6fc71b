package hcl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const paramSource = `
param "n" {
  type    = number
  default = 1
}
param "list" { default = ["a"] }
param "map" { default = { a = 1 } }
param "text" { default = "x" }
param "big" { default = 12345678901234567890.123456789 }
param "secret" {
  type      = number
  default   = null
  sensitive = true
}
profile "p" { params = { n = 2 } }
`

func TestParamPrecedence(t *testing.T) {
	file := File{"more.json", []byte(`{"n": 3}`)}
	environ := ParamEnviron([]string{"PLUMB_PARAM_n=4", "HOME=/", "PLUMB_PARAM_other=1"})
	tests := []struct {
		name          string
		opts          Options
		value, origin string
	}{
		{"default", Options{}, "1", "default"},
		{"profile", Options{Profile: "p"}, "2", "profile p"},
		{"file over profile", Options{Profile: "p", ParamFiles: []File{file}}, "3", "file more.json"},
		{"later file wins", Options{ParamFiles: []File{file, {"b.hcl", []byte("n = 33")}}}, "33", "file b.hcl"},
		{"environment over file", Options{ParamFiles: []File{file}, Environ: environ}, "4", "environment PLUMB_PARAM_n"},
		{"command line over all", Options{Profile: "p", ParamFiles: []File{file}, Environ: environ, Params: map[string]string{"n": "5"}}, "5", "command line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, diags := Evaluate("", []File{{MainFile, []byte(paramSource)}}, test.opts)
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			got := p.Params[0]
			if got.Value != test.value || got.Origin != test.origin {
				t.Errorf("got %s from %s, want %s from %s", got.Value, got.Origin, test.value, test.origin)
			}
		})
	}
}

func TestParamText(t *testing.T) {
	tests := []struct{ name, raw, value, kind string }{
		{"n", "2.50", "2.5", "number"},
		{"list", `["b", "c"]`, `["b","c"]`, "list(string)"},
		{"list", `[]`, `[]`, "list(string)"},
		{"map", `{"z": 2, b = 1}`, `{"b":1,"z":2}`, "map(number)"},
		{"text", `["b"]`, `"[\"b\"]"`, "string"},
		{"big", "12345678901234567890.1234567891", "12345678901234567890.1234567891", "number"},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.raw, func(t *testing.T) {
			p, diags := Evaluate("", []File{{MainFile, []byte(paramSource)}}, Options{Params: map[string]string{test.name: test.raw}})
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			for _, got := range p.Params {
				if got.Name == test.name && (got.Value != test.value || got.Type != test.kind) {
					t.Errorf("got %s of type %s, want %s of type %s", got.Value, got.Type, test.value, test.kind)
				}
			}
		})
	}
}

func TestParamMistakes(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		want Diagnostic // Detail is what it must contain
	}{
		{"unknown on the command line", Options{Params: map[string]string{"nn": "1"}},
			Diagnostic{Summary: "Unknown param", Detail: `"nn"`, Hint: "did you mean n?"}},
		{"one letter is not another", Options{Params: map[string]string{"m": "1"}},
			Diagnostic{Summary: "Unknown param", Detail: `"m"`}},
		{"unknown in a file", Options{ParamFiles: []File{{"p.json", []byte("{\n  \"lst\": 1\n}")}}},
			Diagnostic{Summary: "Unknown param", Detail: `"lst"`, Hint: "did you mean list?", Subject: Range{File: "p.json", Start: Pos{2, 3, 4}}}},
		{"wrong type on the command line", Options{Params: map[string]string{"n": "many"}},
			Diagnostic{Summary: "Wrong type", Detail: `"many" from the command line`, Hint: "give it a value of type number", Subject: Range{File: MainFile, Start: Pos{2, 1, 1}}}},
		{"wrong type of a sensitive one", Options{Params: map[string]string{"secret": "many"}},
			Diagnostic{Summary: "Wrong type", Detail: "the value from the command line", Hint: "give it a value of type number", Subject: Range{File: MainFile, Start: Pos{10, 1, 205}}}},
		{"wrong type in a file", Options{ParamFiles: []File{{"p.hcl", []byte("n = [1]")}}},
			Diagnostic{Summary: "Wrong type", Detail: "file p.hcl", Hint: "give it a value of type number", Subject: Range{File: "p.hcl", Start: Pos{1, 5, 4}}}},
		{"broken file", Options{ParamFiles: []File{{"p.hcl", []byte("n = ")}}},
			Diagnostic{Summary: "Missing expression", Detail: hiddenDetail, Subject: Range{File: "p.hcl", Start: Pos{1, 5, 4}}}},
		{"no text on the command line", Options{Params: map[string]string{"n": "\xff"}},
			Diagnostic{Summary: "No UTF-8 text", Detail: `The command line gives param "n" bytes`, Hint: textHint, Subject: Range{File: MainFile, Start: Pos{2, 1, 1}}}},
		{"no text in the environment", Options{Environ: map[string]string{"PLUMB_PARAM_n": "a\xc3"}},
			Diagnostic{Summary: "No UTF-8 text", Detail: `The environment PLUMB_PARAM_n gives`, Hint: textHint, Subject: Range{File: MainFile, Start: Pos{2, 1, 1}}}},
		{"no text in a file", Options{ParamFiles: []File{{"p.json", []byte("{\"n\": \"\xff\"}")}}},
			Diagnostic{Summary: "No UTF-8 text", Detail: `The file of params "p.json"`, Hint: textHint, Subject: Range{File: "p.json"}}},
		{"unknown profile", Options{Profile: "pp"},
			Diagnostic{Summary: "Unknown profile", Detail: `"pp"`, Hint: "did you mean --profile p?"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, diags := Evaluate("", []File{{MainFile, []byte(paramSource)}}, test.opts)
			if len(diags) != 1 {
				t.Fatalf("got %d diagnostics: %s", len(diags), rendered(diags))
			}
			got := diags[0]
			if !strings.Contains(got.Detail, test.want.Detail) {
				t.Errorf("detail %q does not contain %q", got.Detail, test.want.Detail)
			}
			if strings.Contains(got.Detail, "many") && test.opts.Params["secret"] != "" {
				t.Errorf("detail shows a sensitive value: %s", got.Detail)
			}
			got.Subject.End = Pos{}
			want := Diagnostic{Severity: SeverityError, Summary: test.want.Summary, Hint: test.want.Hint, Subject: test.want.Subject}
			got.Detail, got.Snippet, got.Context = "", "", ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("diagnostic (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSensitiveNeverShown(t *testing.T) {
	src := []byte(`param "token" {
  sensitive = true
  validation {
    condition = param.token == "right"
    message   = "bad token ${param.token}"
  }
}
image "sh" { ref = "x:${param.token}" }
stage "s" {
  for_each = { (param.token) = 1 }
  image    = image.sh
  command  = "x ${param.token}"
}
`)
	_, diags := Evaluate("", []File{{MainFile, src}}, Options{Params: map[string]string{"token": "hunter2"}})
	if len(diags) < 3 {
		t.Errorf("got %d diagnostics: %s", len(diags), rendered(diags))
	}
	if text := string(rendered(diags)); strings.Contains(text, "hunter2") {
		t.Errorf("a sensitive value is shown:\n%s", text)
	}
}
