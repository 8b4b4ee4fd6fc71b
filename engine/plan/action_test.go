package plan

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

func digest(s string) store.Digest { return store.Sum([]byte(s)) }

func file(s string) store.Artifact { return store.Artifact{Kind: store.KindFile, Digest: digest(s)} }

func seed(n int64) *int64 { return &n }

func sample() Action {
	return Action{
		Image: digest("image"), Platform: "linux/amd64", Command: []string{"/bin/sh", "-eu", "-c", "make all"},
		Env:     []EnvVar{{"A", "1", false}, {"B", "", false}},
		Params:  []Param{{"trees", "200", false}, {"token", "x", true}},
		Inputs:  []Input{{"data/a.csv", file("a")}, {"src", store.Artifact{Kind: store.KindTree, Digest: digest("t")}}},
		Outputs: []Output{{"model", "model.pkl", false}, {"plots", "plots", true}},
		Metrics: "metrics.json", Seed: seed(42), Isolation: "container",
	}
}

// mutations changes every ingredient of an action in turn. A field of Action that
// is missing here is caught by TestEveryFieldIsMutated.
var mutations = map[string]func(*Action){
	"Image":               func(a *Action) { a.Image = digest("other") },
	"Platform":            func(a *Action) { a.Platform = "linux/arm64" },
	"Command text":        func(a *Action) { a.Command[3] = "make  all" },
	"Command argument":    func(a *Action) { a.Command = append(a.Command, "") },
	"Command border":      func(a *Action) { a.Command = []string{"/bin/sh", "-eu -c", "make all"} },
	"Command bytes":       func(a *Action) { a.Command[3] = "make \xff" },
	"Env value":           func(a *Action) { a.Env[0].Value = "2" },
	"Env name":            func(a *Action) { a.Env[0].Name = "AA" },
	"Env empty is absent": func(a *Action) { a.Env = a.Env[:1] },
	"Env sensitive":       func(a *Action) { a.Env[0].Sensitive = true },
	"Params value":        func(a *Action) { a.Params[0].Value = "201" },
	"Params type":         func(a *Action) { a.Params[0].Value = `"200"` },
	"Params absent":       func(a *Action) { a.Params = a.Params[1:] },
	"Params sensitive":    func(a *Action) { a.Params[1].Sensitive = false },
	"Secrets":             func(a *Action) { a.Secrets = []string{"db"} },
	"Inputs content":      func(a *Action) { a.Inputs[0].Digest = digest("b") },
	"Inputs path":         func(a *Action) { a.Inputs[0].Path = "data/b.csv" },
	"Inputs exec":         func(a *Action) { a.Inputs[0].Exec = true },
	"Inputs kind":         func(a *Action) { a.Inputs[0].Kind = store.KindTree },
	"Inputs absent":       func(a *Action) { a.Inputs = a.Inputs[:1] },
	"Outputs path":        func(a *Action) { a.Outputs[0].Path = "model.bin" },
	"Outputs name":        func(a *Action) { a.Outputs[0].Name = "weights" },
	"Outputs dir":         func(a *Action) { a.Outputs[0].Dir = true },
	"Outputs absent":      func(a *Action) { a.Outputs = nil },
	"Metrics":             func(a *Action) { a.Metrics = "m.json" },
	"Metrics absent":      func(a *Action) { a.Metrics = "" },
	"Seed":                func(a *Action) { a.Seed = seed(43) },
	"Seed zero":           func(a *Action) { a.Seed = seed(0) },
	"Seed absent":         func(a *Action) { a.Seed = nil },
	"Network":             func(a *Action) { a.Network = true },
	"Isolation":           func(a *Action) { a.Isolation = "chroot" },
	"Checkpoint":          func(a *Action) { a.Checkpoint = "ckpt" },
}

func TestEveryMutationChangesTheKey(t *testing.T) {
	base := sample()
	keys := map[store.Key]string{KeyOf(base.Encode()): "the unchanged action"}
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			a := sample()
			mutate(&a)
			key := KeyOf(a.Encode())
			if other, ok := keys[key]; ok {
				t.Fatalf("same key as %s", other)
			}
			keys[key] = name
			if len(Diff(base.Fields(), a.Fields())) == 0 {
				t.Error("the keys differ and the difference is empty")
			}
		})
	}
}

func TestEveryFieldIsMutated(t *testing.T) {
	seen := map[string]bool{}
	for name := range mutations {
		var word string
		fmt.Sscan(name, &word)
		seen[word] = true
	}
	for _, f := range structFields(Action{}) {
		if !seen[f] {
			t.Errorf("no mutation changes Action.%s", f)
		}
	}
}

func TestOrderMeansNothing(t *testing.T) {
	a, b := sample(), sample()
	slices.Reverse(b.Env)
	slices.Reverse(b.Params)
	slices.Reverse(b.Inputs)
	slices.Reverse(b.Outputs)
	if !bytes.Equal(a.Encode(), b.Encode()) {
		t.Error("the order of a list changed the encoding")
	}
}

func TestSizeIsNoIngredient(t *testing.T) {
	a, b := sample(), sample()
	b.Inputs[0].Size, b.Inputs[1].Files = 7, 9
	if KeyOf(a.Encode()) != KeyOf(b.Encode()) {
		t.Error("a size that the digest already covers changed the key")
	}
}

// TestRandomPairs is the promise of the package: the difference of two actions is
// empty if and only if their keys are equal, and the stored bytes give the fields
// back.
func TestRandomPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	equal := 0
	for range 20000 {
		a, b := randomAction(r), randomAction(r)
		ea, eb := a.Encode(), b.Encode()
		fa, err := Decode(ea)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a.Fields(), fa); d != "" {
			t.Fatalf("decoded fields (-want +got):\n%s", d)
		}
		fb, err := Decode(eb)
		if err != nil {
			t.Fatal(err)
		}
		same := KeyOf(ea) == KeyOf(eb)
		if same {
			equal++
		}
		if diff := Diff(fa, fb); same != (len(diff) == 0) {
			t.Fatalf("keys equal: %v, difference %v\n%+v\n%+v", same, diff, a, b)
		}
	}
	if equal == 0 || equal > 15000 {
		t.Errorf("%d of 20000 pairs were equal: the generator does not test both sides", equal)
	}
}

// randomAction draws from so few values that equal pairs come up.
func randomAction(r *rand.Rand) Action {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	a := Action{Image: digest("i"), Platform: "linux/amd64", Command: []string{pick("a", "b")}, Isolation: "container"}
	if r.IntN(2) == 0 {
		a.Env = append(a.Env, EnvVar{pick("A", "B"), pick("", "x", "=x", "sensitive:x"), r.IntN(2) == 0})
	}
	if r.IntN(2) == 0 {
		a.Inputs = append(a.Inputs, Input{pick("p", "q"), file(pick("1", "2"))})
	}
	if r.IntN(3) == 0 {
		a.Params = append(a.Params, Param{pick("p", "q"), pick("1", `"1"`), false})
	}
	if r.IntN(4) == 0 {
		a.Seed = seed(int64(r.IntN(2)))
	}
	return a
}

func FuzzDecode(f *testing.F) {
	a := sample()
	f.Add(a.Encode())
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(encode(fields))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(fields, again); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func BenchmarkEncodeAndKey(b *testing.B) {
	a := sample()
	for b.Loop() {
		KeyOf(a.Encode())
	}
}
