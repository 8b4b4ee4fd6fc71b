package moment

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	thursday := time.Date(2026, 11, 26, 14, 30, 15, 0, berlin)
	tuesday := time.Date(2026, 3, 31, 8, 0, 0, 0, berlin) // two days after the clocks went on
	for _, c := range []struct {
		text string
		now  time.Time
		want string
	}{
		{"now", thursday, "2026-11-26T14:30:15+01:00"},
		{"2026-11-17", thursday, "2026-11-17T23:59:59.999999999+01:00"},
		{"2026-11-17 09:00", thursday, "2026-11-17T09:00:00+01:00"},
		{"2026-11-17 09:00:30", thursday, "2026-11-17T09:00:30+01:00"},
		{"2026-11-17T09:00", thursday, "2026-11-17T09:00:00+01:00"},
		{"2026-11-17T09:00:30Z", thursday, "2026-11-17T09:00:30Z"},
		{"2026-11-17T09:00:30-05:00", thursday, "2026-11-17T09:00:30-05:00"},
		{"today", thursday, "2026-11-26T14:30:15+01:00"},
		{"Yesterday", thursday, "2026-11-25T23:59:59.999999999+01:00"},
		{"yesterday at 9:15", thursday, "2026-11-25T09:15:00+01:00"},
		{"tuesday", thursday, "2026-11-24T23:59:59.999999999+01:00"},
		{"last tuesday", thursday, "2026-11-24T23:59:59.999999999+01:00"},
		{"last Tue 17:00", thursday, "2026-11-24T17:00:00+01:00"},
		{"thursday", thursday, "2026-11-26T14:30:15+01:00"},
		{"last thursday", thursday, "2026-11-19T23:59:59.999999999+01:00"},
		{"friday", thursday, "2026-11-20T23:59:59.999999999+01:00"},
		{"last tuesday", tuesday, "2026-03-24T23:59:59.999999999+01:00"},
		{"sunday", tuesday, "2026-03-29T23:59:59.999999999+02:00"},
		{"3 days ago", tuesday, "2026-03-28T08:00:00+01:00"},
		{"72 hours ago", tuesday, "2026-03-28T07:00:00+01:00"},
		{"a week ago", thursday, "2026-11-19T14:30:15+01:00"},
		{"1 month ago", tuesday, "2026-02-28T08:00:00+01:00"},
		{"2 years ago", thursday, "2024-11-26T14:30:15+01:00"},
		{"30 minutes ago", thursday, "2026-11-26T14:00:15+01:00"},
		{"10:00", thursday, "2026-11-26T10:00:00+01:00"},
		{"17:00", thursday, "2026-11-25T17:00:00+01:00"},
		{"yesterday 5pm", thursday, "2026-11-25T17:00:00+01:00"},
	} {
		got, err := Parse(c.text, c.now)
		if err != nil || got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("%q at %v is %v, %v; want %s", c.text, c.now, got.Format(time.RFC3339Nano), err, c.want)
		}
	}
}

// What is not understood is an error, never another moment.
func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "last", "last week", "last yesterday", "next tuesday", "tuesday morning", "3 days", "three days ago", "-3 days ago", "3 fortnights ago",
		"2026-11", "2026-13-01", "2026-02-30", "17.11.2026", "tomorrow", "25:00", "yesterday at", "yesterday 9:00 9:00", "99999999999 days ago", "soon", "2026-11-17 at noon",
	} {
		got, err := Parse(text, time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC))
		if err == nil {
			t.Errorf("%q is taken for %v", text, got)
		} else if !strings.Contains(err.Error(), "last tuesday") {
			t.Errorf("%q: the error does not help: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"last tuesday at 9:00", "3 days ago", "2026-11-17 09:00", "2026-11-17T09:00:00Z", "yesterday 5pm"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text, now)
		if err == nil && got.After(now) && !strings.Contains(text, "-") && !strings.Contains(text, "today") && !strings.Contains(text, "day") {
			t.Errorf("%q is %v, which is to come", text, got)
		}
	})
}

func TestBegin(t *testing.T) {
	now := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC) // a Wednesday
	for text, want := range map[string]string{
		"today":            "2026-11-25T00:00:00Z",
		"yesterday":        "2026-11-24T00:00:00Z",
		"Last Tuesday":     "2026-11-24T00:00:00Z",
		"2026-11-17":       "2026-11-17T00:00:00Z",
		"2026-11-17 09:00": "2026-11-17T09:00:00Z",
		"3 days ago":       "2026-11-22T15:04:05Z",
		"now":              "2026-11-25T15:04:05Z",
	} {
		if got, err := Begin(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got, err := Begin("whenever", now); err == nil {
		t.Errorf("whenever is %v", got)
	}
}
