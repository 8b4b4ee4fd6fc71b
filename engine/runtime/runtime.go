// Package runtime says what the engine asks of a place where stages run.
//
// A runtime makes an image present and creates containers from it. Creating and
// starting are two calls, so that the next container can be made ready while
// its predecessor still runs: what remains then is to let it go.
//
//	Prepare(image) ─▶ Create(spec) ─▶ Start ─▶ Wait ─▶ Delete
//
// The package holds types only; the implementations are below it.
package runtime

import (
	"context"
	"io"
	"os"
	"time"
)

// Runtime runs stages. All methods may be called from several goroutines.
type Runtime interface {
	// Prepare makes the image that locator names present and unpacked, so that
	// Create needs no more than a snapshot. It returns at once when it is.
	Prepare(ctx context.Context, img ImageSource) error
	// Create makes a container ready to start: root filesystem, mounts,
	// namespaces, limits. It does not run the command.
	Create(ctx context.Context, spec Spec) (Container, error)
	// Close ends what still runs and releases everything.
	Close() error
}

// ImageSource gives an image's manifest and blobs by digest. It is implemented
// by package engine/image; the runtime reads only what it does not have yet.
type ImageSource interface {
	// Manifest is the digest ("sha256:…") of the platform's manifest.
	Manifest() string
	// Blob opens the manifest, the config or a layer.
	Blob(ctx context.Context, digest string) (io.ReadCloser, error)
}

// Container is one created container. Delete must be called in every case, also
// when Start was not.
type Container interface {
	Start(ctx context.Context) error
	// Wait returns when no process of the container is left.
	Wait(ctx context.Context) (Exit, error)
	// Kill sends a signal to the container's first process, or with all to
	// every process in it.
	Kill(ctx context.Context, signal int, all bool) error
	// Usage is what the container has used so far.
	Usage(ctx context.Context) (Usage, error)
	// Delete kills what is left and removes container, snapshot and mounts.
	Delete(ctx context.Context) error
}

// Noted is what a Container implements that may have to tell people what of it is not
// as the image says, "" for nothing: the machine does not let it be.
type Noted interface{ Note() string }

// Spec says what a container is. Everything not named here is the same for all
// containers: no network but loopback, a user namespace, the few capabilities
// that file handling needs, no new privileges, seccomp, masked paths.
//
// A bare one shows the image as it is, and what becomes of it can be asked for
// (Build.Changes): nothing is added to its files, no name for the user, no home, no
// hosts. It runs as root, whatever the image says, and has no network. The places
// that something is mounted on (/proc, /sys, /dev, the targets of Mounts) and its
// working directory must be directories of the image. What it writes goes to the
// disk when the kernel likes, and fsync costs nothing.
type Spec struct {
	ID       string   // unique among live containers, [a-z0-9-]
	Image    string   // manifest digest of a prepared image
	Args     []string // never empty
	Env      []string // NAME=value; what the image sets besides is added
	Dir      string   // working directory
	Home     string   // made writable and owned by the user
	Mounts   []Mount
	Secrets  Secrets
	Log      io.Writer // receives stdout and stderr in the order of writing; closed by nobody
	Streams  Streams   // of the first process, in place of the log
	Network  bool      // the host's network instead of loopback only
	Memory   int64     // bytes, 0 for no limit
	CPU      float64   // cores, 0 for no limit
	Pids     int64     // 0 for the default
	Hostname string
	Devices  *Devices // nil for none
	Bare     bool     // of an image that is being made, see below
}

// Streams are for a person who looks around in a container: the files that its first
// process has for standard input, output and error, or a terminal. All of them stay the
// caller's to close, once Create has returned. The zero value is no input, and the log.
type Streams struct {
	Files [3]*os.File // all or none
	// Console is one end of a pair of Unix stream sockets. When the container starts,
	// the other end gets one byte and with it the descriptor of the terminal's other
	// side, and has to answer with a byte before the command begins.
	Console *os.File
}

// Mount binds a path of the host into the container. A writable one is owned by
// the container's user for as long as the container lives. A lasting one is a directory
// that is in its place also after the runtime was killed, when the next one has begun.
type Mount struct {
	Source   string
	Target   string // absolute, inside
	ReadOnly bool
	Lasting  bool
}

// Secrets are files of a container that are in memory alone, on no disk: they come
// and go with it. They and their directory are readable for the container's user
// and writable for nobody.
type Secrets struct {
	Dir   string            // absolute, inside
	Files map[string][]byte // content by name in Dir; none for no directory
}

// Exit is how a container ended. Code is the exit status, 128+n after signal n;
// OOM is the kernel's own count of this container's limit having killed.
type Exit struct {
	Code     int
	Signal   int // 0 when it exited by itself
	OOM      bool
	Started  time.Time
	Finished time.Time
	Usage    Usage
}

// Usage is what a container used. Sizes are bytes. A field that the machine
// does not count is -1.
type Usage struct {
	CPU     time.Duration
	Memory  int64 // peak
	Read    int64
	Written int64
}

// Devices are devices of the machine that a container is given, and what it needs to
// use them. The machine's groups mean nothing inside: the nodes are the container's
// user's where the runtime may say so, else they are as open as they are outside.
type Devices struct {
	Names  []string // for people
	Nodes  []Node
	Mounts []DeviceMount
	Env    []string
	Hooks  []Hook // run in the container before its command, while the machine's files are there still
}

// Node is a device node below /dev.
type Node struct {
	Path   string // inside
	Source string // on the machine
}

// DeviceMount is a mount in the terms of the OCI.
type DeviceMount struct {
	Source, Target, Type string
	Options              []string
}

// Hook is a program of the machine's.
type Hook struct {
	Path    string
	Args    []string
	Env     []string
	Timeout *int // seconds
}
