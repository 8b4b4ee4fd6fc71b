package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb/hcl"
	"plumb/store"
)

// Keys are the same on machines that share nothing, and from one version to the next.
func TestConcealedIsTheSameEverywhere(t *testing.T) {
	const want = "sha256:e50ab8e8441b1550b7baad9748f47d46da3e157b8c243d91321bb859bee935a3"
	for range 2 {
		var c Concealer
		if got := c.conceal([]hcl.Param{{Name: "pin", Value: "4711"}}, "param pin", "4711"); got != want {
			t.Errorf("it is %s", got)
		}
	}
}

func TestConcealedDiffers(t *testing.T) {
	var c Concealer
	pin := hcl.Param{Name: "pin", Value: "4711"}
	all := map[string]string{}
	for name, got := range map[string]string{
		"the param":      c.conceal([]hcl.Param{pin}, "param pin", "4711"),
		"another value":  c.conceal([]hcl.Param{{Name: "pin", Value: "4712"}}, "param pin", "4712"),
		"another name":   c.conceal([]hcl.Param{{Name: "pins", Value: "4711"}}, "param pin", "4711"),
		"another place":  c.conceal([]hcl.Param{pin}, "env pin", "4711"),
		"another text":   c.conceal([]hcl.Param{pin}, "env pin", "x4711"),
		"of two params":  c.conceal([]hcl.Param{pin, {Name: "b", Value: "1"}}, "env pin", "4711"),
		"the other two":  c.conceal([]hcl.Param{pin, {Name: "b", Value: "2"}}, "env pin", "4711"),
		"a plain digest": store.Sum([]byte("4711")).String(),
	} {
		if other, ok := all[got]; ok {
			t.Errorf("%s is %s", name, other)
		}
		all[got] = name
	}
}

// Trying values is dear, and each is paid for once.
func TestConcealingCosts(t *testing.T) {
	var c Concealer
	pin := []hcl.Param{{Name: "pin", Value: "4711"}}
	begin := time.Now()
	c.conceal(pin, "param pin", "4711")
	if first := time.Since(begin); first < 5*time.Millisecond {
		t.Errorf("one value costs %v", first)
	}
	for i := range 1000 {
		c.conceal(pin, "env X", fmt.Sprint("4711 of stage ", i))
	}
	if len(c.known) != 1 {
		t.Errorf("%d were derived", len(c.known))
	}
	for i := range 3 {
		c.conceal([]hcl.Param{{Name: "pin", Value: fmt.Sprint(i)}}, "param pin", "")
	}
	if len(c.known) != 4 {
		t.Errorf("%d of 4 are known", len(c.known))
	}
}

// What is made from one sensitive param does not change with another, wherever it stands.
func TestConcealedValuesChangeWithTheirOwnParam(t *testing.T) {
	const src = `
param "a" { sensitive = true }
param "b" { sensitive = true }
stage "m" {
  image   = image.sh
  command = "true"
  env     = { A = "x${param.a}", B = upper(param.b), AB = "${param.a}${param.b}", N = strlen(param.a) }
  params  = [param.a, param.b]
}`
	w := newWorld()
	masks := func(a, b string) map[string]string {
		d := w.planner(t, src, hcl.Options{Params: map[string]string{"a": a, "b": b}}).Decision(0)
		fields, err := Decode(d.Action)
		if err != nil {
			t.Fatal(err)
		}
		action, err := Parse(fields)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(d.Action), a) {
			t.Errorf("the action holds %s", a)
		}
		out := map[string]string{}
		for _, e := range action.Env {
			if !e.Sensitive {
				t.Errorf("%s is taken for plain", e.Name)
			}
			out[e.Name] = e.Value
		}
		for _, p := range action.Params {
			out["param "+p.Name] = p.Value
		}
		return out
	}
	one, two := masks("hunter2", "same"), masks("hunter3", "same")
	var changed []string
	for name, v := range one {
		if two[name] != v {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	if got := strings.Join(changed, ", "); got != "A, AB, N, PLUMB_PARAM_a, param a" || len(one) != len(two) {
		t.Errorf("changed: %s", got)
	}
}

func BenchmarkConceal(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		var c Concealer
		c.conceal([]hcl.Param{{Name: "pin", Value: fmt.Sprint(i)}}, "param pin", "")
	}
}
