/**
 * The text that `bash -c` gets around a command. It starts a keeper beside the command: a subshell in
 * a process group of its own that waits for the Pod to let go of a pipe (because the command is over,
 * or because the Pod is dead) and then ends everything that is left. It holds the Pod's shell lock and
 * the output until it has done so: whoever sees either end knows that nothing of the command runs.
 */
import { DESCRIPTORS } from "../../sandbox/spec.ts";

/**
 * How far the keeper reaches. `domain`: everything the command started, wherever it went, because the
 * kernel confines signals to the Landlock domain (ABI 6). `group`: the process group of the shell.
 */
export type Sweep = "domain" | "group";

const { control, lock } = DESCRIPTORS;
const CLOSE = `${control}<&- ${lock}<&-`;

/**
 * In a domain: kills everything that may be signalled, in one system call that no fork slips through,
 * then looks until nothing of it runs, because killed is not yet gone. Zombies count as gone; bounded.
 */
const SWEEP: Readonly<Record<Sweep, string>> = {
  domain:
    "for ((i = 0; i < 100; i++)); do kill -KILL -- -1; n=; for p in /proc/[0-9]*; do q=${p#/proc/}; " +
    'if [[ $q != $BASHPID ]] && kill -0 $q && read -r s <$p/stat && [[ $s != *") Z "* ]]; ' +
    "then n=1; break; fi; done; [[ $n ]] || break; sleep 0.02; done",
  // `$$` is the shell's pid here, too, and its group; the keeper has left that.
  group: "kill -KILL -- -$$",
};

/**
 * `kill -1` where signals are not confined would end everything of this user: the shell must be unable
 * to signal the Pod that started it, or nothing is run.
 */
const GUARD: Readonly<Record<Sweep, string>> = {
  domain: 'if kill -0 "$PPID"; then exit 126; fi; ',
  group: "",
};

/**
 * At the end in a domain the shell ends the rest itself, its keeper included, and waits until it has
 * no children any more: the trampoline made it the parent of all orphans below it (prctl(2),
 * `PR_SET_CHILD_SUBREAPER`), so these are all there are. Bounded to two seconds.
 */
const LAST: Readonly<Record<Sweep, string>> = {
  domain:
    "kill -KILL -- -1 || :; while ((__pod_n++ < 500)); do __pod_c=; " +
    "read -r __pod_c </proc/$$/task/$$/children || :; [[ $__pod_c ]] || break; " +
    "((__pod_n < 300)) || sleep 0.01; done",
  group: ":",
};

/**
 * The script. The command starts on its first line, so that messages of bash name the right one; it is
 * followed by a line break, so that a comment or a here-document at its end harms nothing.
 */
export function wrapCommand(command: string, sweep: Sweep): string {
  const keeper =
    `(trap '' HUP INT QUIT TERM USR1 USR2; read -r _ <&${control}; ${SWEEP[sweep]}) &` + " disown";
  const prelude = `{ ${GUARD[sweep]}set -m; ${keeper}; set +m; } 2>/dev/null; exec ${CLOSE}; `;
  const end = `{ __pod_status=$?; set +xve; wait; ${LAST[sweep]}; } 2>/dev/null; exit $__pod_status`;
  return `${prelude}{ ${command}\n}\n${end}`;
}
