package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// manyLines is the size of a value beyond which its lines are looked for only as they
// are: of each there would be two dozen forms.
const manyLines = 64 << 10

// forms tells each form in which a value may stand in a text.
func forms(value []byte, add func(string)) {
	if len(value) < Shortest {
		return
	}
	encodings(value, add)
	if !bytes.ContainsRune(value, '\n') {
		return
	}
	for line := range bytes.Lines(value) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		switch {
		case len(line) < Shortest:
		case len(value) > manyLines:
			add(string(line))
		default:
			encodings(line, add)
		}
	}
}

func encodings(value []byte, add func(string)) {
	add(string(value))
	hexed := hex.EncodeToString(value)
	add(hexed)
	add(strings.ToUpper(hexed))
	inBase64(value, add)
	inURL(value, add)
	if utf8.Valid(value) {
		inJSON(string(value), add)
	}
	for _, marks := range [][2]string{{`"`, "'"}, {"&#34;", "&#39;"}, {"&quot;", "&#39;"}, {"&quot;", "&#x27;"}, {"&quot;", "&apos;"}} {
		add(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, marks[0], "'", marks[1]).Replace(string(value)))
	}
}

// inBase64 tells what the value becomes as a part of any base64 text. It may begin
// at each byte of a group of three; the characters that it shares with what is
// around it are left out, but for the last one when nothing comes behind.
func inBase64(value []byte, add func(string)) {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before, shared := range []int{0, 2, 3} {
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			whole := (before + len(value)) * 8 / 6
			add(text[shared:whole])
			if whole < len(text) {
				add(text[shared:])
				add(text[shared:] + "=="[:(4-len(text)%4)%4])
			}
		}
	}
	// As base64(1), PEM and MIME break lines.
	text := base64.StdEncoding.EncodeToString(value)
	for _, width := range []int{64, 76} {
		for rest := text; len(text) > width && len(rest) > 0; {
			n := min(width, len(rest))
			if n >= Shortest {
				add(rest[:n])
			}
			rest = rest[n:]
		}
	}
}

// What is left as it is when text is escaped for a URL, by different tools.
const (
	unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
	inSegment  = "$&+=:@"      // a segment of a path
	inScript   = "!'()*"       // encodeURIComponent of JavaScript
	inAddress  = ";,/?:@&=+$#" // encodeURI
)

func inURL(value []byte, add func(string)) {
	for _, hexDigits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
		for _, plain := range []string{"", "/", inSegment, inScript, inScript + inAddress} {
			add(percent(value, unreserved+plain, hexDigits, "%20"))
		}
		add(percent(value, unreserved, hexDigits, "+"))
		add(percent(value, unreserved[:len(unreserved)-1]+"*", hexDigits, "+")) // a form, as HTML has it
	}
}

func percent(value []byte, plain, hexDigits, space string) string {
	var b strings.Builder
	for _, c := range value {
		switch {
		case c == ' ':
			b.WriteString(space)
		case strings.IndexByte(plain, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// inJSON tells the ways to write a string in JSON: with what matters in HTML as it
// is or escaped, all of Unicode or ASCII alone, a slash with or without a backslash.
func inJSON(value string, add func(string)) {
	var b bytes.Buffer
	for _, html := range []bool{false, true} {
		b.Reset()
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		if e.Encode(value) != nil { // a string always encodes
			continue
		}
		quoted := strings.TrimSuffix(b.String(), "\n")
		text := quoted[1 : len(quoted)-1]
		for _, form := range []string{text, ascii(text, "%04x"), ascii(text, "%04X")} {
			add(form)
			add(strings.ReplaceAll(form, "/", `\/`))
		}
	}
}

// ascii writes all that is not ASCII as JSON's escapes do.
func ascii(text, digits string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u`+digits+`\u`+digits, high, low)
		default:
			fmt.Fprintf(&b, `\u`+digits, r)
		}
	}
	return b.String()
}
