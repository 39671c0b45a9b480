/**
 * The process of a Pod that `pod resume` brings back: started in the background, waited for until it
 * listens, and what it said when it did not.
 */
import { closeSync } from "node:fs";
import { PodError } from "../base/errors.ts";
import { openPrivateLog, readTailOf, removeFile } from "../base/files.ts";
import { type Environment, podPaths } from "../base/paths.ts";
import { childEnvironment, selfCommand, settlesWithin } from "../base/process.ts";
import { takeLife } from "../registry/life.ts";
import type { Registry } from "../registry/registry.ts";
import type { KnownSession } from "../session/family-tree.ts";
import { describeExit, endGroup, launch } from "../spawn/launch.ts";
import { directoryProblem } from "../spawn/working-directory.ts";

/** How long a Pod may take to start. */
const READY_TIMEOUT_MS = 20_000;
const STDERR_TAIL_BYTES = 4096;

/** What the steps of one resume share. */
export interface Surroundings {
  readonly registry: Registry;
  readonly store: string;
  readonly env: Environment;
}

/**
 * Starts the process of a session and waits until it listens; returns its socket. A copy that cannot
 * be started (its paths are taken, its directory is gone) is removed again.
 */
export async function startAgain(
  chosen: KnownSession,
  place: Surroundings,
  isNewCopy: boolean,
): Promise<string> {
  try {
    return await startProcess(chosen, place);
  } catch (error) {
    if (isNewCopy) removeFile(chosen.path);
    throw error;
  }
}

async function startProcess(
  { session, setup }: KnownSession,
  { registry, store, env }: Surroundings,
): Promise<string> {
  const { name, cwd } = setup;
  const paths = podPaths(registry.base, name);
  const gone = directoryProblem(cwd);
  if (gone !== undefined) throw new PodError("invalid_argument", `pod \`${name}\`: ${gone}`);
  const stderr = openStderr(registry, name);
  try {
    const instance = crypto.randomUUID();
    const started = launch({
      command: [...selfCommand(), "--session", session, "--recorded", instance, "--store", store],
      cwd,
      env: { ...childEnvironment(env), INSOMNIA_RUNTIME_DIR: registry.base },
      instance,
      stderr,
    });
    const ready = await started.ready({
      timeoutMs: READY_TIMEOUT_MS,
      signal: new AbortController().signal,
    });
    if (ready.kind === "ready") return paths.socket;
    if (ready.kind !== "exited") {
      await endGroup(started);
      throw new PodError(
        "timed_out",
        `pod \`${name}\` was not ready within ${READY_TIMEOUT_MS / 1000} s`,
      );
    }
    // Its last words may come an instant after its end.
    await settlesWithin(started.exited, 100);
    const said = readTailOf(stderr, STDERR_TAIL_BYTES).replace(/^error: /, "");
    throw new PodError(
      "spawn_failed",
      said === ""
        ? `pod \`${name}\` ended before it was ready (${describeExit(ready.exit)})`
        : `pod \`${name}\`: ${said}`,
    );
  } finally {
    closeSync(stderr);
  }
}

/** The log of a Pod in the background, in its directory, as a spawner makes it. */
function openStderr(registry: Registry, name: string): number {
  const life = takeLife(registry.base, name);
  if (life === undefined) {
    throw new PodError(
      "duplicate_name",
      `pod name \`${name}\` is already registered; pod attach ${name}`,
    );
  }
  try {
    return openPrivateLog(podPaths(registry.base, name).stderr, true);
  } finally {
    life.release(); // the Pod takes it
  }
}
