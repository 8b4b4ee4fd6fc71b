// A stage's first program where no container can be made: enter a directory as if it
// were all there is, become the user, keep no more privileges than a container has,
// load the seccomp filter, execute the command. Whoever started it has made what
// namespaces there may be.
//
// args: the filter's descriptor; what to do in the namespaces that are new, letters of
// "plu"; the root directory; the working directory; user and group; further groups, with
// commas; the capabilities of root, as a hexadecimal mask; the host name; the command.

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "early.h"

enum { MOST_GROUPS = 256 };

static void must(int failed, const char *doing) {
	if (failed)
		plumb_fail(126, doing, strerror(errno));
}

// loopback is down in a new network namespace.
static void loopback(void) {
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo), "bringing up the loopback interface");
	close(fd);
}

// Root is root of the machine: /proc is read-only as a whole, since there is no user
// namespace that would refuse to change the kernel's settings.
static void namespaces(const char *new, const char *root, const char *host) {
	static char proc[4096];
	if (strchr(new, 'p')) {
		snprintf(proc, sizeof proc, "%s/proc", root);
		must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making mounts private");
		must(mount("proc", proc, "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mounting /proc");
	}
	if (strchr(new, 'l'))
		loopback();
	if (strchr(new, 'u'))
		must(sethostname(host, strlen(host)), "setting the host name");
}

// become leaves root with the capabilities of the mask, and any other user with none.
static void become(unsigned uid, unsigned gid, char *groups, unsigned long long mask) {
	static gid_t all[MOST_GROUPS];
	int n = 0;
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2] = {
		{.effective = mask, .permitted = mask},
		{.effective = mask >> 32, .permitted = mask >> 32},
	};
	for (char *g = strtok(groups, ","); g && n < MOST_GROUPS; g = strtok(NULL, ","))
		all[n++] = strtoul(g, NULL, 10);
	must(setgroups(n, all), "setting the groups");
	// What cannot be dropped here is not to be had again either: no program gives new
	// privileges.
	for (int cap = 0; cap < 64; cap++)
		if (!(mask >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	must(setresgid(gid, gid, gid), "becoming the group");
	must(setresuid(uid, uid, uid), "becoming the user");
	if (uid == 0)
		must(syscall(SYS_capset, &head, caps), "dropping capabilities");
}

void plumb_jail(char **args, char **envp) {
	int filter = atoi(args[0]);
	const char *new = args[1], *root = args[2], *dir = args[3], *host = args[8];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(022);
	namespaces(new, root, host);
	must(chdir(root) || chroot("."), "entering the root directory of the stage");
	become(strtoul(args[4], NULL, 10), strtoul(args[5], NULL, 10), args[6], strtoull(args[7], NULL, 16));
	prctl(PR_SET_PDEATHSIG, SIGKILL); // becoming another user has undone it
	must(chdir(dir), dir);
	plumb_load(filter);
	close(filter);
	plumb_exec(args + 9, envp);
}
