// A container's first program: open a terminal when one is wanted, load the seccomp
// filter, execute the command.
//
// Messages go to the container's standard error, so they are part of the log;
// the statuses are those of a shell that could not execute a command.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "early.h"

void plumb_fail(int status, const char *what, const char *why) {
	dprintf(2, "plumb: %s: %s\n", what, why);
	_exit(status);
}

static void apply(struct sock_filter *code, size_t n) {
	struct sock_fprog prog = {n, code};
	if (!n || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		plumb_fail(126, "loading the seccomp filter", strerror(errno));
}

// The kernel takes at most BPF_MAXINSNS instructions. pread, because all
// containers share one open file.
void plumb_load(int fd) {
	static struct sock_filter code[BPF_MAXINSNS];
	ssize_t n = pread(fd, code, sizeof code, 0);
	if (n <= 0 || n % sizeof code[0])
		plumb_fail(126, "reading the seccomp filter", strerror(errno));
	apply(code, n / sizeof code[0]);
}

// give sends a descriptor through a Unix socket, with one byte as the kernel wants it.
static int give(int to, int fd) {
	char byte = 0;
	struct iovec io = {&byte, 1};
	union {
		char room[CMSG_SPACE(sizeof fd)];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
	memset(&control, 0, sizeof control);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(to, &msg, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

// terminal opens one of the container's own, so that its name means something there,
// and makes it what this session is controlled by and reads and writes. Its other side
// goes to whoever holds the other end of the socket, who answers when it has the size
// that the command is to find.
static void terminal(int to) {
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), locked = 0;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &locked))
		plumb_fail(126, "opening a terminal", strerror(errno));
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0 || ioctl(slave, TIOCSCTTY, 0))
		plumb_fail(126, "taking the terminal", strerror(errno));
	char answer;
	if (give(to, master) || read(to, &answer, 1) != 1)
		plumb_fail(126, "passing the terminal on", strerror(errno));
	for (int fd = 0; fd < 3; fd++)
		if (dup2(slave, fd) < 0)
			plumb_fail(126, "using the terminal", strerror(errno));
	close(slave);
	close(master);
	close(to);
}

// try executes one candidate. It returns when the file is not there, or may not
// be executed, which a later directory of PATH may make good.
static void try(const char *path, char **args, char **envp) {
	struct stat st;
	execve(path, args, envp);
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		if (!stat(path, &st))
			plumb_fail(126, args[0], "its interpreter does not exist in the image");
		errno = ENOENT;
		return;
	case EACCES:
		if (!stat(path, &st) && S_ISDIR(st.st_mode))
			errno = EISDIR;
		return;
	default:
		plumb_fail(126, args[0], strerror(errno));
	}
}

static void search(char **args, char **envp) {
	static char path[PATH_MAX];
	const char *dirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	int refused = 0;
	for (char **e = envp; *e; e++)
		if (!strncmp(*e, "PATH=", 5))
			dirs = *e + 5;
	for (const char *d = dirs; ; d++) {
		const char *end = strchrnul(d, ':');
		int len = end - d, n = snprintf(path, sizeof path, "%.*s/%s", len ? len : 1, len ? d : ".", args[0]);
		if (n < (int)sizeof path) {
			try(path, args, envp);
			if (errno == EACCES)
				refused = 1;
		}
		d = end;
		if (!*d)
			break;
	}
	if (refused)
		plumb_fail(126, args[0], "permission denied");
	plumb_fail(127, args[0], "command not found in the image");
}

// load_inline takes the filter in hexadecimal digits, two for a byte.
static void load_inline(const char *digits) {
	static struct sock_filter code[BPF_MAXINSNS];
	size_t n = strlen(digits) / 2;
	if (n > sizeof code || n % sizeof code[0])
		plumb_fail(126, "reading the seccomp filter", "it is none");
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		if (sscanf(digits + 2 * i, "%2x", &byte) != 1)
			plumb_fail(126, "reading the seccomp filter", "it is none");
		((unsigned char *)code)[i] = byte;
	}
	apply(code, n / sizeof code[0]);
}

// receive takes the standard streams from a socket, or the one through which a terminal is
// to be sent.
static void receive(const char *path) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	char byte;
	struct iovec io = {&byte, 1};
	union {
		char room[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
	int from = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), files[3];
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	if (from < 0 || connect(from, (struct sockaddr *)&to, sizeof to) || recvmsg(from, &msg, 0) != 1)
		plumb_fail(126, "taking the streams", strerror(errno));
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	size_t n = c ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	close(from);
	if (n != 1 && n != 3)
		plumb_fail(126, "taking the streams", "there are none");
	memcpy(files, CMSG_DATA(c), n * sizeof(int));
	if (n == 1) {
		terminal(files[0]);
		return;
	}
	for (int fd = 0; fd < 3; fd++) {
		if (dup2(files[fd], fd) < 0)
			plumb_fail(126, "using the streams", strerror(errno));
		close(files[fd]);
	}
}

// inline_shim is for a daemon that makes the container, and passes no files on but the usual
// three: the filter comes along, behind a "=", and before that, behind a "@", the name of a
// socket where there are streams. The daemon keeps output and error apart: in one pipe they
// stay in the order of writing.
static void inline_shim(char *how) {
	char *filter = strchr(how, '=');
	if (!filter)
		plumb_fail(126, "reading the seccomp filter", "it is none");
	*filter = 0;
	if (*how == '@')
		receive(how + 1);
	else if (dup2(1, 2) < 0)
		plumb_fail(126, "joining the streams", strerror(errno));
	load_inline(filter + 1);
}

void plumb_shim(char **args, char **envp) {
	if (args[0][0] == '=' || args[0][0] == '@') {
		inline_shim(args[0]);
	} else {
		char *rest;
		int fd = strtol(args[0], &rest, 10);
		if (*rest == ',')
			terminal(atoi(rest + 1));
		plumb_load(fd);
		close(fd);
		close(3);
	}
	plumb_exec(args + 1, envp);
}

void plumb_exec(char **args, char **envp) {
	if (!*args[0])
		plumb_fail(127, "''", "command not found in the image");
	if (!strchr(args[0], '/'))
		search(args, envp);
	try(args[0], args, envp);
	plumb_fail(errno == ENOENT ? 127 : 126, args[0], strerror(errno));
	_exit(126);
}
