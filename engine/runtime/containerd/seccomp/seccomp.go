// Package seccomp assembles the filter that every container runs under, without
// libseccomp.
//
// The rules are containerd's default profile, taken from containerd itself for
// the capabilities a stage has, so they follow its releases. libseccomp would
// have to be there at build time, and takes 5 to 20 ms for each container to
// compile them; assembling them here takes one or two, once for all containers.
// What is different from libseccomp's reading of the profile:
//
//   - Only the machine's own system call numbers are admitted. On amd64 that
//     refuses 32-bit programs (EPERM) and the x32 numbers (ENOSYS): an
//     allow-list for three tables is three times the surface.
//   - A system call newer than the table answers ENOSYS, as in runc, so that
//     C libraries fall back to an older one instead of giving up on EPERM.
package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	profile "github.com/containerd/containerd/v2/contrib/seccomp"
	bpf "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
	netbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
)

// Filter is the program for a process with the given capabilities, as the
// kernel takes it: an array of struct sock_filter.
func Filter(capabilities []string, changes ...Change) ([]byte, error) {
	p := profile.DefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
		Linux:   &specs.Linux{},
	})
	var first []netbpf.Instruction
	for _, change := range changes {
		if change.rules != nil {
			p.Syscalls = change.rules(p.Syscalls)
		}
		if change.first != nil {
			native, err := arch.GetInfo("")
			if err != nil {
				return nil, fmt.Errorf("assembling the seccomp filter: %w", err)
			}
			first = append(first, change.first(native)...)
		}
	}
	code, err := assemble(p)
	code = append(first, code...)
	if err != nil {
		return nil, fmt.Errorf("assembling the seccomp filter: %w", err)
	}
	return encode(code)
}

// Change makes a filter another one: other rules, or an answer before any rule is asked.
type Change struct {
	rules func([]specs.LinuxSyscall) []specs.LinuxSyscall
	first func(*arch.Info) []netbpf.Instruction
}

// OnlySockets lets no socket be made but of a family.
func OnlySockets(family uint64) Change {
	return Change{rules: func(rules []specs.LinuxSyscall) []specs.LinuxSyscall {
		return append(without(rules, "socket", "socketcall"), specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: family, Op: specs.OpEqualTo}},
		})
	}}
}

// Unsynced makes the calls that wait for a disk do nothing, and succeed. An answer without
// an error is no error number that a rule could have.
func Unsynced() Change {
	return Change{first: func(native *arch.Info) []netbpf.Instruction {
		var code []netbpf.Instruction
		for _, name := range []string{"fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2"} {
			if number, ok := native.SyscallNames[name]; ok {
				code = append(code,
					netbpf.JumpIf{Cond: netbpf.JumpEqual, Val: uint32(number), SkipFalse: 1},
					netbpf.RetConstant{Val: uint32(bpf.ActionErrno)})
			}
		}
		return append([]netbpf.Instruction{
			netbpf.LoadAbsolute{Off: offArch, Size: 4},
			netbpf.JumpIf{Cond: netbpf.JumpEqual, Val: uint32(native.ID), SkipFalse: uint8(len(code) + 1)},
			netbpf.LoadAbsolute{Off: offNumber, Size: 4},
		}, code...)
	}}
}

// without leaves names out of rules.
func without(rules []specs.LinuxSyscall, names ...string) []specs.LinuxSyscall {
	var out []specs.LinuxSyscall
	for _, r := range rules {
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(name string) bool { return slices.Contains(names, name) })
		if len(r.Names) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func assemble(p *specs.LinuxSeccomp) ([]netbpf.Instruction, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	if p.DefaultAction != specs.ActErrno || (p.DefaultErrnoRet != nil && *p.DefaultErrnoRet != uint(unix.EPERM)) {
		return nil, fmt.Errorf("default action %q is not supported", p.DefaultAction)
	}
	groups, err := translate(p.Syscalls, native.SyscallNames)
	if err != nil {
		return nil, err
	}
	policy := bpf.Policy{DefaultAction: bpf.ActionErrno, Syscalls: groups}
	code, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	return append(unknown(native), code...), nil
}

// unknown answers ENOSYS to every native number beyond the table's last, and
// leaves everything else to what follows.
func unknown(native *arch.Info) []netbpf.Instruction {
	last := 0
	for number := range native.SyscallNumbers {
		last = max(last, number)
	}
	return []netbpf.Instruction{
		netbpf.LoadAbsolute{Off: offArch, Size: 4},
		netbpf.JumpIf{Cond: netbpf.JumpEqual, Val: uint32(native.ID), SkipFalse: 3},
		netbpf.LoadAbsolute{Off: offNumber, Size: 4},
		netbpf.JumpIf{Cond: netbpf.JumpGreaterThan, Val: uint32(last), SkipFalse: 1},
		netbpf.RetConstant{Val: uint32(bpf.ActionErrno) | uint32(unix.ENOSYS)},
	}
}

// translate turns the profile's rules into one group for each action. A name
// that the machine does not have (the profile lists those of all) is left out:
// no program can call it. One name may have several rules with conditions, of
// which any admits; a rule without conditions makes them needless.
func translate(rules []specs.LinuxSyscall, numbers map[string]int) ([]bpf.SyscallGroup, error) {
	plain, err := unconditional(rules)
	if err != nil {
		return nil, err
	}
	var groups []bpf.SyscallGroup
	for _, rule := range rules {
		action, err := actionOf(rule)
		if err != nil {
			return nil, err
		}
		g := groupFor(&groups, action)
		for _, name := range rule.Names {
			if _, known := numbers[name]; !known {
				continue
			}
			if len(rule.Args) == 0 {
				if !slices.Contains(g.Names, name) {
					g.Names = append(g.Names, name)
				}
				continue
			}
			if plain[name] {
				continue
			}
			conditions, err := conditionsOf(rule.Args)
			if err != nil {
				return nil, fmt.Errorf("system call %q: %w", name, err)
			}
			g.NamesWithCondtions = append(g.NamesWithCondtions, bpf.NameWithConditions{Name: name, Conditions: conditions})
		}
	}
	return slices.DeleteFunc(groups, empty), nil
}

func empty(g bpf.SyscallGroup) bool { return len(g.Names)+len(g.NamesWithCondtions) == 0 }

// unconditional collects the names that a rule decides without looking at
// arguments. Two of them with different actions would make the order matter.
func unconditional(rules []specs.LinuxSyscall) (map[string]bool, error) {
	action := map[string]bpf.Action{}
	plain := map[string]bool{}
	for _, rule := range rules {
		if len(rule.Args) > 0 {
			continue
		}
		a, err := actionOf(rule)
		if err != nil {
			return nil, err
		}
		for _, name := range rule.Names {
			if plain[name] && action[name] != a {
				return nil, fmt.Errorf("system call %q has two actions", name)
			}
			plain[name], action[name] = true, a
		}
	}
	return plain, nil
}

func groupFor(groups *[]bpf.SyscallGroup, action bpf.Action) *bpf.SyscallGroup {
	for i := range *groups {
		if (*groups)[i].Action == action {
			return &(*groups)[i]
		}
	}
	*groups = append(*groups, bpf.SyscallGroup{Action: action})
	return &(*groups)[len(*groups)-1]
}

func actionOf(rule specs.LinuxSyscall) (bpf.Action, error) {
	switch rule.Action {
	case specs.ActAllow:
		return bpf.ActionAllow, nil
	case specs.ActErrno:
		errno := uint(unix.EPERM)
		if rule.ErrnoRet != nil {
			errno = *rule.ErrnoRet
		}
		return bpf.ActionErrno | bpf.Action(errno), nil
	}
	return 0, fmt.Errorf("action %q is not supported", rule.Action)
}

// conditionsOf translates what all must hold. A masked comparison can be told
// only with zero: that is what the profile needs, for the flags of clone.
func conditionsOf(args []specs.LinuxSeccompArg) (bpf.ArgumentConditions, error) {
	var all bpf.ArgumentConditions
	for _, a := range args {
		c := bpf.Condition{Argument: uint32(a.Index), Value: a.Value}
		switch {
		case a.Op == specs.OpEqualTo:
			c.Operation = bpf.Equal
		case a.Op == specs.OpNotEqual:
			c.Operation = bpf.NotEqual
		case a.Op == specs.OpGreaterThan:
			c.Operation = bpf.GreaterThan
		case a.Op == specs.OpGreaterEqual:
			c.Operation = bpf.GreaterOrEqual
		case a.Op == specs.OpLessThan:
			c.Operation = bpf.LessThan
		case a.Op == specs.OpLessEqual:
			c.Operation = bpf.LessOrEqual
		case a.Op == specs.OpMaskedEqual && a.ValueTwo == 0:
			c.Operation = bpf.BitsNotSet
		default:
			return nil, fmt.Errorf("comparison %q with %#x is not supported", a.Op, a.ValueTwo)
		}
		all = append(all, c)
	}
	return all, nil
}

func encode(code []netbpf.Instruction) ([]byte, error) {
	raw, err := netbpf.Assemble(code)
	if err != nil {
		return nil, fmt.Errorf("encoding the seccomp filter: %w", err)
	}
	var b bytes.Buffer
	for _, in := range raw {
		if err := binary.Write(&b, binary.NativeEndian, in); err != nil {
			return nil, fmt.Errorf("encoding the seccomp filter: %w", err)
		}
	}
	return b.Bytes(), nil
}
