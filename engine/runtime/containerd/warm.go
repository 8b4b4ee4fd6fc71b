package containerd

import (
	"sync"
	"time"
)

// warmEvery is shorter than the time after which the kernel lets the fast path
// of attaching processes go cold.
const warmEvery = 8 * time.Millisecond

// warmer keeps attaching processes to cgroups cheap while containers are made:
// the first attach after a pause waits for an RCU grace period, 14 ms on an idle
// machine, the next one takes 0.2. Attaching this process to where it is changes
// nothing. It rests when no container is being made.
type warmer struct {
	cgroups cgroups
	mu      sync.Mutex
	users   int
	stop    chan struct{}
	resting sync.WaitGroup
}

func newWarmer(c cgroups) *warmer { return &warmer{cgroups: c} }

// hold keeps warm until release.
func (w *warmer) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users++; w.users == 1 {
		w.stop = make(chan struct{})
		w.resting.Go(func() { w.run(w.stop) })
	}
	return w.release
}

func (w *warmer) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users--; w.users == 0 {
		close(w.stop)
	}
}

func (w *warmer) run(stop chan struct{}) {
	tick := time.NewTicker(warmEvery)
	defer tick.Stop()
	for {
		if w.cgroups.rejoin() != nil {
			return // it is only ever a matter of speed
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// close waits for the goroutine after the last release.
func (w *warmer) close() { w.resting.Wait() }
