package hcl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const hunter2 = "hunter2"

// withToken is a pipeline with a sensitive param and something more in it.
func withToken(more string) []File {
	return []File{{MainFile, []byte("param \"token\" { sensitive = true }\nparam \"n\" { default = 1 }\nimage \"sh\" { ref = \"busybox:1\" }\n" + more)}}
}

func TestSensitiveParamsHaveNoValueInTheFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token.txt"), []byte(hunter2), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		src     string
		refused bool
	}{
		"a text":             {`param "p" { default = "hunter2", sensitive = true }`, true},
		"a file":             {"param \"p\" {\n default = trimspace(file(\"token.txt\"))\n sensitive = true\n}", true},
		"a number":           {"param \"p\" {\n type = number\n default = 4711\n sensitive = true\n}", true},
		"a list":             {"param \"p\" {\n default = [\"hunter2\"]\n sensitive = true\n}", true},
		"a computed nothing": {"param \"p\" {\n default = trimspace(\"\")\n sensitive = true\n}", true},
		"nothing":            {"param \"p\" {\n default = null\n sensitive = true\n}", false},
		"an empty text":      {"param \"p\" {\n default = \"\"\n sensitive = true\n}", false},
		"an empty list":      {"param \"p\" {\n type = list(string)\n default = []\n sensitive = true\n}", false},
		"a profile":          {"param \"p\" {\n default = \"\"\n sensitive = true\n}\nprofile \"ci\" {\n params = { p = \"hunter2\" }\n}", true},
		"not sensitive":      {"param \"p\" { default = \"hunter2\" }", false},
	} {
		t.Run(name, func(t *testing.T) {
			src := strings.Replace(c.src, ", sensitive", "\n sensitive", 1)
			src = strings.Replace(src, "{ default", "{\n default", 1)
			src = strings.Replace(src, "true }", "true\n}", 1)
			src = strings.Replace(src, "\" }", "\"\n}", 1)
			p, diags := Evaluate(dir, []File{{MainFile, []byte(src)}}, Options{})
			if !c.refused {
				if diags.HasErrors() {
					t.Errorf("refused: %s", rendered(diags))
				}
				return
			}
			text := string(rendered(diags))
			if len(diags) != 1 || diags[0].Summary != "Sensitive value in the pipeline" || !strings.Contains(diags[0].Hint, "set PLUMB_PARAM_p") {
				t.Errorf("got %s", text)
			}
			if strings.Contains(text, hunter2) || strings.Contains(text, "4711") || len(p.Reads) > 0 {
				t.Errorf("it is shown, or was read (%v):\n%s", p.Reads, text)
			}
		})
	}
}

// Whatever goes wrong with a sensitive value, it is not in what is said.
func TestSensitiveValuesAreInNoError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, hunter2), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(expr string) []File {
		return withToken("stage \"s\" {\n  image = image.sh\n  command = \"true\"\n  env = { X = " + expr + " }\n}\n")
	}
	given := Options{Params: map[string]string{"token": hunter2}}
	file := func(name, text string) Options { return Options{ParamFiles: []File{{name, []byte(text)}}} }
	for name, c := range map[string]struct {
		files   []File
		opts    Options
		summary string
	}{
		"a file that is there":       {env("file(param.token)"), given, "Sensitive value exposed"},
		"a file that is not":         {env(`file("no/${param.token}")`), given, "Sensitive value exposed"},
		"a list of files":            {env(`join("", fileset(".", param.token))`), given, "Sensitive value exposed"},
		"a list of a directory":      {env(`join("", fileset(param.token, "*"))`), given, "Sensitive value exposed"},
		"no number":                  {env("parseint(param.token, 10)"), given, "Invalid function argument"},
		"no sum":                     {env("param.token + 1"), given, "Invalid operand"},
		"no JSON":                    {env("jsondecode(param.token).x"), given, "Error in function call"},
		"no index":                   {env("{ a = 1 }[param.token]"), given, "Invalid index"},
		"no attribute":               {env("param.token.x"), given, "Unsupported attribute"},
		"in a for expression":        {env(`join("", [for x in [param.token] : parseint(x, 10)])`), given, "Invalid function argument"},
		"a key twice":                {env(`jsonencode({ for x in ["a", "b"] : param.token => x })`), given, "Duplicate object key"},
		"a condition":                {withToken("param \"v\" {\n validation {\n  condition = parseint(param.token, 10) > 0\n }\n default = 1\n}\n"), given, "Invalid function argument"},
		"the wrong type":             {[]File{{MainFile, []byte("param \"token\" {\n type = number\n sensitive = true\n}\n")}}, given, "Wrong type"},
		"the wrong type, in a file":  {[]File{{MainFile, []byte("param \"token\" {\n type = number\n sensitive = true\n}\n")}}, file("p.hcl", `token = "hunter2"`), "Wrong type"},
		"a broken file":              {withToken(""), file("p.hcl", "n = 1\ntoken = hunter2\n"), "Variables not allowed"},
		"a broken quote":             {withToken(""), file("p.hcl", "token = \"hunter2\nn = 1\n"), "Invalid multi-line string"},
		"a broken file of JSON":      {withToken(""), file("p.json", "{\"token\": hunter2}"), "Invalid JSON keyword"},
		"a misspelt name":            {withToken(""), file("p.json", "{\"tokn\": \"hunter2\"}"), "Unknown param"},
		"a shell expansion":          {withToken(""), file("p.hcl", "token = \"${hunter2:-x}\"\n"), ""},
		"a misspelt name, in a line": {withToken(""), Options{Params: map[string]string{"tokn": hunter2}}, "Unknown param"},
	} {
		t.Run(name, func(t *testing.T) {
			p, diags := Evaluate(dir, c.files, c.opts)
			if !diags.HasErrors() || c.summary != "" && !slices.ContainsFunc(diags, func(d Diagnostic) bool { return d.Summary == c.summary }) {
				t.Errorf("want %q, got %s", c.summary, rendered(diags))
			}
			if text := string(rendered(diags.WithSnippets(dir))); strings.Contains(text, hunter2) {
				t.Errorf("it is shown:\n%s", text)
			}
			for _, r := range p.Reads {
				if strings.Contains(r.Path+r.Pattern, hunter2) {
					t.Errorf("it is recorded as read: %+v", r)
				}
			}
		})
	}
}

// What waits for a metric is evaluated late, without the marks.
func TestSensitiveValuesAreInNoLateError(t *testing.T) {
	p, diags := Evaluate("", withToken(`stage "m" {
  image   = image.sh
  command = "true"
  metrics = "m.json"
}
stage "s" {
  image   = image.sh
  command = "true"
  env     = { X = stage.m.metrics.a > 1 ? parseint(param.token, 10) : 1, Y = stage.m.metrics.a > 1 ? parseint("many", 10) : 1 }
}
`), Options{Params: map[string]string{"token": hunter2}})
	if diags.HasErrors() {
		t.Fatalf("got %s", rendered(diags))
	}
	for _, e := range p.Stages[1].Env {
		_, diags := e.Value.Expr.EvalString(map[MetricRef]float64{{"m", "a"}: 2})
		if text := string(rendered(diags)); !diags.HasErrors() || strings.Contains(text, hunter2) || (e.Name == "Y") != strings.Contains(text, "many") {
			t.Errorf("%s: got %s", e.Name, text)
		}
	}
}

// A pipeline whose sensitive values are not known any more is there but for what they make.
func TestWithheldValues(t *testing.T) {
	files := withToken("stage \"s\" {\n  image = image.sh\n  command = \"true\"\n  timeout = \"${param.n}m\"\n  params = [param.token]\n  env = { A = \"a\", X = upper(param.token) }\n}\n")
	files[0].Data = append(files[0].Data, "param \"v\" {\n default = 1\n validation {\n  condition = strlen(param.token) > 3\n }\n}\n"...)
	if _, diags := Evaluate("", files, Options{}); !diags.HasErrors() {
		t.Error("it needs no value")
	}
	p, diags := Evaluate("", files, Options{Withheld: []string{"token", "n"}})
	if diags.HasErrors() {
		t.Fatalf("got %s", rendered(diags))
	}
	s := p.Stages[0]
	if s.Timeout != time.Minute || len(s.Env) != 1 || s.Env[0].Name != "A" || !slices.Equal(s.Params, []string{"token"}) {
		t.Errorf("the stage is %+v", s)
	}
	if len(p.Params) != 3 || p.Params[0].Value != "" || !p.Params[0].Sensitive || p.Params[1].Value != "1" {
		t.Errorf("the params are %+v", p.Params)
	}
}
