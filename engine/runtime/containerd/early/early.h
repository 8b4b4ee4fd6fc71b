// plumb_shim never returns. args[0] is the number of the filter's descriptor, and with
// a comma behind it that of a socket where a terminal is to be sent; or it is a "=" and
// the filter itself. The command follows.
void plumb_shim(char **args, char **envp) __attribute__((noreturn));

// plumb_load loads a seccomp filter. plumb_exec executes a command, which it looks for as
// a shell does. plumb_fail says why neither can be. What they return to is nothing.
void plumb_load(int fd);
void plumb_exec(char **args, char **envp) __attribute__((noreturn));
void plumb_fail(int status, const char *what, const char *why) __attribute__((noreturn));

// plumb_jail never returns: see jail.c.
void plumb_jail(char **args, char **envp) __attribute__((noreturn));

// plumb_user enters a user namespace, or ends the process.
void plumb_user(const char *order);

// plumb_parent is where somebody may read what goes wrong.
int plumb_parent(void);

// plumb_die says what was being done, and errno, and ends the process.
void plumb_die(const char *doing) __attribute__((noreturn));
