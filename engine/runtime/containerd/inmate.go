package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// inmate is the first process of a jail, and what was put into its root for it.
type inmate struct {
	j       *jail
	c       *container
	root    string
	moved   []moved // workspaces, in their places
	placed  []placed
	secrets string // their directory, "" for none

	mu     sync.Mutex // of orders
	orders *os.File   // nil when none can be given any more
	jailer *exec.Cmd
	over   chan struct{} // closed when nothing of it is left
	end    ending
	fault  error
	spent  runtime.Usage
}

// moved is a directory that was renamed from its place into the root.
type moved struct {
	from, to string
	ino      uint64
}

// placed is the copy of an input, and what stood in its place before, "" for nothing.
type placed struct{ at, hidden string }

var _ process = (*inmate)(nil)

// furnish puts inputs and workspaces into the root, in the order in which they would be
// mounted, and the secrets.
func (t *inmate) furnish(s runtime.Spec, uid, gid int) error {
	for _, m := range s.Mounts {
		at, err := t.place(m.Target)
		if err == nil && m.ReadOnly {
			err = t.copyIn(m.Source, at)
		} else if err == nil {
			err = t.moveIn(m.Source, at, m.Lasting)
		}
		if err != nil {
			return fmt.Errorf("placing %q: %w", m.Target, err)
		}
	}
	if !s.Bare {
		at, err := t.place(dirOf(s))
		if err == nil {
			err = os.MkdirAll(at, 0o755)
		}
		if err != nil {
			return fmt.Errorf("making the working directory %q: %w", s.Dir, err)
		}
	}
	return t.keepSecrets(s.Secrets, uid, gid)
}

// place finds where a path of the stage is, following links as the stage would, and makes
// the directories above it.
func (t *inmate) place(path string) (string, error) {
	at, err := securejoin.SecureJoin(t.root, path)
	if err != nil {
		return "", err
	}
	return at, os.MkdirAll(filepath.Dir(at), 0o755)
}

func (t *inmate) copyIn(from, at string) error {
	p := placed{at: at, hidden: fmt.Sprintf("%s-%d", t.root, len(t.placed))}
	err := os.Rename(at, p.hidden)
	if errors.Is(err, os.ErrNotExist) {
		p.hidden, err = "", nil
	}
	if err != nil {
		return err
	}
	t.placed = append(t.placed, p)
	return copyTree(from, at)
}

func (t *inmate) moveIn(from, at string, lasting bool) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	m := moved{from, at, st.Ino}
	if lasting {
		if err := noteMoved(t.j.r.rootfs.scratchOf(t.c.id), m); err != nil {
			return err
		}
	}
	if err := os.Rename(from, at); err != nil {
		return err
	}
	t.moved = append(t.moved, m)
	return nil
}

// restore takes out what was put in: no process is left that could change its place.
// What stands in a workspace's place now need not be the workspace.
func (t *inmate) restore() error {
	var errs []error
	for n := len(t.placed) - 1; n >= 0; n-- {
		if t.inMoved(t.placed[n].at) {
			errs = append(errs, t.takeOut(t.placed[n]))
		}
	}
	for n := len(t.moved) - 1; n >= 0; n-- {
		m := t.moved[n]
		var st unix.Stat_t
		switch err := unix.Lstat(m.to, &st); {
		case err != nil:
			errs = append(errs, &os.PathError{Op: "lstat", Path: m.to, Err: err})
		case st.Ino != m.ino || st.Mode&unix.S_IFMT == unix.S_IFLNK:
			errs = append(errs, errors.New("the stage has put something else in the place of its workspace"))
		default:
			errs = append(errs, os.Rename(m.to, m.from))
		}
	}
	t.moved, t.placed = nil, nil
	return errors.Join(errs...)
}

// inMoved says whether a place is in a workspace, which outlives the root.
func (t *inmate) inMoved(at string) bool {
	for _, m := range t.moved {
		if strings.HasPrefix(at, m.to+"/") {
			return true
		}
	}
	return false
}

// takeOut removes the copy of an input and puts back what it hid. The stage may have made
// the way to it lead anywhere: then its place is gone.
func (t *inmate) takeOut(p placed) error {
	rel, err := filepath.Rel(t.root, p.at)
	if err != nil {
		return err
	}
	root, err := unix.Open(t.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: t.root, Err: err}
	}
	defer unix.Close(root)
	above, err := unix.Openat2(root, filepath.Dir(rel), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	defer unix.Close(above)
	in, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", above))
	if err != nil {
		return err
	}
	defer in.Close()
	if err := in.RemoveAll(filepath.Base(rel)); err != nil {
		return fmt.Errorf("removing the copy of an input: %w", err)
	}
	if p.hidden == "" {
		return nil
	}
	return unix.Renameat(unix.AT_FDCWD, p.hidden, above, filepath.Base(rel))
}

// keepSecrets writes them into the root, which is on a disk: there is no mount to keep them
// in memory, and a pipe with a name gives two who read at once a part each. They are gone
// when the stage has ended, before anything else is done.
func (t *inmate) keepSecrets(s runtime.Secrets, uid, gid int) error {
	if len(s.Files) == 0 {
		return nil
	}
	dir, err := t.place(s.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o500)
	}
	if err == nil {
		err = os.Chown(dir, uid, gid)
	}
	if err != nil {
		return fmt.Errorf("making a place for secrets: %w", err)
	}
	t.secrets = dir
	for name, value := range s.Files {
		if err := writeSecret(filepath.Join(dir, name), value, uid, gid); err != nil {
			return fmt.Errorf("writing the secret %q: %w", name, err)
		}
	}
	return nil
}

// dropSecrets removes them, wherever the way to them leads now.
func (t *inmate) dropSecrets() error {
	if t.secrets == "" {
		return nil
	}
	root, err := os.OpenRoot(t.root)
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(t.root, t.secrets)
	if err == nil {
		err = root.RemoveAll(rel)
	}
	if err != nil {
		return fmt.Errorf("removing the secrets of a stage: %w", err)
	}
	t.secrets = ""
	return nil
}

// begin starts the jailer, which waits for the order to go on.
func (t *inmate) begin(s runtime.Spec, f furnished) error {
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return err
	}
	answerR, answerW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, ordersR.Close(), ordersW.Close())
	}
	filter := t.j.r.shim.filter
	switch {
	case s.Bare:
		filter = t.j.quick
	case t.j.unix != nil && !s.Network:
		filter = t.j.unix
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{jailerName}
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Stdout, cmd.Stderr = t.c.log.write, t.c.log.write
	if s.Streams.Files[0] != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Streams.Files[0], s.Streams.Files[1], s.Streams.Files[2]
	}
	cmd.ExtraFiles = []*os.File{ordersR, answerW, filter}
	if s.Streams.Console != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.Streams.Console)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	err = errors.Join(err, ordersR.Close(), answerW.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("starting what watches over the stage: %w", err), ordersW.Close(), answerR.Close())
	}
	t.jailer, t.orders = cmd, ordersW
	go t.attend(answerR)
	return t.tell(t.described(s, f))
}

// described is what the jailer has to know.
func (t *inmate) described(s runtime.Spec, f furnished) jailed {
	flags, new := t.j.flags, ""
	if s.Network {
		flags &^= unix.CLONE_NEWNET
	}
	for flag, letter := range map[uintptr]string{unix.CLONE_NEWNS: "p", unix.CLONE_NEWNET: "l", unix.CLONE_NEWUTS: "u"} {
		if flags&flag != 0 {
			new += letter
		}
	}
	if new == "" {
		new = "-"
	}
	var groups []string
	for _, g := range f.user.Sgids {
		groups = append(groups, strconv.Itoa(g))
	}
	host := s.Hostname
	if host == "" {
		host = defaultHostname
	}
	args := []string{new, t.root, dirOf(s), strconv.Itoa(f.user.Uid), strconv.Itoa(f.user.Gid), strings.Join(groups, ","), fmt.Sprintf("%x", capabilityMask()), host}
	return jailed{
		Args: append(args, s.Args...), Env: environment(s.Env, t.c.img.config.Env), Flags: flags,
		Files: min(65536, t.j.r.files), Terminal: s.Streams.Console != nil,
	}
}

// capabilityMask has a bit for each capability of a stage.
func capabilityMask() (mask uint64) {
	for _, name := range capabilities() {
		mask |= 1 << capabilityBits[name]
	}
	return mask
}

var capabilityBits = map[string]uint{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER, "CAP_FSETID": unix.CAP_FSETID,
	"CAP_KILL": unix.CAP_KILL, "CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID,
}

// tell gives the jailer an order; one that is gone needs none.
func (t *inmate) tell(what any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.orders == nil {
		return nil
	}
	err := json.NewEncoder(t.orders).Encode(what)
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// attend waits for the end.
func (t *inmate) attend(answer *os.File) {
	defer close(t.over)
	var v verdict
	err := json.NewDecoder(answer).Decode(&v)
	werr := t.jailer.Wait()
	answer.Close() //nolint:errcheck // read to the end
	t.end = ending{code: v.Code, signal: syscall.Signal(v.Signal), finished: time.Now()}
	t.spent = runtime.Usage{CPU: v.CPU, Memory: -1, Read: -1, Written: -1}
	switch {
	case v.Error != "":
		t.fault = errors.New(v.Error)
	case errors.Is(err, io.EOF) && werr == nil:
		t.end.code, t.end.signal = 137, syscall.SIGKILL // deleted before it began
	case err != nil:
		t.end.code, t.end.signal = 137, syscall.SIGKILL // somebody killed the jailer
	}
	// Where processes see each other the stage may have killed the jailer.
	t.fault = errors.Join(t.fault, endInside(t.root), t.dropSecrets(), t.restore())
}

func (t *inmate) ended() <-chan struct{} { return t.over }

func (t *inmate) ending() (ending, error) {
	select {
	case <-t.over:
		return t.end, t.fault
	default:
		return ending{}, errNotEnded
	}
}

func (t *inmate) cpu() time.Duration {
	select {
	case <-t.over:
		return t.spent.CPU
	default:
		return -1
	}
}

// usage is known at the end only.
func (t *inmate) usage() runtime.Usage {
	select {
	case <-t.over:
		return t.spent
	default:
		return runtime.Usage{CPU: -1, Memory: -1, Read: -1, Written: -1}
	}
}

func (t *inmate) signal(_ context.Context, signal syscall.Signal, all bool) error {
	return t.tell(order{Signal: int(signal), All: all})
}

// release ends all there is of it.
func (t *inmate) release() error {
	t.mu.Lock()
	orders := t.orders
	t.orders = nil
	t.mu.Unlock()
	if t.jailer == nil { // it never came so far
		return errors.Join(t.dropSecrets(), t.restore())
	}
	var err error
	if orders != nil {
		err = orders.Close()
	}
	<-t.over
	return err
}
