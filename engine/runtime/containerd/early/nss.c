// Replacements for what glibc cannot link statically.
//
// getaddrinfo and the passwd and group look-ups load shared libraries at run
// time (name service switching), so a static program that refers to them draws
// a warning from the linker and fails on a machine with another libc. Go refers
// to them when it is built with cgo. Defining them here keeps libc's versions
// out of the program: names are resolved by Go itself, users are read from
// /etc/passwd and /etc/group.

#define _GNU_SOURCE
#include <features.h>
#ifdef __GLIBC__
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

// EAI_SYSTEM with ENOSYS: Go reports it, and asks by itself when told so
// (godebug netdns=go).
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res) {
	errno = ENOSYS;
	return EAI_SYSTEM;
}

void freeaddrinfo(struct addrinfo *res) {}

int getnameinfo(const struct sockaddr *addr, socklen_t addrlen, char *host, socklen_t hostlen, char *serv, socklen_t servlen, int flags) {
	errno = ENOSYS;
	return EAI_SYSTEM;
}

static int passwd(const char *name, uid_t uid, struct passwd *pwd, char *buf, size_t len, struct passwd **result) {
	FILE *f = fopen("/etc/passwd", "re");
	int err;
	*result = NULL;
	if (!f)
		return errno == ENOENT ? 0 : errno;
	while (!(err = fgetpwent_r(f, pwd, buf, len, result)))
		if (name ? !strcmp(pwd->pw_name, name) : pwd->pw_uid == uid)
			break;
	fclose(f);
	if (err)
		*result = NULL;
	return err == ENOENT ? 0 : err;
}

int getpwnam_r(const char *name, struct passwd *pwd, char *buf, size_t len, struct passwd **result) {
	return passwd(name, 0, pwd, buf, len, result);
}

int getpwuid_r(uid_t uid, struct passwd *pwd, char *buf, size_t len, struct passwd **result) {
	return passwd(NULL, uid, pwd, buf, len, result);
}

static int group(const char *name, gid_t gid, struct group *grp, char *buf, size_t len, struct group **result) {
	FILE *f = fopen("/etc/group", "re");
	int err;
	*result = NULL;
	if (!f)
		return errno == ENOENT ? 0 : errno;
	while (!(err = fgetgrent_r(f, grp, buf, len, result)))
		if (name ? !strcmp(grp->gr_name, name) : grp->gr_gid == gid)
			break;
	fclose(f);
	if (err)
		*result = NULL;
	return err == ENOENT ? 0 : err;
}

int getgrnam_r(const char *name, struct group *grp, char *buf, size_t len, struct group **result) {
	return group(name, 0, grp, buf, len, result);
}

int getgrgid_r(gid_t gid, struct group *grp, char *buf, size_t len, struct group **result) {
	return group(NULL, gid, grp, buf, len, result);
}

// getgrouplist answers the primary group and those that name the user.
int getgrouplist(const char *user, gid_t gid, gid_t *groups, int *ngroups) {
	static __thread char buf[1 << 16];
	struct group grp, *result;
	int n = 0, room = *ngroups;
	FILE *f = fopen("/etc/group", "re");
	if (n++ < room)
		groups[0] = gid;
	while (f && !fgetgrent_r(f, &grp, buf, sizeof buf, &result))
		for (char **m = grp.gr_mem; *m; m++)
			if (!strcmp(*m, user) && grp.gr_gid != gid && n++ < room)
				groups[n - 1] = grp.gr_gid;
	if (f)
		fclose(f);
	*ngroups = n;
	return n > room ? -1 : n;
}
#endif
