package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParse reads every action that the other tests make from its fields.
func TestParse(t *testing.T) {
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			a := sample()
			mutate(&a)
			got, err := Parse(a.Fields())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(a.Fields(), got.Fields()); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
			if d := cmp.Diff(a.Command, got.Command); d != "" {
				t.Errorf("command (-want +got):\n%s", d)
			}
		})
	}
	for _, f := range []Field{
		{FieldImage, "", "sha256:12"}, {FieldCommand, "", `["a"`}, {FieldCommand, "", `bytes ["a`}, {FieldCommand, "", `bytes [a]`},
		{FieldInput, "x", "file"}, {FieldInput, "x", "file sha256:zz"}, {FieldSeed, "", "many"}, {"unheard-of", "", ""},
	} {
		if a, err := Parse([]Field{f}); err == nil {
			t.Errorf("%+v is read as %+v", f, a)
		}
	}
}

func FuzzParse(f *testing.F) {
	a := sample()
	f.Add(a.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := Decode(b)
		if err != nil {
			return
		}
		if _, err := Parse(fields); err != nil {
			return
		}
	})
}
