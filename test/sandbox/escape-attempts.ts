/**
 * Ways out of the sandbox, one by one. Each is a bash command with these variables: `OUT` (a directory
 * outside the scope, with `victim`, `locked` and `dir/`), `RUN` (a runtime directory of Pods),
 * `SIBLING` (pid of another process of the same user, which has the file `HELD` open as descriptor `FD`),
 * `ABSTRACT` (name of its abstract socket), `TERMINAL` (a terminal of its that leads no session), `SUID` (a set-user-id helper of root that executes its
 * arguments) and `ROOTS` (a file only root may write). The working directory is the scope.
 */

/** One attempt. It has escaped when something outside changed, or when it printed `ESCAPED`. */
export interface Attempt {
  readonly name: string;
  readonly command: string;
  /**
   * Who can do it (`owner`: the user of the test, who is also that of its server) without confinement;
   * where nobody can there is no control, and `why` says so.
   */
  readonly control: "anybody" | "root" | "ordinary" | "owner" | { readonly why: string };
  /** Programs without which the attempt says nothing. */
  readonly needs?: readonly string[];
  /** Made with local sockets: what is behind their closing must hold as well. */
  readonly localSockets?: true;
}

const attempt = (
  name: string,
  command: string,
  control: Attempt["control"] = "anybody",
  needs?: readonly string[],
): Attempt => ({ name, command, control, ...(needs === undefined ? {} : { needs }) });

const withSockets = (attempt: Attempt): Attempt => ({ ...attempt, localSockets: true });

const IN_OWN_NAMESPACE = { why: "user namespaces may be switched off" } as const;

/** All of them. */
export const ATTEMPTS: readonly Attempt[] = [
  // Plain writes
  attempt("redirection to a new file", 'echo x >"$OUT/new"'),
  attempt("redirection onto a file", 'echo x >"$OUT/victim"'),
  attempt("appending", 'echo x >>"$OUT/victim"'),
  attempt("a here-document", 'cat >"$OUT/new" <<END\nx\nEND'),
  attempt("tee", 'echo x | tee "$OUT/new"'),
  attempt("dd", 'dd if=/dev/zero of="$OUT/victim" bs=1 count=1'),
  attempt("cp", 'echo x >f; cp f "$OUT/new"'),
  attempt("install with directories", 'echo x >f; install -D f "$OUT/a/b/new"'),
  attempt("truncate to nothing", 'truncate -s 0 "$OUT/victim"'),
  attempt("truncate(2) by path", `perl -e 'truncate("$ENV{OUT}/victim", 0)'`, "anybody", ["perl"]),
  attempt(
    "opening with O_TRUNC for reading",
    `perl -MFcntl -e 'sysopen(F, "$ENV{OUT}/victim", O_RDONLY|O_TRUNC)'`,
    "anybody",
    ["perl"],
  ),
  attempt("a new directory", 'mkdir "$OUT/new"'),
  attempt("a fifo", 'mkfifo "$OUT/new"'),
  attempt("a link made outside", 'ln -s x "$OUT/new"'),
  withSockets(
    attempt(
      "a socket made outside",
      `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); bind(S,pack_sockaddr_un("$ENV{OUT}/new"))'`,
      "anybody",
      ["perl"],
    ),
  ),
  attempt("removing", 'rm -f "$OUT/victim"'),
  attempt("removing everything", 'rm -rf "$OUT"/*'),
  attempt("find -delete", 'find "$OUT" -name victim -delete'),
  attempt("a relative path with ..", "echo x >../outside/new"),
  attempt("cd first", 'cd "$OUT" && echo x >new'),
  attempt(
    "the shared temporary directory of all",
    'f=$(mktemp /tmp/pod-escape-XXXXXX) && rm -f "$f" && echo ESCAPED',
  ),
  attempt("shared memory", 'f=$(mktemp /dev/shm/pod-escape-XXXXXX) && rm -f "$f" && echo ESCAPED'),
  // Names that lead elsewhere
  attempt("a symbolic link to a file", 'ln -s "$OUT/victim" l; echo x >l'),
  attempt("a symbolic link to a directory", 'ln -s "$OUT" d; echo x >d/new'),
  attempt("a hard link", 'ln "$OUT/victim" h && echo x >h'),
  attempt("renaming out", 'echo x >f; mv f "$OUT/new"'),
  attempt("renaming a directory out", 'mkdir d; mv d "$OUT/new"'),
  attempt("renaming in", 'mv "$OUT/victim" .'),
  attempt(
    "exchanging names",
    `perl -e 'open(F,">f"); close F; $a = "f"; $b = "$ENV{OUT}/victim"; syscall(316, -100, $a, -100, $b, 2)'`,
    "anybody",
    ["perl"],
  ),
  attempt("renaming the scope's own directory", 'mv "$PWD" "$PWD-2"'),
  attempt("/proc/self/root", 'echo x >"/proc/self/root$OUT/new"'),
  attempt("/proc/self/cwd", 'cd "$OUT"; echo x >/proc/self/cwd/new'),
  attempt("a descriptor of another process", "echo x >/proc/$SIBLING/fd/$FD"),
  attempt("the root directory of another process", 'echo x >"/proc/$SIBLING/root$OUT/new"'),
  attempt("the working directory of another process", "echo x >/proc/$SIBLING/cwd/new"),
  attempt(
    "a descriptor opened for reading, opened again for writing",
    'exec 7<"$OUT/victim"; echo x >/dev/fd/7',
  ),
  // Mounts, roots, namespaces, devices
  attempt("a bind mount", 'mkdir m; mount --bind "$OUT" m && { echo x >m/new; umount m; }', "root"),
  attempt(
    "a bind mount in namespaces of its own",
    `unshare -Urm sh -c 'mkdir m; mount --bind "$OUT" m && echo x >m/new'`,
    IN_OWN_NAMESPACE,
    ["unshare"],
  ),
  attempt("root in a user namespace", `unshare -Ur sh -c 'echo x >"$OUT/new"'`, IN_OWN_NAMESPACE, [
    "unshare",
  ]),
  attempt(
    "the namespaces of another process",
    `nsenter -t $SIBLING -m sh -c 'echo x >"$OUT/new"'`,
    "root",
    ["nsenter"],
  ),
  attempt("chroot", `chroot / sh -c 'echo x >"$OUT/new"'`, "root"),
  attempt("a device node", "mknod n c 1 3 && echo ESCAPED", "root"),
  attempt("a kernel setting", "(echo 1 >/proc/sys/vm/drop_caches) && echo ESCAPED", "root"),
  // Other programs
  attempt("an interpreter", `perl -e 'open(F,">","$ENV{OUT}/new") and print F "x"'`, "anybody", [
    "perl",
  ]),
  attempt("awk", `awk 'BEGIN { print "x" > (ENVIRON["OUT"] "/new") }'`),
  attempt("sed -i", 'sed -i s/safe/x/ "$OUT/victim"'),
  attempt("an editor", `printf '1c\\nx\\n.\\nw\\nq\\n' | ed -s "$OUT/victim"`, "anybody", ["ed"]),
  attempt(
    "an editor's swap file",
    `vim -u NONE -es -c 'set directory=. swapfile' -c 'edit $OUT/dir/text' -c 'call system("ls -A $OUT/dir >list")' -c 'qa!' </dev/null; grep -q swp list && echo ESCAPED`,
    "anybody",
    ["vim"],
  ),
  attempt("unpacking", 'echo x >new; tar cf a.tar new; tar xf a.tar -C "$OUT"'),
  attempt(
    "a git hook",
    `export HOME=$PWD; git init -q r && cd r && printf '#!/bin/sh\\necho x >"%s/new"\\n' "$OUT" >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x`,
    "anybody",
    ["git"],
  ),
  attempt(
    "a git work tree elsewhere",
    `export HOME=$PWD; git init -q r && cd r && echo x >new && git add new && git --work-tree="$OUT" checkout -f -- new`,
    "anybody",
    ["git"],
  ),
  attempt(
    "a program made here and preloaded",
    `printf '#include <stdio.h>\\n#include <stdlib.h>\\n__attribute__((constructor)) void f(void){char p[4096];snprintf(p,4096,"%%s/new",getenv("OUT"));FILE*o=fopen(p,"w");if(o){fputs("x",o);fclose(o);}}' >p.c; gcc -shared -fPIC -o p.so p.c && LD_PRELOAD=$PWD/p.so /bin/true`,
    "anybody",
    ["gcc"],
  ),
  attempt("chmod, then write", 'chmod 666 "$OUT/locked"; echo x >"$OUT/locked"'),
  attempt("a shell without environment", `env -i OUT="$OUT" /bin/sh -c 'echo x >"$OUT/new"'`),
  attempt(
    "a set-user-id bit outside",
    'chmod 4755 "$OUT/victim"; [ -u "$OUT/victim" ] && echo ESCAPED',
  ),
  attempt(
    "a set-group-id bit by descriptor",
    `perl -e 'open(F, "<", "$ENV{OUT}/victim"); chmod(02755, *F) and print "ESCAPED\\n"'`,
    "anybody",
    ["perl"],
  ),
  attempt(
    "a file with capabilities",
    "cp /bin/true t && setcap cap_net_admin+ep t && echo ESCAPED",
    "root",
    ["setcap"],
  ),
  attempt(
    "limits of another process",
    "prlimit --pid $SIBLING --nofile=4096:4096 && echo ESCAPED",
    "anybody",
    ["prlimit"],
  ),
  attempt("a set-user-id helper", '"$SUID" /bin/sh -pc \'echo x >"$ROOTS"\'', "ordinary"),
  attempt("flags of a file", 'chattr +d "$OUT/victim" && echo ESCAPED', "anybody", ["chattr"]),
  attempt(
    "a key in a keyring",
    `perl -e 'print "ESCAPED\\n" if syscall(248, $t = "user", $n = "pod-escape", $k = "x", 1, -2) > 0'`,
    { why: "the kernel may have none" },
    ["perl"],
  ),
  // Terminals
  attempt(
    "a terminal that is acquired and written to",
    `setsid -w perl -e 'open(T, "<", $ENV{TERMINAL}); open(W, ">", "/dev/tty") and print "ESCAPED\\n"'`,
    "anybody",
    ["perl", "setsid"],
  ),
  attempt(
    "input into an acquired terminal",
    `setsid -w perl -e 'open(T, "<", $ENV{TERMINAL}); for $t ("/dev/tty", $ENV{TERMINAL}) { open(R, "<", $t); print "ESCAPED\\n" if ioctl(R, 0x5412, $c = "x") }'`,
    { why: "it may be switched off (dev.tty.legacy_tiocsti)" },
    ["perl", "setsid"],
  ),
  // Processes
  attempt("a job in the background", '(echo x >"$OUT/new") & wait'),
  attempt(
    "a daemon",
    `setsid nohup sh -c 'echo x >"$OUT/new"; : >done' >/dev/null 2>&1 & until [ -e done ]; do sleep 0.01; done`,
  ),
  attempt("a signal to another process", "kill -0 $SIBLING && echo ESCAPED"),
  attempt("a signal to the Pod", "kill -0 $PPID && echo ESCAPED", "owner"),
  attempt(
    "a signal to its own keeper",
    "read -r c </proc/$$/task/$$/children; for p in $c; do kill -0 $p && echo ESCAPED; done",
  ),
  attempt(
    "a look at what its keeper holds",
    "read -r c </proc/$$/task/$$/children; for p in $c; do readlink /proc/$p/fd/1 && echo ESCAPED; done",
  ),
  attempt(
    "the environment of another process",
    "tr '\\0' '\\n' </proc/$SIBLING/environ | grep -q SIBLING_SECRET && echo ESCAPED",
  ),
  attempt("the memory of another process", "(exec 7<>/proc/$SIBLING/mem) && echo ESCAPED"),
  attempt(
    "tracing another process",
    `perl -e 'print "ESCAPED\\n" if syscall(101, 0x4206, $ENV{SIBLING} + 0, 0, 0) == 0'`,
    "anybody",
    ["perl"],
  ),
  attempt(
    "taking a descriptor of another process",
    `perl -e '$p = syscall(434, $ENV{SIBLING}+0, 0); $f = syscall(438, $p, $ENV{FD}+0, 0); open(F, ">>&=", $f) and print F "x" if $f >= 0'`,
    "anybody",
    ["perl"],
  ),
  withSockets(
    attempt(
      "an abstract socket of another process",
      `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); print "ESCAPED\\n" if connect(S, pack_sockaddr_un("\\0$ENV{ABSTRACT}"))'`,
      "anybody",
      ["perl"],
    ),
  ),
  attempt(
    "a descriptor that leaked from the Pod",
    'for f in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$f ] && readlink /proc/self/fd/$f; done | grep -v "^/proc/" && echo ESCAPED',
    { why: "there is none" },
  ),
  // The program's own files
  attempt("the registry", 'echo "{}" >"$RUN/pods.json"'),
  ...[
    ["a lease on the registry, which blocks whoever opens it", "pods.json", 1024],
    ["a lease on the lock of the registry", "pods.lock", 1024],
  ].map(([name, file, command]) =>
    attempt(
      `${name}`,
      `perl -e 'open(F, "<", "$ENV{RUN}/${file}"); print "ESCAPED\\n" if fcntl(F, ${command}, 1)'`,
      "anybody",
      ["perl"],
    ),
  ),
  ...[55, 221].map((call) =>
    attempt(
      `a lease by call ${call} of 32-bit programs`,
      `printf '#include <fcntl.h>\\n#include <stdio.h>\\nint main(int c,char**v){int f=open(v[1],O_RDONLY);long r=${call};asm volatile("int $0x80":"+a"(r):"b"(f),"c"(1024L),"d"(1L):"memory","r8","r9","r10","r11");if(f>=0&&r==0)puts("ESCAPED");}' >l.c; gcc -o l l.c && ./l "$RUN/pods.json"`,
      { why: "the kernel may run no 32-bit programs" },
      ["gcc"],
    ),
  ),
  attempt("removing the registry", 'rm -f "$RUN/pods.json"'),
  attempt("replacing the lock of the registry", 'mv "$RUN/pods.lock" "$RUN/gone"'),
  attempt("the status of another Pod", 'echo "{}" >"$RUN/other/status.json"'),
  attempt("removing the socket of another Pod", 'rm -f "$RUN/other/sock"'),
  withSockets(
    attempt(
      "a method to another Pod",
      `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); connect(S, pack_sockaddr_un("$ENV{RUN}/other/sock")) or exit; syswrite(S, "{\\"method\\":\\"status\\"}\\n"); sysread(S, $b, 4096); print "ESCAPED\\n" if $b =~ /handled/'`,
      "owner",
      ["perl"],
    ),
  ),
  // Helpers that listen on local sockets, and act with rights of their own
  attempt(
    "a connection to a socket file",
    `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0) or exit; print "ESCAPED\\n" if connect(S, pack_sockaddr_un("$ENV{RUN}/other/sock"))'`,
    "owner",
    ["perl"],
  ),
  attempt(
    "a connection to an abstract socket",
    `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0) or exit; print "ESCAPED\\n" if connect(S, pack_sockaddr_un("\\0$ENV{ABSTRACT}"))'`,
    "anybody",
    ["perl"],
  ),
  attempt(
    "a pair of datagram sockets, an end of which could be connected anew",
    `perl -MSocket -e 'socketpair(A,B,AF_UNIX,SOCK_DGRAM,0) and print "ESCAPED\\n"'`,
    "anybody",
    ["perl"],
  ),
  attempt(
    "io_uring, which makes sockets without system calls",
    `perl -e '$p = "\\0" x 120; print "ESCAPED\\n" if syscall(425, 1, $p) >= 0'`,
    { why: "io_uring may be switched off" },
    ["perl"],
  ),
];
