package moment

import "time"

// What clocks show is a time.Time in UTC here, whatever their zone: there every clock
// time is there once, and a day has 24 hours.

// clock is what the clocks of t's zone show at t.
func clock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

func midnight(shown time.Time) time.Time {
	year, month, day := shown.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// first is the first moment at which the clocks of a zone show as much, or more if they
// left it out.
func first(shown time.Time, in *time.Location) time.Time {
	var found time.Time
	stretches(shown, in, func(from, to, at time.Time) bool {
		if found = at; at.Before(from) {
			found = from
		}
		return to.IsZero() || found.Before(to)
	})
	return found
}

// end is the last moment of a day, the day before it where it was left out. It may come
// after the first of the next: clocks that go back one hour at 00:01 show two parts of
// either.
func end(day time.Time, in *time.Location) time.Time {
	var found time.Time
	stretches(day.AddDate(0, 0, 1), in, func(from, to, at time.Time) bool {
		if !to.IsZero() && at.After(to) {
			at = to
		}
		if at.After(from) {
			found = at.Add(-time.Nanosecond)
		}
		return false
	})
	return found
}

// stretches calls do with each stretch of time around shown in which a zone's clocks ran
// on without a change, [from, to), and the moment at which they would show shown if they
// always had. It ends when do says so, or when no later stretch can matter. A stretch that
// goes on for ever, from or to, has the zero time there.
func stretches(shown time.Time, in *time.Location, do func(from, to, at time.Time) (done bool)) {
	const around = 48 * time.Hour // no clocks are further off, or jump further
	for t := shown.Add(-around).In(in); ; {
		from, to := t.ZoneBounds()
		_, offset := t.Zone()
		if do(from, to, shown.Add(-time.Duration(offset)*time.Second).In(in)) || to.IsZero() || to.After(shown.Add(around)) {
			return
		}
		t = to
	}
}
