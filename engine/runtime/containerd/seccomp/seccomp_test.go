package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	profile "github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
	netbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var stage = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}

// call is struct seccomp_data.
type call struct {
	Number  int32
	Arch    uint32
	Pointer uint64
	Args    [6]uint64
}

// The answers of a filter.
const (
	allow = uint32(unix.SECCOMP_RET_ALLOW)
	eperm = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	nosys = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// decode reads the filter that the kernel is to get.
func decode(t *testing.T, capabilities []string, changes ...Change) []netbpf.Instruction {
	t.Helper()
	code, err := Filter(capabilities, changes...)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]netbpf.RawInstruction, len(code)/8)
	if err := binary.Read(bytes.NewReader(code), binary.NativeEndian, raw); err != nil {
		t.Fatal(err)
	}
	all := make([]netbpf.Instruction, len(raw))
	for i, in := range raw {
		all[i] = in.Disassemble()
	}
	return all
}

// judge runs the filter as the kernel does.
func judge(t *testing.T, code []netbpf.Instruction, c call) uint32 {
	t.Helper()
	data, err := binary.Append(nil, binary.NativeEndian, c)
	if err != nil {
		t.Fatal(err)
	}
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		switch in := code[pc].(type) {
		case netbpf.LoadAbsolute:
			a = binary.NativeEndian.Uint32(data[in.Off:])
		case netbpf.RetConstant:
			return in.Val
		case netbpf.Jump:
			pc += int(in.Skip)
		case netbpf.JumpIf:
			if holds(in.Cond, a, in.Val) {
				pc += int(in.SkipTrue)
			} else {
				pc += int(in.SkipFalse)
			}
		default:
			t.Fatalf("instruction %d is %v", pc, in)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

func holds(cond netbpf.JumpTest, a, b uint32) bool {
	switch cond {
	case netbpf.JumpEqual:
		return a == b
	case netbpf.JumpNotEqual:
		return a != b
	case netbpf.JumpGreaterThan:
		return a > b
	case netbpf.JumpLessThan:
		return a < b
	case netbpf.JumpGreaterOrEqual:
		return a >= b
	case netbpf.JumpLessOrEqual:
		return a <= b
	case netbpf.JumpBitsSet:
		return a&b != 0
	case netbpf.JumpBitsNotSet:
		return a&b == 0
	}
	panic(cond)
}

// expect reads the profile itself, rule by rule, without any cleverness.
func expect(p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	for _, rule := range p.Syscalls {
		if !slices.Contains(rule.Names, name) || !all(rule.Args, args) {
			continue
		}
		if rule.Action == specs.ActAllow {
			return allow
		}
		return uint32(unix.SECCOMP_RET_ERRNO) | uint32(*rule.ErrnoRet)
	}
	return eperm
}

func all(conditions []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, c := range conditions {
		got := args[c.Index]
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: got == c.Value, specs.OpNotEqual: got != c.Value,
			specs.OpGreaterThan: got > c.Value, specs.OpGreaterEqual: got >= c.Value,
			specs.OpLessThan: got < c.Value, specs.OpLessEqual: got <= c.Value,
			specs.OpMaskedEqual: got&c.Value == c.ValueTwo,
		}[c.Op]
		if !ok {
			return false
		}
	}
	return true
}

// TestFilterIsTheProfile compares the filter with the profile for each system
// call of the machine, with arguments that the profile's conditions are about.
func TestFilterIsTheProfile(t *testing.T) {
	for _, caps := range [][]string{stage, nil, append([]string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}, stage...)} {
		t.Run(fmt.Sprint(len(caps)), func(t *testing.T) {
			code := decode(t, caps)
			if n := len(code); n > 4096 {
				t.Fatalf("the kernel takes 4096 instructions, there are %d", n)
			}
			native, err := arch.GetInfo("")
			if err != nil {
				t.Fatal(err)
			}
			p := profile.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}, Linux: &specs.Linux{}})
			for number, name := range native.SyscallNumbers {
				for _, args := range arguments() {
					got := judge(t, code, call{Number: int32(number), Arch: uint32(native.ID), Args: args})
					if want := expect(p, name, args); got != want {
						t.Fatalf("%s(%x): %#x, the profile says %#x", name, args, got, want)
					}
				}
			}
		})
	}
}

func arguments() (all [][6]uint64) {
	for _, v := range []uint64{0, 1, 2, 8, 16, 38, 40, 44, 0x20000, 0x20008, 0xffffffff, unix.CLONE_NEWUSER, unix.CLONE_NEWNS | 17, 17, 1 << 32, 1<<32 | 2, ^uint64(0)} {
		all = append(all, [6]uint64{v}, [6]uint64{v, v, v, v, v, v})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		all = append(all, [6]uint64{r.Uint64() >> r.IntN(64), r.Uint64(), r.Uint64()})
	}
	return all
}

func TestOtherNumbers(t *testing.T) {
	code := decode(t, stage)
	native, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	read := int32(native.SyscallNames["read"])
	for _, c := range []struct {
		name string
		call call
		want uint32
	}{
		{"native", call{Number: read, Arch: uint32(native.ID)}, allow},
		{"of the future", call{Number: 4000, Arch: uint32(native.ID)}, nosys},
		{"negative", call{Number: -1, Arch: uint32(native.ID)}, nosys},
		{"x32", call{Number: read | 0x40000000, Arch: uint32(native.ID)}, nosys},
		{"of 32-bit programs", call{Number: 3, Arch: uint32(arch.I386.ID)}, eperm},
		{"of another machine", call{Number: read, Arch: uint32(arch.ARM.ID)}, eperm},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(t, code, c.call); got != c.want {
				t.Errorf("got %#x, want %#x", got, c.want)
			}
		})
	}
}

// What the profile does not do today must not pass unseen tomorrow.
func TestUnsupported(t *testing.T) {
	arg := func(op specs.LinuxSeccompOperator, two uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Op: op, Value: 1, ValueTwo: two}}
	}
	for name, p := range map[string]specs.LinuxSeccomp{
		"default action": {DefaultAction: specs.ActKill},
		"action":         {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrace}}},
		"masked":         {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: arg(specs.OpMaskedEqual, 1)}}},
		"two actions": {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow}, {Names: []string{"read"}, Action: specs.ActErrno},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if code, err := assemble(&p); err == nil {
				t.Errorf("assembled %d instructions", len(code))
			}
		})
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		if _, err := Filter(stage); err != nil {
			b.Fatal(err)
		}
	}
}

// TestChanges runs filters that are changed for where there is no container.
func TestChanges(t *testing.T) {
	success := uint32(unix.SECCOMP_RET_ERRNO)
	for _, c := range []struct {
		name    string
		changes []Change
		call    string
		args    [6]uint64
		want    uint32
	}{
		{"any socket", nil, "socket", [6]uint64{unix.AF_INET}, allow},
		{"unix socket", []Change{OnlySockets(unix.AF_UNIX)}, "socket", [6]uint64{unix.AF_UNIX}, allow},
		{"internet socket", []Change{OnlySockets(unix.AF_UNIX)}, "socket", [6]uint64{unix.AF_INET}, eperm},
		{"internet socket of version 6", []Change{OnlySockets(unix.AF_UNIX)}, "socket", [6]uint64{unix.AF_INET6}, eperm},
		{"packet socket", []Change{OnlySockets(unix.AF_UNIX)}, "socket", [6]uint64{unix.AF_PACKET}, eperm},
		{"pair", []Change{OnlySockets(unix.AF_UNIX)}, "socketpair", [6]uint64{unix.AF_UNIX}, allow},
		{"fsync", nil, "fsync", [6]uint64{}, allow},
		{"no fsync", []Change{Unsynced()}, "fsync", [6]uint64{}, success},
		{"no sync", []Change{Unsynced(), OnlySockets(unix.AF_UNIX)}, "sync", [6]uint64{}, success},
		{"write", []Change{Unsynced()}, "write", [6]uint64{}, allow},
		{"mount", []Change{Unsynced()}, "mount", [6]uint64{}, eperm},
	} {
		t.Run(c.name, func(t *testing.T) {
			native, err := arch.GetInfo("")
			if err != nil {
				t.Fatal(err)
			}
			got := judge(t, decode(t, stage, c.changes...), call{Number: int32(native.SyscallNames[c.call]), Arch: uint32(native.ID), Args: c.args})
			if got != c.want {
				t.Errorf("the answer to %s is %#x, want %#x", c.call, got, c.want)
			}
		})
	}
}
