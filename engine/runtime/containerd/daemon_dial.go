package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// dialDaemon calls a daemon and makes sure that it is one of use. What is wrong is told
// by trying the socket first: gRPC would say that it is unavailable, and try again.
func dialDaemon(ctx context.Context, socket string) (*daemon, error) {
	if err := knock(ctx, socket); err != nil {
		return nil, err
	}
	c, err := client.New(socket, client.WithDefaultNamespace(namespace), client.WithTimeout(answerTime))
	if err != nil {
		return nil, fmt.Errorf("calling the containerd at %q: %w", socket, err)
	}
	d := &daemon{socket: socket, client: c}
	if d.version, err = d.askVersion(ctx); err == nil {
		err = checkVersion(socket, d.version)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return d, nil
}

// knock connects to the socket and hangs up.
func knock(ctx context.Context, socket string) error {
	dialer := net.Dialer{Timeout: answerTime}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err == nil {
		return conn.Close()
	}
	info, serr := os.Stat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Unusable{fmt.Sprintf("there is no socket %q", socket), "start the containerd whose it is, such as by systemctl start containerd, or name another: most have /run/containerd/containerd.sock"}
	case errors.Is(err, fs.ErrPermission):
		return &Unusable{fmt.Sprintf("the socket %q is not for this user", socket), "run plumb as root, who owns it as a rule, and who has to see the snapshots"}
	case serr == nil && info.Mode()&os.ModeSocket == 0:
		return &Unusable{fmt.Sprintf("%q is no socket", socket), "name the socket of a containerd: most have /run/containerd/containerd.sock"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Unusable{fmt.Sprintf("nobody answers at the socket %q", socket), "start the containerd whose it is, such as by systemctl start containerd"}
	}
	return fmt.Errorf("calling the containerd at %q: %w", socket, err)
}

func (d *daemon) askVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), answerTime)
	defer cancel()
	v, err := d.client.Version(ctx)
	switch {
	case err == nil:
		return v.Version, nil
	case errors.Is(context.Cause(ctx), context.Canceled):
		return "", err
	case errdefs.IsNotImplemented(err):
		return "", &Unusable{fmt.Sprintf("what answers at %q is no containerd", d.socket), "name the socket of a containerd: most have /run/containerd/containerd.sock"}
	}
	return "", &Unusable{fmt.Sprintf("what is at %q does not answer as a containerd does: %v", d.socket, err), "name the socket of a containerd, or look into the log of this one"}
}

// checkVersion refuses what is too old. A version that says nothing, as builds from
// source have it, is let be.
func checkVersion(socket, version string) error {
	major, minor, ok := numbersOf(version)
	if !ok || major > leastVersion[0] || major == leastVersion[0] && minor >= leastVersion[1] {
		return nil
	}
	return &Unusable{
		fmt.Sprintf("the containerd at %q is of version %s, and %d.%d is the oldest that plumb can use", socket, version, leastVersion[0], leastVersion[1]),
		"install a newer one, or leave --runtime out: then containers are those of the containerd inside plumb",
	}
}

// numbersOf reads "1.6.20~ds1", "v2.0.0-rc.1".
func numbersOf(version string) (major, minor int, ok bool) {
	if len(version) > 0 && version[0] == 'v' {
		version = version[1:]
	}
	n, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return major, minor, err == nil && n == 2
}

// callAgain makes the next call try the socket, where gRPC would wait for longer each
// time before it does.
func (d *daemon) callAgain() {
	if c, ok := d.client.Conn().(interface{ ResetConnectBackoff() }); ok {
		c.ResetConnectBackoff()
	}
}

// away is why something ended before its time.
type away struct {
	socket string
	err    error
}

func (a *away) Error() string {
	return fmt.Sprintf("the containerd at %q went away meanwhile: %v", a.socket, a.err)
}

// guard is ctx for a call that may take long, until the daemon does not answer any more:
// one that hangs does not close its connections. stop is called with the call's error
// and says what is behind it.
func (d *daemon) guard(ctx context.Context) (_ context.Context, stop func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(answerTime / 2)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := d.ping(ctx); err != nil {
					cancel(&away{d.socket, err})
				}
			}
		}
	}()
	return ctx, func(err error) error {
		var gone *away
		found := errors.As(context.Cause(ctx), &gone)
		cancel(nil)
		switch {
		case err != nil && found:
			return gone
		case errdefs.IsUnavailable(err):
			return &away{d.socket, err}
		}
		return err
	}
}

// guarded does something that asks the daemon, if there is one, for long.
func (r *Runtime) guarded(ctx context.Context, do func(ctx context.Context) error) error {
	if r.daemon == nil {
		return do(ctx)
	}
	ctx, stop := r.daemon.guard(ctx)
	return stop(do(ctx))
}

// ping asks whether it is there, unless it just said something.
func (d *daemon) ping(ctx context.Context) error {
	d.mu.Lock()
	fresh := time.Since(d.heard) < answerTime/4
	d.mu.Unlock()
	if fresh {
		return nil
	}
	if _, err := d.askVersion(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.heard = time.Now()
	d.mu.Unlock()
	return nil
}
