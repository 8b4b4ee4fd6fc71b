package early

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Range is a run of ids.
type Range struct{ First, Count uint32 }

// Subordinate are ids of users and of groups.
type Subordinate struct{ UIDs, GIDs []Range }

// fullRange is how many ids a container has beside 0, see package containerd: more
// would be of no use.
const fullRange = 65536

// Missing says what a machine lacks for a user to have subordinate ids, and what to do.
type Missing struct{ What, Remedy string }

func (m *Missing) Error() string { return m.What }

// SubordinateIDs answers the ids that the machine lets the user of this process have
// besides the own one. With an error, which is a Missing but where files cannot be
// read, a container has one id.
func SubordinateIDs() (Subordinate, error) {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if err := privileged(program); err != nil {
			return Subordinate{}, err
		}
	}
	var s Subordinate
	var err error
	if s.UIDs, err = subordinate("/etc/subuid"); err == nil {
		s.GIDs, err = subordinate("/etc/subgid")
	}
	return s, err
}

// privileged finds a program that may write mappings with ranges.
func privileged(program string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return &Missing{program + " is not installed", "as root: apt-get install uidmap, or what other distributions call it (shadow-utils)"}
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking for %s: %w", program, err)
	}
	if info.Mode()&fs.ModeSetuid == 0 {
		if n, err := unix.Getxattr(path, "security.capability", nil); err != nil || n == 0 {
			return &Missing{path + " is neither setuid nor does it have file capabilities", "as root: chmod u+s " + path}
		}
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set == 1 {
		return &Missing{"this process may not gain privileges, not even those of " + program + " (no_new_privs)", "start plumb without it: in a systemd unit it is called NoNewPrivileges"}
	}
	return nil
}

// subordinate reads the lines of one file that are the user's: "NAME:FIRST:COUNT",
// or with the id in the place of the name.
func subordinate(file string) ([]Range, error) {
	name, id := userName()
	if name == "" {
		return nil, &Missing{fmt.Sprintf("the user %s has no name, and newuidmap serves none without", id), "as root: useradd --uid " + id + " NAME"}
	}
	var own []Range
	err := eachRange(file, func(whose string, r Range) {
		if whose == name || whose == id {
			own = append(own, r)
		}
	})
	if err != nil {
		return nil, err
	}
	if own = upTo(own, fullRange); len(own) == 0 {
		return nil, &Missing{fmt.Sprintf("%s has no range for the user %s", file, name), RangeRemedy()}
	}
	return own, nil
}

// userName is "" for a user without. One that is in another directory than
// /etc/passwd is known to programs that are not linked statically.
func userName() (name, id string) {
	id = strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(id); err == nil {
		return u.Username, id
	}
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		return "", id
	}
	return strings.TrimSpace(string(out)), id
}

// eachRange goes through a file, which need not be there.
func eachRange(file string, fn func(whose string, r Range)) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading subordinate ids: %w", err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		if whose, r, ok := parseRange(in.Text()); ok {
			fn(whose, r)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("reading subordinate ids: %w", err)
	}
	return nil
}

// RangeRemedy is the command that gives the user ranges which no other has.
func RangeRemedy() string {
	const first = 100000 // where useradd begins
	free := uint64(first)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		// One that cannot be read is said elsewhere.
		_ = eachRange(file, func(_ string, r Range) { free = max(free, uint64(r.First)+uint64(r.Count)) })
	}
	name, _ := userName()
	ids := fmt.Sprintf("%d-%d", free, free+fullRange-1)
	return fmt.Sprintf("as root: usermod --add-subuids %s --add-subgids %s %s", ids, ids, name)
}

func parseRange(line string) (name string, r Range, ok bool) {
	parts := strings.Split(strings.TrimSpace(line), ":")
	if len(parts) != 3 || parts[0] == "" {
		return "", r, false
	}
	first, err := strconv.ParseUint(parts[1], 10, 32)
	count, err2 := strconv.ParseUint(parts[2], 10, 32)
	return parts[0], Range{uint32(first), uint32(count)}, err == nil && err2 == nil && count > 0
}

// mostRanges fit into the constructor's order.
const mostRanges = 32

// upTo takes ranges until there are so many ids, no range twice.
func upTo(all []Range, ids uint32) []Range {
	var kept []Range
	for _, r := range all {
		if ids == 0 || len(kept) == mostRanges {
			break
		}
		if slices.ContainsFunc(kept, func(k Range) bool { return r.First < k.First+k.Count && k.First < r.First+r.Count }) {
			continue // the kernel takes no id twice
		}
		r.Count = min(r.Count, ids)
		ids -= r.Count
		kept = append(kept, r)
	}
	return kept
}

// Total is how many ids ranges have.
func Total(all []Range) (n uint32) {
	for _, r := range all {
		n += r.Count
	}
	return n
}

func ranges(all []Range) string {
	var words []string
	for _, r := range all {
		words = append(words, fmt.Sprintf("%d:%d", r.First, r.Count))
	}
	return strings.Join(words, ",")
}

// Mapped answers the ids that the user namespace of this process has, from 0 on
// without a gap, in the runs that the kernel keeps them in: a namespace inside it maps
// no run across the end of one of them.
func Mapped() (Subordinate, error) {
	var s Subordinate
	for file, to := range map[string]*[]Range{"/proc/self/uid_map": &s.UIDs, "/proc/self/gid_map": &s.GIDs} {
		b, err := os.ReadFile(file)
		if err != nil {
			return s, fmt.Errorf("reading the mapping of ids: %w", err)
		}
		*to = contiguous(string(b))
	}
	return s, nil
}

// contiguous takes runs from 0 to the first id that a mapping does not have.
func contiguous(mapping string) []Range {
	var have []Range
	for line := range strings.Lines(mapping) {
		var r Range
		var outside uint32
		if _, err := fmt.Sscan(line, &r.First, &outside, &r.Count); err == nil {
			have = append(have, r)
		}
	}
	slices.SortFunc(have, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	next := uint32(0)
	for n, r := range have {
		if r.First != next {
			return have[:n]
		}
		next += r.Count
	}
	return have
}

// Rootless says whether this process is in a user namespace: root there is an
// ordinary user, or what a container calls root.
func Rootless() bool { return rootless() }

var rootless = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
})
