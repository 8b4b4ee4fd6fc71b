package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"plumb/engine/runtime"
)

// How a stage is kept from what is around it. It is in each key.
const (
	IsolationContainer = "container" // namespaces, cgroups, seccomp: everything
	IsolationChroot    = "chroot"    // a directory of its own, and what else the machine lets be
)

// Place says where stages run. The zero value is a container of the containerd that
// is inside plumb.
type Place struct {
	Isolation  string `json:"isolation,omitempty"`  // "" is IsolationContainer
	Containerd string `json:"containerd,omitempty"` // socket of the containerd that is the machine's, "" for the one inside
}

// ParsePlace reads what people write: an isolation, and a runtime
// ("containerd=SOCKET"), both of which may be "".
func ParsePlace(isolation, of string) (Place, error) {
	p := Place{Isolation: isolation}
	switch isolation {
	case IsolationContainer:
		p.Isolation = ""
	case "", IsolationChroot:
	default:
		return p, invalid("it is container or chroot", "there is no isolation %q", isolation)
	}
	if of == "" {
		return p, nil
	}
	name, socket, _ := strings.Cut(of, "=")
	socket = strings.TrimPrefix(socket, "unix://")
	switch {
	case name != "containerd" || socket == "":
		return p, invalid("write it like containerd=/run/containerd/containerd.sock; without it stages run in the containerd inside plumb", "there is no runtime %q", of)
	case !filepath.IsAbs(socket):
		return p, invalid("", "the socket of the runtime must be an absolute path, and %q is not", socket)
	case p.Isolation == IsolationChroot:
		return p, invalid("leave one of the two out", "a containerd makes containers: it cannot be had with isolation %q", isolation)
	}
	p.Containerd = filepath.Clean(socket)
	return p, nil
}

// isolation is the word that keys have for it.
func (p Place) isolation() string {
	if p.Isolation == "" {
		return IsolationContainer
	}
	return p.Isolation
}

func (p Place) String() string {
	switch {
	case p.Containerd != "":
		return fmt.Sprintf("the containerd at %q", p.Containerd)
	case p.Isolation == IsolationChroot:
		return "isolation " + p.Isolation
	}
	return "containerd"
}

// runtimes starts each when it is first needed. A failure is not kept: the user may
// mend the machine and try again.
type runtimes struct {
	mu  sync.Mutex
	all map[Place]runtime.Runtime
}

// runtimeOf gives the runtime of a place.
func (e *Engine) runtimeOf(ctx context.Context, at Place) (runtime.Runtime, error) {
	l := &e.runtimes
	l.mu.Lock()
	defer l.mu.Unlock()
	if rt, ok := l.all[at]; ok {
		return rt, nil
	}
	if e.cfg.NewRuntime == nil {
		return nil, errors.New("this process has no runtime")
	}
	rt, err := e.cfg.NewRuntime(context.WithoutCancel(ctx), at) // it outlives the run that needed it first
	if err != nil {
		var told *Error
		if errors.As(err, &told) {
			return nil, told
		}
		return nil, &Error{Kind: Machine, Message: fmt.Sprintf("starting %s: %v", at, err), Hint: "plumb doctor says what this machine lacks"}
	}
	if l.all == nil {
		l.all = map[Place]runtime.Runtime{}
	}
	l.all[at] = rt
	return rt, nil
}

func (l *runtimes) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, rt := range l.all {
		errs = append(errs, rt.Close())
	}
	l.all = nil
	return errors.Join(errs...)
}
