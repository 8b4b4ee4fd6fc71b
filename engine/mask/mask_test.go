package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plain is the twin of the search: it looks for each pattern everywhere.
func plain(s *Set, text string) string {
	if s == nil {
		return text
	}
	hidden := make([]bool, len(text))
	for p := range s.all {
		for at := 0; at+len(p) <= len(text); at++ {
			if text[at:at+len(p)] == p {
				for i := range len(p) { // bytes
					hidden[at+i] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(Stars)
		}
	}
	return b.String()
}

// written writes the text in the given pieces.
func written(t testing.TB, s *Set, pieces ...string) string {
	t.Helper()
	if s == nil {
		return strings.Join(pieces, "")
	}
	var out bytes.Buffer
	w := s.Writer(&out)
	for _, p := range pieces {
		if n, err := io.WriteString(w, p); n != len(p) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(p), err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func set(values ...string) *Set {
	var all [][]byte
	for _, v := range values {
		all = append(all, []byte(v))
	}
	return New(all)
}

func TestMask(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const secret = "p@ss wörd/+?&<1>"
	pem := "-----BEGIN KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 3) + "-----END KEY-----\n"
	for _, c := range []struct {
		name   string
		values []string
		in     []string
		want   string
	}{
		{"nothing", []string{secret}, []string{"just ", "words\n"}, "just words\n"},
		{"as it is", []string{secret}, []string{"a " + secret + " b\n"}, "a *** b\n"},
		{"alone", []string{secret}, []string{secret}, "***"},
		{"split", []string{secret}, []string{"a p@s", "s w", "ö", "rd/+?&<1", "> b"}, "a *** b"},
		{"byte by byte", []string{"abab-abac"}, strings.Split("xababab-abacabab", ""), "xab***abab"},
		{"only begun", []string{secret}, []string{"a p@ss wör"}, "a p@ss wör"},
		{"twice in a row", []string{"abcd"}, []string{"abcd", "abcd."}, "***."},
		{"overlapping itself", []string{"abab"}, []string{"aba", "bab!"}, "***!"},
		{"a prefix of another", []string{"pass", "password"}, []string{"pass passw", "ord passwort"}, "*** *** ***wort"},
		{"one inside another", []string{"xabcdy", "abcd"}, []string{"xabcdz", "xabcdy"}, "x***z***"},
		{"too short", []string{"abc", ""}, []string{"abc"}, "abc"},
		{"base64", []string{secret}, []string{b64(secret) + "."}, "***."},
		{"base64 in base64", []string{secret}, []string{b64("user:"+secret+"@host") + " " + b64("user1:"+secret+"@host") + " " + b64("user12:"+secret+"@host")},
			"dXNlcjp***kBob3N0 dXNlcjE6***5AaG9zdA== dXNlcjEyOn***QGhvc3Q="},
		{"base64 for URLs", []string{"\xfb\xff\xbe\xfb\xff\xbe"}, []string{"-_---_-- +/++"}, "*** +/++"},
		{"hexadecimal", []string{secret}, []string{hex.EncodeToString([]byte(secret)) + " ", strings.ToUpper(hex.EncodeToString([]byte(secret)))}, "*** ***"},
		{"query", []string{secret}, []string{"?p=" + url.QueryEscape(secret) + "&q=1"}, "?p=***&q=1"},
		{"path", []string{secret}, []string{"/" + url.PathEscape(secret) + "/x"}, "/***/x"},
		{"lower case of a query", []string{"a/b/c d"}, []string{"a%2fb%2fc+d a%2fb%2fc%20d a/b/c%20d"}, "*** *** ***"},
		{"JSON", []string{"a\"b\\c\td<é😀"}, []string{`{"p": "a\"b\\c\td<é😀"} {"p":"a\"b\\c\td\u003cé😀"} {"p":"a\"b\\c\td<\u00e9\ud83d\ude00"}`},
			`{"p": "***"} {"p":"***"} {"p":"***"}`},
		{"HTML", []string{"a\"b'c<d>&"}, []string{"a&quot;b&#x27;c&lt;d&gt;&amp; a&#34;b&#39;c&lt;d&gt;&amp; a\"b'c&lt;d&gt;&amp;"}, "*** *** ***"},
		{"lines", []string{pem}, []string{pem}, "***"},
		{"one of its lines", []string{pem}, []string{"key: MIIEvQIBADANBgkqhkiG9w0BAQ", "EFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\r\n"}, "key: ***\r\n"},
		{"lines in JSON", []string{pem}, []string{`{"key":"` + strings.ReplaceAll(pem, "\n", `\n`) + `"}`}, `{"key":"***"}`},
		{"broken base64", []string{pem}, []string{wrap(b64(pem), 76)}, strings.TrimRight(strings.Repeat("***\n", (len(b64(pem))+75)/76), "\n")},
		{"without the last line break", []string{"hunter2\n"}, []string{"it is hunter2, that is " + b64("hunter2")}, "it is ***, that is ***"},
		{"binary", []string{"\x00\x01\xfe\xff"}, []string{"\x00\x01\xfe\xff AAH+/w== 0001feff"}, "*** *** ***"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := set(c.values...)
			if diff := cmp.Diff(c.want, written(t, s, c.in...)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.want, s.String(strings.Join(c.in, ""))); diff != "" {
				t.Errorf("as a string (-want +got):\n%s", diff)
			}
		})
	}
}

func wrap(text string, width int) string {
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return strings.Join(append(lines, text), "\n")
}

// TestNoFormIsLeft encodes random values by other means than the package does, in
// random surroundings, and looks for them in what comes out.
func TestNoFormIsLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		const letters = "abcXYZ019 /+?&=<>\"\\'%\n\té世"
		runes := []rune(letters)
		var b strings.Builder
		for b.Len() < n {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return b.String()
	}
	for range 3000 {
		secret := random(Shortest + r.IntN(200))
		before, after := random(r.IntN(9)), random(r.IntN(9))
		quoted, _ := json.Marshal(secret)
		core := func(e *base64.Encoding) string { // what of it is in every base64 text
			n := len(before) % 3
			text := e.EncodeToString([]byte(before[:n] + secret))
			return text[[]int{0, 2, 3}[n] : (n+len(secret))*8/6]
		}
		n := len(before) / 3 * 3
		stated := map[string]string{ // form → text with it
			secret:                   before + secret + after,
			core(base64.StdEncoding): base64.StdEncoding.EncodeToString([]byte(before[n:] + secret + after)),
			core(base64.URLEncoding): base64.URLEncoding.EncodeToString([]byte(before[n:] + secret + after)),
			base64.StdEncoding.EncodeToString([]byte(secret)): base64.StdEncoding.EncodeToString([]byte(secret)),
			fmt.Sprintf("%x", secret):                         fmt.Sprintf("%x", before+secret+after),
			fmt.Sprintf("%X", secret):                         fmt.Sprintf("%X", before+secret+after),
			url.QueryEscape(secret):                           url.QueryEscape(before + secret + after),
			url.PathEscape(secret):                            url.PathEscape(before + secret + after),
			string(quoted[1 : len(quoted)-1]):                 string(quoted),
		}
		s := set(secret)
		for form, text := range stated {
			if !strings.Contains(text, form) {
				t.Fatalf("the test makes no %q of %q: %q", form, secret, text)
			}
			cut := r.IntN(len(text) + 1)
			if got := written(t, s, text[:cut], text[cut:]); strings.Contains(got, form) || strings.Contains(got, secret) {
				t.Fatalf("secret %q: %q is in %q, of %q", secret, form, got, text)
			}
		}
	}
}

// pieces cuts a text at random places.
func pieces(r *rand.Rand, text string) []string {
	var all []string
	for len(text) > 0 {
		n := 1 + r.IntN(min(len(text), 1+r.IntN(40)))
		all, text = append(all, text[:n]), text[n:]
	}
	return all
}

// TestLikeItsTwin compares the search with one that knows no tricks. The alphabet is
// small, so that values overlap themselves and each other.
func TestLikeItsTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "aab\n"[r.IntN(4)]
		}
		return string(b)
	}
	for range 2000 {
		var values []string
		for range 1 + r.IntN(3) {
			values = append(values, random(r.IntN(12)+r.IntN(2)*r.IntN(150)))
		}
		s := set(values...)
		text := random(r.IntN(60))
		for range r.IntN(4) {
			v := values[r.IntN(len(values))]
			text += v[r.IntN(len(v)+1):] + v + random(r.IntN(20)) + base64.StdEncoding.EncodeToString([]byte(v))
		}
		if diff := cmp.Diff(plain(s, text), written(t, s, pieces(r, text)...)); diff != "" {
			t.Fatalf("values %q, text %q (-want +got):\n%s", values, text, diff)
		}
	}
}

// TestHoldsBackLittle writes line by line: one that does not end like a secret
// begins is passed on at once.
func TestHoldsBackLittle(t *testing.T) {
	s := set("correct horse battery staple")
	for _, c := range []struct{ write, want string }{
		{"a line\n", "a line\n"},
		{"a prompt: ", "a prompt: "},
		{"correct", ""},
		{" hose\n", "correct hose\n"},
		{"the correct h", "the "},
		{"orse battery staple!", "***!"},
	} {
		var out bytes.Buffer
		w := s.Writer(&out)
		if c.write == " hose\n" || c.write == "orse battery staple!" {
			io.WriteString(w, map[string]string{" hose\n": "correct", "orse battery staple!": "correct h"}[c.write]) //nolint:errcheck // into memory
		}
		io.WriteString(w, c.write) //nolint:errcheck // into memory
		if got := out.String(); got != c.want {
			t.Errorf("%q gave %q at once, want %q", c.write, got, c.want)
		}
	}
}

// TestLargest has the largest value that is taken, of bytes and of lines.
func TestLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	binary := make([]byte, 1<<20)
	for i := range binary {
		binary[i] = byte(r.IntN(256))
	}
	lines := bytes.Repeat([]byte("abcd\n"), 1<<20/5)
	for i := range lines {
		if lines[i] != '\n' {
			lines[i] = "0123456789abcdefghijklmnopqrstuv"[r.IntN(32)]
		}
	}
	for name, value := range map[string][]byte{"bytes": binary, "lines": lines} {
		t.Run(name, func(t *testing.T) {
			s := New([][]byte{value})
			t.Logf("%d patterns", len(s.all))
			text := string(value) + "." + base64.StdEncoding.EncodeToString(value) + "." + url.QueryEscape(string(value))
			cut := len(text) / 7 // in the middle of all
			if got := written(t, s, text[:cut], text[cut:4*cut], text[4*cut:]); got != "***.***.***" {
				t.Errorf("%d bytes are left: %.100q", len(got), got)
			}
		})
	}
}

func FuzzMask(f *testing.F) {
	f.Add("hunter2", "password", "it is hunter2, passwordhunter2", uint64(1))
	f.Add("abab", "ab\nabab\n", "ababab aHVudGVyMg== YWJhYg", uint64(2))
	f.Add("p@ss/w\"rd<", "", "p%40ss%2Fw%22rd%3C p@ss/w\\\"rd\\u003c", uint64(3))
	f.Add("\x00\xff\xfe\x01", "\x00\xff\xfe\x01\x02", "AP/+AQI= 00fffe01", uint64(4))
	f.Fuzz(func(t *testing.T, a, b, text string, seed uint64) {
		if len(a)+len(b) > 1000 || len(text) > 10000 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 7))
		s := set(a, b)
		text += base64.StdEncoding.EncodeToString([]byte(text+a)) + a + url.QueryEscape(b) + b + text
		got := written(t, s, pieces(r, text)...)
		if diff := cmp.Diff(plain(s, text), got); diff != "" {
			t.Errorf("values %q and %q, text %q (-want +got):\n%s", a, b, text, diff)
		}
		for _, v := range []string{a, b} {
			if len(v) >= Shortest && strings.Contains(got, v) && !strings.Contains(v, "*") {
				t.Errorf("%q is left in %q", v, got)
			}
		}
	})
}

func BenchmarkMask(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "2026-11-25T19:54:49Z epoch %d step %d loss %.6f accuracy %.4f\n", i/100, i, 1/float64(i+1), float64(i%97)/97)
	}
	for _, c := range []struct{ name, value string }{
		{"16 bytes", "Xk29fJq0Lm7Zp4Wd"},
		{"4 bytes", "hunt"},
		{"a key", "-----BEGIN KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 25)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := set(c.value).Writer(io.Discard)
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				for rest := text.Bytes(); len(rest) > 0; {
					n := min(32<<10, len(rest))
					w.Write(rest[:n]) //nolint:errcheck // into nothing
					rest = rest[n:]
				}
			}
		})
	}
}
