package toolbox

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// twins compiles a pattern for package regexp and for the matcher that tries.
func twins(src string, d dialect) (fast *pattern, slow *trier) {
	n, groups, err := parsePattern(src, d, 0)
	if err != nil || needsTrying(n) {
		return nil, nil
	}
	p, err := newPattern(n, groups, d)
	if err != nil {
		return nil, nil
	}
	return p, newTrier(n, groups, d)
}

func TestMatchersAgree(t *testing.T) {
	texts := []string{"", "a", "abc", "aabbcc", "foo bar", "x1y22", "a{2}", "é à", "(a)", "a\nb", "aaaa", "Foo_1 baz"}
	for _, src := range []string{"a*", "a\\+b\\?", "^a", "c$", "[[:alpha:]]*", "[^a]", "a\\{2\\}", "\\(a\\|b\\)*c", "\\bfoo\\b", "\\<foo", "bar\\>", ".", "x*y*", "\\(a*\\)\\(b*\\)", "[]a]", "\\w\\+", "a**"} {
		t.Run(src, func(t *testing.T) {
			for _, d := range []dialect{{}, {fold: true}, {lines: true}} {
				fast, slow := twins(src, d)
				if fast == nil {
					t.Fatalf("%q is not for package regexp", src)
				}
				for _, text := range texts {
					agree(t, src, text, fast, slow)
				}
			}
		})
	}
}

// agree compares where all matches are; groups may be chosen otherwise where
// several ways have the same length.
func agree(t *testing.T, src, text string, fast *pattern, slow *trier) {
	t.Helper()
	want, err := slow.findAll([]byte(text))
	if err != nil {
		return // it gave up
	}
	got, err := fast.findAll([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	whole := func(all [][]int) (out [][]int) {
		for _, m := range all {
			out = append(out, m[:2])
		}
		return out
	}
	if diff := cmp.Diff(whole(want), whole(got)); diff != "" {
		t.Errorf("%q in %q (-trying +regexp):\n%s", src, text, diff)
	}
}

func TestPatternErrors(t *testing.T) {
	for name, c := range map[string]struct {
		src      string
		extended bool
		want     string
	}{
		"bracket":        {"[a", false, "a bracket is not closed"},
		"group":          {`\(a`, false, "a group is not closed"},
		"closed":         {"a)", true, "was not opened"},
		"interval":       {`a\{2`, false, "not closed"},
		"backwards":      {`a\{3,2\}`, false, "ends before it begins"},
		"large":          {`a\{1001\}`, false, "more than 1000"},
		"range":          {"[z-a]", false, "ends before it begins"},
		"class":          {"[[:nosuch:]]", false, "no character class"},
		"reference":      {`\1`, false, "which is not there"},
		"backslash":      {`a\`, false, "a backslash at the end"},
		"nothing":        {"*a", true, "nothing to repeat"},
		"not UTF-8":      {"\xff", false, "not valid UTF-8"},
		"deep":           {strings.Repeat("(", 300), true, "nested too deep"},
		"too large":      {"((a{900}){900}){900}", true, "too large"},
		"nested doubled": {`\(\(`, false, "not closed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compile(c.src, dialect{extended: c.extended})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// A pattern that would take for ever is an error.
func TestTooManySteps(t *testing.T) {
	p, err := compile(`\(a*\)*\1b`, dialect{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.find(bytes.Repeat([]byte("a"), 60)); err == nil {
		t.Error("no error")
	}
}

func FuzzPattern(f *testing.F) {
	for _, src := range []string{`a\(b\)*c`, "[[:alpha:]_-]*", `^x\{1,3\}$`, `\<w\>`, `(a|b)+?`, `a{,2}`, "[]-a]"} {
		f.Add(src, "abc ab_1", false)
		f.Add(src, "xxx", true)
	}
	f.Fuzz(func(t *testing.T, src, text string, extended bool) {
		if len(src) > 30 || len(text) > 30 {
			return
		}
		fast, slow := twins(src, dialect{extended: extended})
		if fast == nil {
			_, _ = compile(src, dialect{extended: extended}) // must not panic
			return
		}
		agree(t, src, text, fast, slow)
	})
}

func FuzzSed(f *testing.F) {
	for _, script := range []string{"s/a/b/g", "2,3d;$!N;P;D", "/x/{n;s/^/y/}", ":a;s/a/b/;ta", "y/abc/xyz/", "1i\\\ntext", "a foo", "0~3p;l 5", "h;H;x;G", "$!{$!N};q3"} {
		f.Add(script, "one\ntwo\nthree")
	}
	f.Fuzz(func(t *testing.T, script, input string) {
		if strings.ContainsAny(script, "rRwW") || len(script) > 60 || len(input) > 100 {
			return // files
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		out := &limited{left: 1 << 20}
		Run(ctx, &Call{Args: []string{"sed", "-e", script}, Dir: t.TempDir(), Stdin: strings.NewReader(input), Stdout: out, Stderr: &limited{left: 1 << 20}})
	})
}

// limited takes so many bytes, and then is a pipe that nobody reads.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errPipe
	}
	return len(p), nil
}
