package containerd

import (
	"strings"
	"testing"
)

func TestCheckVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.6.20~ds1": "", "v1.7.24": "", "2.0.0-rc.1": "", "v2.4.2+unknown": "", "10.0": "", "": "", "unknown": "",
		"1.4.13~ds1": "of version 1.4.13~ds1, and 1.6 is the oldest", "v1.5.0": "1.6 is the oldest", "0.9": "1.6 is the oldest",
	} {
		err := checkVersion("/x.sock", version)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", version, err)
		}
	}
}
