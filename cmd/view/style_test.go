package view

import "testing"

func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "epoch 1, loss 0.5", "epoch 1, loss 0.5"},
		{"tab", "a\tb", "a b"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red"},
		{"cursor and screen", "\x1b[2J\x1b[10;3Hhere", "here"},
		{"title", "\x1b]0;title\x07text", "text"},
		{"title ended otherwise", "\x1b]0;title\x1b\\text", "text"},
		{"character set", "\x1b(Btext", "text"},
		{"broken escape", "a\x1b", "a"},
		{"progress bar", " 10%\r 50%\r100%", "100%"},
		{"progress bar that ends its line", " 50%\r100%\r", "100%"},
		{"bell and delete", "a\x07b\x7f", "ab"},
		{"eight bit control", "a\u009b31mb", "a31mb"},
		{"turned direction", "abc\u202etxt.exe", "abctxt.exe"},
		{"wide", "日本語", "日本語"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := printable(test.in); got != test.want {
				t.Errorf("printable(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestCut(t *testing.T) {
	tests := []struct {
		name, in string
		room     int
		want     string
	}{
		{"fits", "abc", 3, "abc"},
		{"too long", "abcd", 3, "ab…"},
		{"no room", "abc", 0, ""},
		{"one column", "abc", 1, "…"},
		{"wide fits", "日本", 4, "日本"},
		{"wide too long", "日本語", 5, "日本…"},
		{"wide would stand half outside", "日本語", 4, "日…"},
		{"accent counts with its letter", "e\u0301e\u0301", 2, "e\u0301e\u0301"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := cut(test.in, test.room); got != test.want {
				t.Errorf("cut(%q, %d) = %q, want %q", test.in, test.room, got, test.want)
			}
			if n := columns(cut(test.in, test.room)); n > test.room {
				t.Errorf("cut to %d columns it takes %d", test.room, n)
			}
		})
	}
}

func TestTableAlignsWide(t *testing.T) {
	got := table([][]string{{"日本", "x"}, {"ab", "y"}})
	if got[0] != "日本  x" || got[1] != "ab    y" {
		t.Errorf("got %q", got)
	}
}
