package debian

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pault.ag/go/debian/dependency"
)

// Configuring is what only the packages' own scripts can do. They are run in a
// container of the image so far, with no network: first each preinst, in the order
// of Pre-Depends, then `dpkg --configure -a`. Services are not started (policy-rc.d
// says so, as is usual where no init runs), nothing is asked.
//
// What they change becomes the topmost layer, but for what is of that run alone.

// configure is the script; its arguments are the packages with a preinst, as their
// files are named.
const configure = `set -eu
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
umask 022
version=$(dpkg-query --showformat='${Version}' --show dpkg 2>/dev/null || echo 1.21)
export DPKG_RUNNING_VERSION=$version DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT=
for p; do
	script=/var/lib/dpkg/info/$p.preinst
	DPKG_MAINTSCRIPT_PACKAGE=${p%%:*} DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH=$PLUMB_DEB_ARCH \
	DPKG_MAINTSCRIPT_NAME=preinst "$script" install </dev/null || {
		status=$?
		echo "plumb: the preinst script of ${p%%:*} ended with status $status"
		exit 1
	}
done
unset DPKG_RUNNING_VERSION DPKG_ADMINDIR DPKG_ROOT PLUMB_DEB_ARCH
exec dpkg --force-confdef --force-confold --configure -a </dev/null
`

// Command is what configures the image: a command and its environment. It is known
// after WriteDatabase.
func (a *Assembly) Command() (args, env []string) {
	args = []string{"/bin/sh", "-c", configure, "configure"}
	for _, u := range a.inOrder() {
		if slices.ContainsFunc(u.control, func(c controlFile) bool { return c.name == "preinst" }) {
			args = append(args, u.inDatabase())
		}
	}
	return args, []string{
		"PATH=" + searchPath, "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_NOWARNINGS=yes",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(a.image.Date.Unix(), 10), "PYTHONHASHSEED=0", "PERL_HASH_SEED=0", "PERL_PERTURB_KEYS=0",
		"PLUMB_DEB_ARCH=" + a.image.Architecture,
	}
}

// first are the packages that the preinst scripts of all others may rely on: users,
// directories, the C library.
var first = []string{"base-passwd", "base-files", "libc6"}

// inOrder sorts the packages so that none is before what it pre-depends on.
func (a *Assembly) inOrder() []*unpacked {
	byName := map[string]*unpacked{}
	for _, u := range a.packs {
		byName[u.Name] = u
	}
	var out []*unpacked
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		u := byName[name]
		if u == nil || seen[name] {
			return
		}
		seen[name] = true
		d, err := dependency.Parse(fieldOf(u.paragraph, "Pre-Depends"))
		if err == nil { // the resolver has read it already
			for _, r := range d.Relations {
				for _, p := range r.Possibilities {
					visit(p.Name)
				}
			}
		}
		out = append(out, u)
	}
	for _, name := range first {
		visit(name)
	}
	for _, u := range a.packs {
		visit(u.Name)
	}
	return out
}

// ofTheRun are paths of which nothing is kept: what is in them differs from run to
// run, and is made again by whoever needs it.
var ofTheRun = regexp.MustCompile(`^(` + strings.Join([]string{
	`(tmp|run|dev|proc|sys|var/tmp|var/log|var/cache/man|var/cache/fontconfig|root/\.cache)/.+`,
	`var/cache/ldconfig/aux-cache`, `var/cache/debconf/.*-old`, `var/cache/apt/.*\.bin`,
	`var/lib/dpkg/(lock.*|triggers/Lock|updates/.*|.*-old)`, `var/lib/(systemd/random-seed|dbus/machine-id)`,
	`etc/(passwd|group|shadow|gshadow|subuid|subgid)-`, `etc/(\.pwd\.lock|machine-id|\.updated|mtab)`, `var/\.updated`,
	`usr/sbin/policy-rc\.d`,
	`etc/ssh/ssh_host_.*_key(\.pub)?`, `etc/ssl/(private|certs)/ssl-cert-snakeoil\.(key|pem)`, // secrets, of nobody
}, "|") + `)$`)

// Configured writes the layer of what configuring has changed.
type Configured struct {
	out    *layerWriter
	date   time.Time
	status []byte // dpkg's, as it is now
}

// NewConfigured begins the layer.
func (a *Assembly) NewConfigured(w io.Writer) *Configured {
	return &Configured{out: newLayerWriter(w, a.image.Date), date: a.image.Date}
}

// dpkgStatus is the file whose content says how far configuring went.
const dpkgStatus = adminDir + "/status"

// Add takes one change, as a runtime tells them.
func (c *Configured) Add(h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	if ofTheRun.MatchString(name) {
		return nil
	}
	var change func([]byte) []byte
	switch name {
	case dpkgStatus:
		change = func(b []byte) []byte {
			c.status = b
			return b
		}
	case "etc/shadow":
		change = func(b []byte) []byte { return datedShadow(b, c.date.Unix()/86400) }
	case keystorePath:
		change = func(b []byte) []byte { return datedKeystore(b, c.date) }
	}
	if change != nil && h.Typeflag == tar.TypeReg {
		b, err := io.ReadAll(io.LimitReader(content, maxKeystore))
		if err != nil {
			return err
		}
		b = change(b)
		h.Size, content = int64(len(b)), bytes.NewReader(b)
	}
	return c.out.add(h, content)
}

// datedShadow gives passwords the release's day as that of their last change.
func datedShadow(b []byte, day int64) []byte {
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		f := strings.Split(line, ":")
		if len(f) == 9 && f[2] != "" {
			f[2] = strconv.FormatInt(day, 10)
			lines[i] = strings.Join(f, ":")
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// Close ends the layer.
func (c *Configured) Close() error {
	if err := c.out.close(); err != nil {
		return err
	}
	if c.status == nil {
		return fmt.Errorf("configuring has left %q as it was", "/"+dpkgStatus)
	}
	for p := range strings.SplitSeq(string(c.status), "\n\n") {
		if s := fieldOf(p, "Status"); s != "" && s != "install ok installed" {
			return &PackageError{fieldOf(p, "Package"), fmt.Errorf("it is not configured, its status is %q", s)}
		}
	}
	return nil
}

var (
	failedPreinst = regexp.MustCompile(`(?m)^plumb: the preinst script of (\S+) ended with status (\d+)$`)
	failedPackage = regexp.MustCompile(`(?m)^dpkg: error processing package (\S+) \(`)
	failedAtAll   = regexp.MustCompile(`(?m)^Errors were encountered while processing:\n (\S+)$`)
)

// ConfigureError says which package could not be configured, and what was printed.
type ConfigureError struct {
	Package string // "" when dpkg did not say
	Output  string // the end of it, or up to where the package failed
	Code    int
}

// NewConfigureError reads dpkg's output, of which the beginning may be missing. dpkg
// goes on with other packages after one has failed, and names it again at the end.
func NewConfigureError(output string, code int) *ConfigureError {
	for _, find := range []*regexp.Regexp{failedPreinst, failedPackage, failedAtAll} {
		if m := find.FindStringSubmatchIndex(output); m != nil {
			name, _, _ := strings.Cut(output[m[2]:m[3]], ":")
			return &ConfigureError{Package: name, Output: tail(output[:endOf(output, m[1])]), Code: code}
		}
	}
	return &ConfigureError{Output: tail(output), Code: code}
}

// endOf is the end of the line at a place, and of the indented ones that go on with it.
func endOf(output string, at int) int {
	for {
		n := strings.IndexByte(output[at:], '\n')
		if n < 0 {
			return len(output)
		}
		if at += n + 1; !strings.HasPrefix(output[at:], " ") {
			return at
		}
	}
}

func (e *ConfigureError) Error() string {
	what := "configuring its packages failed"
	if e.Package != "" {
		what = fmt.Sprintf("configuring package %q failed", e.Package)
	}
	return fmt.Sprintf("%s (exit status %d); this is what was printed:\n%s", what, e.Code, e.Output)
}

// tail is the last lines.
func tail(output string) string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	if len(lines) > 20 {
		lines = lines[len(lines)-20:]
	}
	return "  " + strings.Join(lines, "\n  ")
}
