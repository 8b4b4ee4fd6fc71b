// Package runcinit lets the linking program be the "init" of libcontainer.
//
// libcontainer makes a container by executing the running program again with
// the argument "init". That process must become the container's first process
// before anything else of the program happens, so it is caught while packages
// are initialised: this is the one package whose init has an effect, and it
// never returns from it. It is told by libcontainer's own variable, which no
// user sets.
package runcinit

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the C half of it
)

func init() {
	if len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_SYNCPIPE") != "" {
		libcontainer.Init()
	}
}
