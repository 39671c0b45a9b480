/**
 * The texts that `bash -c` gets for a command and for its keeper: a process that waits for the Pod to let
 * go of a pipe (because the command is over, or because the Pod is dead) and then ends everything that is
 * left. It holds the Pod's shell lock and the output until it has done so: whoever sees either end knows
 * that nothing of the command runs.
 */
import { CLEARED_MARK, DESCRIPTORS } from "../../sandbox/spec.ts";

/**
 * How far the keeper reaches. `domain`: everything the command started, wherever it went, because the
 * kernel confines signals to the Landlock domain (ABI 6); the trampoline starts it outside the domain of
 * the command, which therefore cannot touch it. `group`: the process group of the shell, which starts it.
 */
export type Sweep = "domain" | "group";

const { control, lock, spec } = DESCRIPTORS;

/** Some milliseconds, where the keeper has no `sleep`: its PATH is the directory of bash alone. */
const BUSY = "for ((j = 0; j < 9999; j++)); do :; done";

/**
 * The keeper of a domain: kills everything that may be signalled, in one system call that no fork slips
 * through, then looks until nothing of it runs, because killed is not yet gone. Zombies count as gone.
 * Bounded. Only when all is gone it says so in the file that the order came in, to which nothing of the
 * command has access; a keeper that does not come to that has failed, and the Pod takes it so.
 */
const KEEPER =
  `exec 2>&-; read -r _ <&${control}; cd /proc; GLOBIGNORE=$$; ` +
  "for ((i = 0; i < 100; i++)); do kill -KILL -- -1; n=; " +
  // One look at all of them; each by itself only where there is something.
  'if kill -0 -- [0-9]*; then for p in [0-9]*; do if kill -0 "$p" && read -r s <"$p/stat" && ' +
  '[[ $s != *") Z "* ]]; then n=1; break; fi; done; fi; ' +
  `[[ $n ]] || { printf ${CLEARED_MARK} >&${spec}; exit; }; sleep 0.02 || ${BUSY}; done`;

/** Arguments of the shell that make it the keeper of a domain. */
export const KEEPER_ARGUMENTS: readonly string[] = ["bash", "--norc", "-c", KEEPER];

/**
 * At the end in a domain the shell ends the rest itself and waits until it has no child but the keeper:
 * the trampoline made it the parent of all orphans below it (prctl(2), `PR_SET_CHILD_SUBREAPER`). A
 * courtesy that spares the keeper a second look: a command can leave this out. Bounded to two seconds.
 */
const LAST =
  "kill -KILL -- -1 || :; while ((__pod_n++ < 500)); do __pod_c=; " +
  'read -r __pod_c </proc/$$/task/$$/children || :; [[ $__pod_c == *" "* ]] || break; ' +
  "((__pod_n < 300)) || sleep 0.01; done";

/**
 * The script. The command starts on its first line, so that messages of bash name the right one; it is
 * followed by a line break, so that a comment or a here-document at its end harms nothing.
 */
export function wrapCommand(command: string, sweep: Sweep): string {
  // `$$` is the shell's pid in the subshell, too, and its group; the keeper has left that.
  const deaf = "trap '' HUP INT QUIT TERM USR1 USR2";
  const keeper = `(${deaf}; read -r _ <&${control}; kill -KILL -- -$$) & disown`;
  const prelude =
    sweep === "domain"
      ? ""
      : `{ set -m; ${keeper}; set +m; } 2>/dev/null; exec ${control}<&- ${lock}<&-; `;
  const last = sweep === "domain" ? LAST : ":";
  const end = `{ __pod_status=$?; set +xve; wait; ${last}; } 2>/dev/null; exit $__pod_status`;
  return `${prelude}{ ${command}\n}\n${end}`;
}
