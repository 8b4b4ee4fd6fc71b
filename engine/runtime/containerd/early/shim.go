package early

import "encoding/hex"

// The files a container's first program finds open, besides the usual three.
const (
	exeFD    = "3" // plumb's own program
	filterFD = "4" // the seccomp filter, an array of struct sock_filter
	socketFD = "5" // a Unix socket, for the terminal
)

// Status of the shim when it could not execute the command, as shells have it.
const (
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// Shim wraps a command so that a container starts it under a seccomp filter:
// plumb's program must be open at descriptor 3, the filter at 4. The command's
// name is looked up inside the container, by its own PATH, and the command
// finds neither of the two descriptors nor anything of plumb in its arguments
// or environment.
//
// With terminal the command runs on one of the container's own. Its other side is sent
// through the Unix socket at descriptor 5, with one byte, and the command begins when
// a byte came back.
func Shim(args []string, terminal bool) []string {
	files := filterFD
	if terminal {
		files += "," + socketFD
	}
	return append([]string{"/proc/self/fd/" + exeFD, "plumb-shim", files}, args...)
}

// ShimIn is Shim for a container that begins with no other files than the usual three:
// plumb's program is there under a name below /proc, and the filter comes along. What
// the command prints goes where its standard output does, errors too. With the name of a
// socket it takes the standard streams from there: who accepts sends three, or one socket
// for a terminal as Shim has it.
func ShimIn(program string, filter []byte, socket string, args []string) []string {
	how := "=" + hex.EncodeToString(filter)
	if socket != "" {
		how = "@" + socket + how
	}
	return append([]string{program, "plumb-shim", how}, args...)
}
