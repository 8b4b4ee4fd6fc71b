package moment

import (
	"regexp"
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
		{"thu 14:00", thursday, "2026-11-26T14:00:00+01:00"},
		{"thu 23:00", thursday, "2026-11-19T23:00:00+01:00"},
		{"last thu 9:00", thursday, "2026-11-19T09:00:00+01:00"},
		{"today 23:00", thursday, "2026-11-26T23:00:00+01:00"},
		{"2026-03-29 02:30", tuesday, "2026-03-29T03:00:00+02:00"}, // left out
		{"2025-10-26 02:30", tuesday, "2025-10-26T02:30:00+02:00"}, // the first of two
		{"2025-10-26T02:30", tuesday, "2025-10-26T02:30:00+02:00"},
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

// Where no date is named, what is meant has been. What was read can be read again.
func FuzzParse(f *testing.F) {
	zones := zonesOf(f, "UTC", "America/Santiago", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo")
	said := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC).Unix()
	for _, text := range []string{
		"last tuesday at 9:00", "thu 23:00", "thursday", "3 days ago", "0 months ago", "2026-11-17 09:00", "2026-11-17T09:00:00Z", "yesterday 5pm", "yesterday", "23:59", "last sat", "now",
	} {
		f.Add(text, said, uint8(0))
		f.Add(text, int64(1725769800), uint8(1)) // 2024-09-08 01:30 where the day begins at 01:00
		f.Add(text, int64(1162089030), uint8(2)) // 00:00:30, half a minute before clocks show the day before again
		f.Add(text, int64(1325239200), uint8(4)) // right after the day that was left out
		f.Add(text, said, uint8(3))
	}
	named := regexp.MustCompile(`(?i)^\s*(\d{4}-\d\d-\d\d|today\b)`)
	f.Fuzz(func(t *testing.T, text string, unix int64, zone uint8) {
		const years = 4000 * 365 * 24 * 3600
		now := time.Unix(unix%years, 0).In(zones[int(zone)%len(zones)])
		got, err := Parse(text, now)
		begin, err2 := Begin(text, now)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %v and %v", text, err, err2)
		}
		if err != nil {
			return
		}
		if !named.MatchString(text) && (got.After(now) || begin.After(now)) {
			t.Errorf("%q at %v is %v, and begins at %v: to come", text, now, got, begin)
		}
		if written := got.Format(time.RFC3339Nano); got.Year() >= 0 && got.Year() < 10000 {
			_, offset := got.Zone()
			if again, err := Parse(written, now); offset%60 == 0 && (err != nil || !again.Equal(got)) {
				t.Errorf("%q is %s, which is %v, %v", text, written, again, err)
			}
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
