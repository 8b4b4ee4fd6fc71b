// An ordinary user's namespace: see the package comment in early.go.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "early.h"

// What newuidmap takes: a program, a process, and three numbers for each range.
enum { MOST_RANGES = 64 };

// put writes a file of /proc, which takes a line at once.
static void put(const char *path, const char *line, const char *doing) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		plumb_die(doing);
	close(fd);
}

// map executes newuidmap or newgidmap: id 0 is the user, and what follows are the
// ranges, "100000:65536,300000:1000". It ends the process.
static void map(const char *program, const char *pid, unsigned id, const char *ranges) {
	static char text[MOST_RANGES * 3][16];
	char *args[MOST_RANGES * 3 + 6], own[16];
	unsigned long first, count, inside = 1;
	int n = 0, used = 0;
	snprintf(own, sizeof own, "%u", id);
	args[n++] = (char *)program;
	args[n++] = (char *)pid;
	args[n++] = "0", args[n++] = own, args[n++] = "1";
	for (const char *r = ranges; sscanf(r, "%lu:%lu", &first, &count) == 2 && used < MOST_RANGES * 3; inside += count) {
		unsigned long numbers[] = {inside, first, count};
		for (int i = 0; i < 3; i++) {
			snprintf(text[used], sizeof text[used], "%lu", numbers[i]);
			args[n++] = text[used++];
		}
		r = strchrnul(r, ',');
		if (*r)
			r++;
	}
	args[n] = NULL;
	execvp(program, args);
	plumb_die(program);
}

// mapped runs both programs on a process, side by side, and says whether both were
// content. They say themselves why they are not.
static int mapped(const char *pid, unsigned uid, unsigned gid, const char *uids, const char *gids) {
	int status, content = 1;
	for (int group = 0; group < 2; group++) {
		pid_t child = fork();
		if (child < 0)
			plumb_die("forking");
		if (!child && dup2(plumb_parent(), 2) >= 0)
			group ? map("newgidmap", pid, gid, gids) : map("newuidmap", pid, uid, uids);
	}
	while (wait(&status) > 0)
		content = content && !status;
	return content;
}

// plumb_user puts the process into a user namespace in which it is root. order is
// "UIDS/GIDS", the subordinate ranges; without one there is the user's own id alone.
// The programs that write a mapping with ranges have to run outside: a child that
// was forked before stays there.
void plumb_user(const char *order) {
	unsigned uid = geteuid(), gid = getegid();
	char uids[2048], gids[2048], pid[16], line[64], word = 0;
	int go[2], done = 1, ranges = sscanf(order, "%2047[0-9:,]/%2047[0-9:,]", uids, gids) == 2;
	pid_t helper = 0;
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (ranges) {
		if (pipe2(go, O_CLOEXEC) || (helper = fork()) < 0)
			plumb_die("forking");
		if (!helper) {
			close(go[1]);
			_exit(read(go[0], &word, 1) != 1 || !mapped(pid, uid, gid, uids, gids));
		}
		close(go[0]);
	}
	if (unshare(CLONE_NEWUSER))
		plumb_die("entering a user namespace (plumb doctor says what to do)");
	if (ranges) {
		if (write(go[1], &word, 1) != 1 || waitpid(helper, &done, 0) < 0 || done) {
			errno = EPERM;
			plumb_die("mapping subordinate ids with newuidmap and newgidmap (plumb doctor says what to do)");
		}
		close(go[1]);
	} else {
		put("/proc/self/setgroups", "deny", "giving up groups");
		snprintf(line, sizeof line, "0 %u 1", gid);
		put("/proc/self/gid_map", line, "mapping the group");
		snprintf(line, sizeof line, "0 %u 1", uid);
		put("/proc/self/uid_map", line, "mapping the user");
	}
	if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
		plumb_die("becoming root of a user namespace");
}
