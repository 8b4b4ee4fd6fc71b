package engine

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"plumb/engine/mask"
)

// BenchmarkLog is a gigabyte that a stage prints: with nothing to hide, and with a
// secret of the usual kinds.
func BenchmarkLog(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 16<<20; i++ {
		fmt.Fprintf(&text, "2026-11-25T19:54:49Z epoch %d step %d loss %.6f accuracy %.4f\n", i/100, i, 1/float64(i+1), float64(i%97)/97)
	}
	for _, c := range []struct{ name, secret string }{
		{"bare", ""}, {"password", "Xk29fJq0Lm7Zp4Wd"}, {"pin", "4711"},
		{"key", "-----BEGIN KEY-----\n" + string(bytes.Repeat([]byte("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"), 25))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(64 * int64(text.Len()))
			for b.Loop() {
				l, err := newStageLog(filepath.Join(b.TempDir(), "log"), func(string) {})
				if err != nil {
					b.Fatal(err)
				}
				var to io.Writer = l
				if s := mask.New([][]byte{[]byte(c.secret)}); s != nil {
					to = s.Writer(l)
				}
				for range 64 {
					for rest := text.Bytes(); len(rest) > 0; {
						n := min(32<<10, len(rest))
						if _, err := to.Write(rest[:n]); err != nil {
							b.Fatal(err)
						}
						rest = rest[n:]
					}
				}
				if err := l.close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
