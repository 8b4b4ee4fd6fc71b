// What DuckDB would load extensions with. A program that is linked statically cannot
// load them anyway, and with glibc's versions the linker warns at each build.

#include <stddef.h>

void *dlopen(const char *path, int mode) {
	(void)path;
	(void)mode;
	return NULL;
}

char *dlerror(void) {
	return "extensions are not loaded by this program";
}
