package hcl

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field below v to a value of its own, so that one which the
// codec forgets shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 1_000_003)
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("a", *n): "b", "c": "d"}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic("no value for " + v.Kind().String())
	}
}

func TestCodecKeepsEveryField(t *testing.T) {
	var p Pipeline
	n := 0
	fill(reflect.ValueOf(&p).Elem(), &n)
	back, err := Decode(Encode(&p))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&p, back); diff != "" {
		t.Errorf("decoded pipeline differs (-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	var p Pipeline
	n := 0
	fill(reflect.ValueOf(&p).Elem(), &n)
	whole := Encode(&p)
	for i := range whole {
		if _, err := Decode(whole[:i]); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", i, len(whole))
		}
	}
	if _, err := Decode(append(whole, 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
	whole[0]++
	if _, err := Decode(whole); err == nil {
		t.Error("another version was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	var p Pipeline
	n := 0
	fill(reflect.ValueOf(&p).Elem(), &n)
	f.Add(Encode(&p))
	f.Add(Encode(&Pipeline{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(Encode(p))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again, equateNaNs()); diff != "" {
			t.Errorf("second round differs:\n%s", diff)
		}
	})
}

// equateNaNs lets a number that is none equal itself.
func equateNaNs() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })
}
