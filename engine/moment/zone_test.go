package moment

import (
	"testing"
	"time"
)

func zonesOf(t testing.TB, names ...string) []*time.Location {
	t.Helper()
	var zones []*time.Location
	for _, name := range names {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, zone)
	}
	return zones
}

// seen are the first and the last moment at which a zone's clocks showed a date.
type seen struct{ first, last time.Time }

// walked looks at the clocks of a zone in every minute of a year: all that is asked for
// here changed on a whole one.
func walked(zone *time.Location, year int) map[string]seen {
	days := map[string]seen{}
	for t := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC); t.Year() == year; t = t.Add(time.Minute) {
		date := t.In(zone).Format(time.DateOnly)
		day, ok := days[date]
		if !ok {
			day.first = t
		}
		day.last = t.Add(time.Minute - time.Nanosecond)
		days[date] = day
	}
	return days
}

// Days that begin at 01:00, that end at 23:00, that overlap, that were left out.
func TestEveryDayIsItself(t *testing.T) {
	for _, c := range []struct {
		zone  string
		years []int
	}{
		{"America/Santiago", []int{2024}},
		{"America/Havana", []int{2024}},
		{"Africa/Cairo", []int{2024}},
		{"Asia/Beirut", []int{2022}},
		{"Pacific/Apia", []int{2011}},
		{"Australia/Lord_Howe", []int{2024}},
		{"America/St_Johns", []int{2006}},
		{"America/Sao_Paulo", []int{2018}},
	} {
		zone := zonesOf(t, c.zone)[0]
		for _, year := range c.years {
			days := walked(zone, year)
			for d := time.Date(year, 1, 10, 0, 0, 0, 0, time.UTC); d.Month() < 12 || d.Day() < 20; d = d.AddDate(0, 0, 1) {
				everyQuestion(t, zone, days, d)
			}
		}
	}
}

// everyQuestion asks for a day by its date, and on the days after it by its name.
func everyQuestion(t *testing.T, zone *time.Location, days map[string]seen, day time.Time) {
	t.Helper()
	date := day.Format(time.DateOnly)
	want, there := days[date]
	if !there { // between its neighbours, without length
		want.first = days[day.AddDate(0, 0, 1).Format(time.DateOnly)].first
		want.last = want.first.Add(-time.Nanosecond)
	}
	ask := func(text string, now time.Time) {
		t.Helper()
		begin, err := Begin(text, now)
		if err != nil || !begin.Equal(want.first) {
			t.Errorf("%v: %q at %v begins at %v, %v; want %v", zone, text, now, begin, err, want.first.In(zone))
		}
		last := want.last
		if last.After(now) {
			last = now
		}
		if got, err := Parse(text, now); err != nil || !got.Equal(last) {
			t.Errorf("%v: %q at %v ends at %v, %v; want %v", zone, text, now, got, err, last.In(zone))
		}
	}
	ask(date, want.last.AddDate(0, 0, 20).In(zone))
	for n, names := range [][]string{1: {"yesterday", day.Format("Mon"), "last " + day.Format("Monday")}, 2: {day.Format("Mon"), "last " + day.Format("Monday")}, 7: {"last " + day.Format("Monday")}} {
		said, ok := days[day.AddDate(0, 0, n).Format(time.DateOnly)]
		if !ok {
			continue
		}
		for _, text := range names {
			ask(text, said.first.In(zone))
			if now := said.first.Add(30 * time.Minute).In(zone); midnight(clock(now)).Equal(day.AddDate(0, 0, n)) {
				ask(text, now)
			}
			ask(text, said.last.In(zone))
		}
	}
}

// Clock times are there once, twice, or not at all.
func TestEveryClockTimeIsItself(t *testing.T) {
	for name, at := range map[string]time.Time{
		"America/Santiago":    time.Date(2024, 9, 8, 0, 0, 0, 0, time.UTC),
		"Australia/Lord_Howe": time.Date(2024, 4, 6, 0, 0, 0, 0, time.UTC),
		"Europe/Berlin":       time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC),
		"America/St_Johns":    time.Date(2006, 10, 28, 0, 0, 0, 0, time.UTC),
		"Pacific/Apia":        time.Date(2011, 12, 29, 0, 0, 0, 0, time.UTC),
	} {
		zone := zonesOf(t, name)[0]
		for shown := at; shown.Before(at.AddDate(0, 0, 2)); shown = shown.Add(10 * time.Minute) {
			want := shown.AddDate(0, 0, -2)
			for clock(want.In(zone)).Before(shown) {
				want = want.Add(time.Minute)
			}
			text := shown.Format("2006-01-02 15:04")
			if got, err := Parse(text, at.AddDate(0, 0, 20).In(zone)); err != nil || !got.Equal(want) {
				t.Errorf("%v: %q is %v, %v; want %v", zone, text, got, err, want.In(zone))
			}
		}
	}
}
