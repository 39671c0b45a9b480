/**
 * Processes that are about to become shells. A trampoline is started with its descriptors, directory
 * and environment, and waits for one byte; its order it reads then. So the next one can be started
 * ahead of its command: the start of a program, most of what confinement costs, is over when the
 * command comes. One that is not needed any more ends when its pipe does, as when the Pod is killed.
 */
import { closeSync, fstatSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { writeAll } from "../../base/files.ts";
import { makePipe } from "../../base/libc.ts";
import { originalName } from "../../base/loader-variables.ts";
import { listedAs } from "../../base/process.ts";
import { CLEARED_MARK, type ConfineSpec, KEEPER_MARK, REFUSAL_MARK } from "../../sandbox/spec.ts";

/**
 * For a program that lives for milliseconds: no helper threads, no heap in advance (half a millisecond,
 * measured). The trampoline takes all `BUN_*` away again before the shell.
 */
const SHORT_LIVED = {
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useWarmUpMarkedBlocks: "0",
} as const;

/** What does not differ between the commands of a Pod. */
export interface ShellPlace {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Program and arguments of the trampoline; undefined where there is none (not Linux). */
  readonly trampoline: readonly string[] | undefined;
  /** Descriptor of the Pod's lock for its commands (`shell.lock`). */
  readonly lock: number;
  /** A path that nobody else uses, for the order to the trampoline; it is gone at once. */
  readonly specPath: string;
}

/** A process with the Pod's ends of its pipes. */
export interface Starting {
  readonly child: Bun.Subprocess;
  /** Everything that the command writes comes out here. */
  readonly output: number;
  /** Closed when the command's time is over (wrapper.ts). */
  readonly control: number;
  /** The file of the order; undefined where there is no trampoline. */
  readonly spec: number | undefined;
}

/** Starts a trampoline that waits for its order. Throws what `Bun.spawn` and the file system throw. */
export function startTrampoline(place: ShellPlace, trampoline: readonly string[]): Starting {
  const spec = openSync(place.specPath, "ax+", 0o600); // two add to it: each at the end
  try {
    unlinkSync(place.specPath);
    const env = { ...place.env, ...SHORT_LIVED };
    return { ...start([...trampoline, "__confine"], env, place, spec), spec };
  } catch (error) {
    closeSync(spec);
    throw error;
  }
}

/** Starts a program that needs no order. */
export function startDirectly(
  place: ShellPlace,
  program: readonly string[],
  mark: string,
): Starting {
  const [name = "", value = ""] = mark.split("=", 2);
  const variables = Object.entries(place.env).map(([key, text]) => [originalName(key), text]);
  const env = { ...Object.fromEntries(variables), [name]: value };
  return { ...start(program, env, place, undefined), spec: undefined };
}

function start(
  program: readonly string[],
  env: Record<string, string>,
  place: ShellPlace,
  spec: number | undefined,
): Omit<Starting, "spec"> {
  const output = makePipe();
  const control = makePipe();
  try {
    const child = Bun.spawn([...program], {
      ...listedAs(program[0] ?? ""),
      cwd: place.cwd,
      env,
      stdio: ["ignore", output.write, output.write, control.read, place.lock, spec ?? "ignore"],
      detached: true, // a session of its own: no terminal, and a group that can be signalled
    });
    return { child, output: output.read, control: control.write };
  } catch (error) {
    closeSync(output.read);
    closeSync(control.write);
    throw error;
  } finally {
    closeSync(output.write);
    closeSync(control.read);
  }
}

/** True while a started trampoline can take an order. */
export function isWaiting({ child }: Starting): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Gives a waiting trampoline its order. */
export function giveOrder({ control, spec }: Starting, order: ConfineSpec): void {
  if (spec === undefined) throw new Error("a shell without trampoline takes no order");
  writeAll(spec, JSON.stringify(order));
  writeSync(control, "\n");
}

/** Lets go of a trampoline that gets no order: it ends by itself. */
export function discard({ output, control, spec }: Starting): void {
  for (const fd of [output, control, spec]) if (fd !== undefined) closeSync(fd);
}

/** What stands in the file of the order when the command is over. */
export interface Answer {
  /** Why the trampoline did not become the shell, if it did not. */
  readonly refusal: string | undefined;
  /** `cleared`: it has seen that nothing of the command is left. `working`: it was started, no more is known. */
  readonly keeper: "none" | "working" | "cleared";
}

/** Reads it, and closes the file. */
export function takeAnswer(spec: number): Answer {
  try {
    const bytes = Buffer.alloc(fstatSync(spec).size);
    readSync(spec, bytes, 0, bytes.length, 0);
    const text = bytes.toString("utf8");
    const cleared = text.endsWith(CLEARED_MARK);
    const rest = cleared ? text.slice(0, -CLEARED_MARK.length) : text;
    return {
      refusal: rest.startsWith(REFUSAL_MARK) ? rest.slice(REFUSAL_MARK.length) : undefined,
      keeper: cleared ? "cleared" : rest.endsWith(KEEPER_MARK) ? "working" : "none",
    };
  } finally {
    closeSync(spec);
  }
}
