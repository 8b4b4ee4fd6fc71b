// plumb_shim never returns. args[0] is the number of the filter's descriptor,
// the command follows.
void plumb_shim(char **args, char **envp) __attribute__((noreturn));
