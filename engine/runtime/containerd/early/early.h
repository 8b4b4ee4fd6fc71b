// plumb_shim never returns. args[0] is the number of the filter's descriptor, and with
// a comma behind it that of a socket where a terminal is to be sent, or a "=" and the
// filter itself; the command follows.
void plumb_shim(char **args, char **envp) __attribute__((noreturn));

// plumb_user enters a user namespace, or ends the process.
void plumb_user(const char *order);

// plumb_parent is where somebody may read what goes wrong.
int plumb_parent(void);

// plumb_die says what was being done, and errno, and ends the process.
void plumb_die(const char *doing) __attribute__((noreturn));
