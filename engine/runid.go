package engine

import (
	"fmt"
	"strings"
	"time"

	"plumb/store"
)

// runLetters are in the order of their bytes, so that ids sort by time.
const runLetters = "0123456789abcdefghjkmnpqrstvwxyz"

const runSecond = "20060102-150405"

// newRunID is the start time: the second in digits, the microsecond in four
// letters. Two runs that begin in one microsecond are told apart by the next. A clock
// that was set back since the newest run does not order a later run before it.
func (e *Engine) newRunID() (store.RunID, error) {
	e.ids.Lock()
	defer e.ids.Unlock()
	if e.lastID.IsZero() {
		newest, err := e.store.LastRun("")
		if err != nil {
			return "", fmt.Errorf("looking for the newest run: %w", err)
		}
		if newest != nil {
			e.lastID, _ = runTime(newest.ID) // an id of another make is no time
		}
	}
	now := e.cfg.Now().UTC().Truncate(time.Microsecond)
	if !now.After(e.lastID) {
		now = e.lastID.Add(time.Microsecond)
	}
	e.lastID = now
	var letters [4]byte
	for i, n := len(letters)-1, now.Nanosecond()/1000; i >= 0; i-- {
		letters[i] = runLetters[n%len(runLetters)]
		n /= len(runLetters)
	}
	return store.RunID(now.Format(runSecond) + "-" + string(letters[:])), nil
}

// runTime is the time that an id is made of.
func runTime(id store.RunID) (time.Time, bool) {
	if len(id) != len(runSecond)+1+4 || id[len(runSecond)] != '-' {
		return time.Time{}, false
	}
	at, err := time.Parse(runSecond, string(id[:len(runSecond)]))
	if err != nil {
		return time.Time{}, false
	}
	micro := 0
	for _, letter := range string(id[len(runSecond)+1:]) {
		n := strings.IndexRune(runLetters, letter)
		if n < 0 {
			return time.Time{}, false
		}
		micro = micro*len(runLetters) + n
	}
	return at.Add(time.Duration(micro) * time.Microsecond), true
}
