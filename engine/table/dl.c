// Replacements for what DuckDB refers to and glibc cannot link statically: the linker
// would warn of it at each build, and it would load shared libraries at run time. See
// also nss.c in engine/runtime/containerd/early.

#include <pwd.h>
#include <stddef.h>

// DuckDB would load extensions with it. It is wrapped (see duck.go) and not defined,
// since libc links its own for itself all the same, and with it the warning.
void *__wrap_dlopen(const char *path, int mode) {
	(void)path;
	(void)mode;
	return NULL;
}

void *dlsym(void *library, const char *name) {
	(void)library;
	(void)name;
	return NULL;
}

int dlclose(void *library) {
	(void)library;
	return 0;
}

char *dlerror(void) {
	return "this program loads no extensions";
}

// DuckDB would say with it whose lock a database file has. No such file is ever opened.
struct passwd *getpwuid(uid_t uid) {
	(void)uid;
	return NULL;
}
