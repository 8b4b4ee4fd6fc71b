package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
)

// What an agent says of why it does not start arrives as it was meant.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want *engine.Error
	}{
		{"an error", errors.New("a\nb"), &engine.Error{Kind: engine.Machine, Message: "a; b"}},
		{"with a hint", &engine.Error{Kind: engine.Machine, Message: "no\troom", Hint: "make some"}, &engine.Error{Kind: engine.Machine, Message: "no room", Hint: "make some"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s := starter(t.TempDir(), `printf '%s\n' "$WORD" >&3`)
			s.Env = []string{"WORD=" + Refusal(tt.err)}
			if diff := cmp.Diff(tt.want, engine.AsError(s.start(ctx, s.Env))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
