// Package moment reads what people type for a time that has passed:
//
//	2026-11-17                       the end of that day
//	2026-11-17 09:00, …T09:00:30Z    that time
//	today, yesterday, tuesday        the end of the last such day, today's being now
//	last tuesday                     the one before today, also when today is one
//	yesterday 09:00, last tuesday at 9:30, 17:00; without "last" it has been
//	30 minutes ago, 3 days ago, a week ago, 2 months ago
//	now
//
// A time without a zone is one of the caller's zone, across changes of its clocks: one
// that came twice is the first of both, and one that was left out is the moment at which
// it was. A day without a time is all of it, so that what was made on it is there.
//
// Days are reckoned without a zone, as dates, and only then looked for in one: there are
// days that begin at 01:00, and one that was left out, and a midnight that does not exist
// is the evening before for time.Date.
//
// Kept libraries for this read far more, and guess: they take words that they do not
// know for noise, and an hour that is missing for the present one. Whoever asks for a
// moment to be restored must not get another one, so what is not understood is an
// error here.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse gives the moment that text means when it is read at now, whose zone counts. It
// is never after now but where the text names the date: one to come, or a time of today.
func Parse(text string, now time.Time) (time.Time, error) {
	words := strings.Fields(strings.ToLower(text))
	for _, form := range []func([]string, time.Time) (time.Time, bool){ago, onDay} {
		if t, ok := form(words, now); ok {
			return t, nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		t, err := time.Parse(layout, strings.TrimSpace(text))
		switch {
		case err != nil:
		case layout == time.RFC3339:
			return t, nil
		default:
			return first(t, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-11-17, \"2026-11-17 09:00\", \"last tuesday\", yesterday or \"3 days ago\"", text)
}

// Begin is Parse, but that a day without a time is the beginning of it: what has happened
// since then.
func Begin(text string, now time.Time) (time.Time, error) {
	day, rest, named := dayOf(strings.Fields(strings.ToLower(text)), now)
	if named && len(rest) == 0 {
		return first(day, now.Location()), nil
	}
	return Parse(text, now)
}

// units are the lengths of time that are counted in days, or not.
var units = map[string]struct {
	length       time.Duration
	months, days int
}{
	"second": {length: time.Second}, "minute": {length: time.Minute}, "hour": {length: time.Hour},
	"day": {days: 1}, "week": {days: 7}, "month": {months: 1}, "year": {months: 12},
}

// ago reads "3 days ago" and "now".
func ago(words []string, now time.Time) (time.Time, bool) {
	if len(words) == 1 && words[0] == "now" {
		return now, true
	}
	if len(words) != 3 || words[2] != "ago" {
		return now, false
	}
	n, err := strconv.Atoi(words[0])
	if words[0] == "a" || words[0] == "an" {
		n, err = 1, nil
	}
	unit, ok := units[strings.TrimSuffix(words[1], "s")]
	const most = 1_000_000
	if err != nil || n < 0 || n > most || !ok {
		return now, false
	}
	if unit.length > 0 {
		return now.Add(-time.Duration(n) * unit.length), true
	}
	if n == 0 {
		return now, true // not the first of two, when clocks went back
	}
	return first(back(clock(now), n*unit.months).AddDate(0, 0, -n*unit.days), now.Location()), true
}

// back goes back by months; where the month is too short, to its last day.
func back(t time.Time, months int) time.Time {
	to := t.AddDate(0, -months, 0)
	if to.Day() != t.Day() {
		to = to.AddDate(0, 0, -to.Day())
	}
	return to
}

// onDay reads a day, a time of day, or both.
func onDay(words []string, now time.Time) (time.Time, bool) {
	day, rest, named := dayOf(words, now)
	if len(rest) > 1 && rest[0] == "at" {
		rest = rest[1:]
	}
	today := midnight(clock(now))
	switch {
	case len(rest) == 0 && named && day.Equal(today):
		return now, true
	case len(rest) == 0 && named:
		t := end(day, now.Location())
		if day.Before(today) && t.After(now) { // the clocks will go back into it
			t = now
		}
		return t, true
	case len(rest) != 1:
		return now, false
	}
	for _, layout := range []string{"15:04", "15:04:05", "3:04pm", "3pm"} {
		passed, err := time.Parse(layout, rest[0])
		if err != nil {
			continue
		}
		wanted := day.Add(passed.Sub(midnight(passed)))
		t := first(wanted, now.Location())
		_, weekday := weekdays[words[0]]
		switch {
		case !t.After(now):
		case !named: // 17:00, said in the morning, was yesterday
			t = first(wanted.AddDate(0, 0, -1), now.Location())
		case weekday: // thursday 17:00, said on one in the morning, was a week ago
			t = first(wanted.AddDate(0, 0, -7), now.Location())
		}
		return t, true
	}
	return now, false
}

// dayOf reads the day that words begin with, as a midnight without a zone, and gives the
// rest.
func dayOf(words []string, now time.Time) (day time.Time, rest []string, named bool) {
	today := midnight(clock(now))
	if len(words) == 0 {
		return today, nil, false
	}
	name, rest := words[0], words[1:]
	last := name == "last" && len(rest) > 0
	if last {
		name, rest = rest[0], rest[1:]
	}
	if wanted, ok := weekdays[name]; ok {
		passed := (int(today.Weekday()) - int(wanted) + 7) % 7
		if last && passed == 0 {
			passed = 7
		}
		return today.AddDate(0, 0, -passed), rest, true
	}
	if last {
		return today, words, false
	}
	switch name {
	case "today":
		return today, rest, true
	case "yesterday":
		return today.AddDate(0, 0, -1), rest, true
	}
	if t, err := time.Parse(time.DateOnly, name); err == nil {
		return t, rest, true
	}
	return today, words, false
}

var weekdays = func() map[string]time.Weekday {
	all := map[string]time.Weekday{}
	for d := time.Sunday; d <= time.Saturday; d++ {
		name := strings.ToLower(d.String())
		all[name], all[name[:3]] = d, d
	}
	return all
}()
