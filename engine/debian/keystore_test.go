package debian

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// keystore has an entry for each time.
func keystore(times ...time.Time) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0xfeedfeed)
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint32(b, uint32(len(times)))
	text := func(s string) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	for _, when := range times {
		b = binary.BigEndian.AppendUint32(b, 2)
		text("debian:an authority")
		b = binary.BigEndian.AppendUint64(b, uint64(when.UnixMilli()))
		text("X.509")
		b = binary.BigEndian.AppendUint32(b, 3)
		b = append(b, "der"...)
	}
	return append(b, keystoreSum(b)...)
}

func TestKeystoreIsDated(t *testing.T) {
	now := time.Now()
	good := keystore(now, now.Add(time.Second))
	if got := datedKeystore(good, released); !bytes.Equal(got, keystore(released, released)) {
		t.Errorf("%x", got)
	}
	if !bytes.Equal(good, keystore(now, now.Add(time.Second))) {
		t.Error("what was given has changed")
	}
	// What is not exactly so stays.
	summed := func(body []byte) []byte { return append(bytes.Clone(body), keystoreSum(body)...) }
	body := good[:len(good)-20]
	for name, b := range map[string][]byte{
		"nothing": nil, "another digest": append(bytes.Clone(body), make([]byte, 20)...), "cut off": summed(body[:len(body)-1]), "more behind it": summed(append(bytes.Clone(body), 0)),
		"another format": summed(append([]byte("MAGI"), body[4:]...)), "more entries than there are": summed(append(append(bytes.Clone(body[:8]), 0xff, 0xff, 0xff, 0xff), body[12:]...)),
	} {
		if got := datedKeystore(b, released); !bytes.Equal(got, b) {
			t.Errorf("%s: %x became %x", name, b, got)
		}
	}
	layer, err := configured(t, change(dpkgStatus, installed), change(keystorePath, string(good)))
	if err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(t, layer)[1].text; got != string(keystore(released, released)) {
		t.Errorf("in the layer: %x", got)
	}
}

func FuzzKeystore(f *testing.F) {
	f.Add(keystore(released)[12:])
	f.Fuzz(func(t *testing.T, b []byte) {
		body := append(keystore(released)[:12:12], b...)
		whole := append(body, keystoreSum(body)...)
		if got := datedKeystore(whole, released); len(got) != len(whole) {
			t.Errorf("%d bytes became %d", len(whole), len(got))
		}
	})
}
