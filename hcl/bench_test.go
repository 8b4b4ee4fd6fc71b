package hcl

import (
	"bytes"
	"fmt"
	"testing"
)

// manyStages is a file of n written-out stages, each behind the one before it.
func manyStages(n int) []File {
	var b bytes.Buffer
	b.WriteString("image \"sh\" { ref = \"busybox:1.36\" }\n")
	for i := range n {
		upstream := "\"in/start\""
		if i > 0 {
			upstream = fmt.Sprintf("stage.s%d.out", i-1)
		}
		fmt.Fprintf(&b, "stage \"s%d\" {\n  image   = image.sh\n  inputs  = [%s, \"in/f%d\"]\n  command = \"cat in/f%d > o/%d\"\n  outputs = { out = \"o/%d\" }\n}\n",
			i, upstream, i, i, i, i)
	}
	return []File{{MainFile, b.Bytes()}}
}

func benchmarkPipeline(b *testing.B) *Pipeline {
	b.Helper()
	p, diags := Evaluate("", manyStages(10_000), Options{})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	return p
}

func BenchmarkParse10k(b *testing.B) {
	files := manyStages(10_000)
	b.SetBytes(int64(len(files[0].Data)))
	for b.Loop() {
		if _, diags := parseBody(files[0]); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}

func BenchmarkEvaluate10k(b *testing.B) {
	files := manyStages(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, diags := Evaluate("", files, Options{}); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}

func BenchmarkEncode10k(b *testing.B) {
	p := benchmarkPipeline(b)
	for b.Loop() {
		b.SetBytes(int64(len(Encode(p))))
	}
}

func BenchmarkDecode10k(b *testing.B) {
	data := Encode(benchmarkPipeline(b))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprint10k(b *testing.B) {
	files := manyStages(10_000)
	b.SetBytes(int64(len(files[0].Data)))
	for b.Loop() {
		Fingerprint(files, Options{})
	}
}
