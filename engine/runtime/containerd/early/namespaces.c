// The constructor: see the package comment in early.go.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "early.h"

enum { PARENT = 3 };

static volatile pid_t inner;

static void forward(int sig) {
	if (inner > 0)
		kill(inner, sig);
}

// Nobody reads the standard error of an agent. What it tells the client that started
// it goes into the pipe at descriptor 3, and so does this.
int plumb_parent(void) {
	struct stat st;
	return !fstat(PARENT, &st) && S_ISFIFO(st.st_mode) ? PARENT : 2;
}

void plumb_die(const char *doing) {
	const char *why = strerror(errno);
	dprintf(2, "plumb: %s: %s\n", doing, why);
	if (plumb_parent() == PARENT)
		dprintf(PARENT, "%s: %s\n", doing, why);
	_exit(111);
}

// attend waits for the inner process and ends the way it ended. Terminal
// signals reach both by the process group: the inner one decides.
static void attend(void) {
	int status;
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGTERM, forward);
	signal(SIGHUP, forward);
	signal(SIGUSR1, forward);
	signal(SIGUSR2, forward);
	while (waitpid(inner, &status, 0) < 0)
		if (errno != EINTR)
			plumb_die("waiting for the inner process");
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		_exit(128 + WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

// enter makes the namespaces. Mounts of the machine still come in (slave), none
// goes out. The pipe tells whether the waiter died before PDEATHSIG was set.
static void enter(const char *order) {
	int alive[2];
	if (geteuid())
		plumb_user(order);
	if (unshare(CLONE_NEWNS | CLONE_NEWPID))
		plumb_die("entering private mount and PID namespaces (plumb doctor says what to do)");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		plumb_die("making mounts private (plumb doctor says what to do)");
	if (pipe2(alive, O_CLOEXEC))
		plumb_die("making a pipe");
	inner = fork();
	if (inner < 0)
		plumb_die("forking");
	if (inner > 0) {
		close(alive[0]);
		attend();
	}
	close(alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		plumb_die("setting the parent death signal");
	struct pollfd gone = {alive[0], 0, 0};
	if (poll(&gone, 1, 0) > 0)
		_exit(112);
	close(alive[0]);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		plumb_die("mounting /proc (in a container whose own /proc has masked parts it cannot be; plumb doctor says what to do)");
}

// Go reads its environment from the block the kernel made, not from libc, so
// the order is replaced in place by what the inner process has to know.
__attribute__((constructor)) static void early(int argc, char **argv, char **envp) {
	static char outer[32];
	char **order = NULL;
	if (argc > 3 && !strcmp(argv[1], "plumb-shim") && (!strcmp(argv[0], "/proc/self/fd/3") || (!strncmp(argv[0], "/proc/", 6) && (argv[2][0] == '=' || argv[2][0] == '@'))))
		plumb_shim(argv + 2, envp);
	if (argc > 10 && !strcmp(argv[1], "plumb-jail"))
		plumb_jail(argv + 2, envp);
	for (char **e = envp; *e; e++) {
		if (!strncmp(*e, "_LIBCONTAINER_", 14))
			return;
		if (!strncmp(*e, "PLUMB_NS=", 9))
			order = e;
	}
	if (!order)
		return;
	snprintf(outer, sizeof outer, "PLUMB_OUTER_PID=%d", (int)getpid());
	char *given = *order + strlen("PLUMB_NS=");
	*order = outer;
	enter(given);
}
