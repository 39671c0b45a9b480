/**
 * The process of a Pod that `pod resume` brings back: started in the background, waited for until it
 * listens, and what it said when it did not. Where somebody else starts the same one at this moment,
 * that one is waited for.
 */
import { existsSync } from "node:fs";
import { isPodError, PodError } from "../base/errors.ts";
import { removeFile } from "../base/files.ts";
import type { Environment } from "../base/paths.ts";
import { childEnvironment, looksUntil, selfCommand } from "../base/process.ts";
import type { Allocation } from "../registry/allocation.ts";
import { isLockHeld } from "../registry/life.ts";
import type { Registry } from "../registry/registry.ts";
import type { KnownSession } from "../session/family-tree.ts";
import { describeExit, endGroup, launch } from "../spawn/launch.ts";
import { directoryProblem } from "../spawn/working-directory.ts";

/** How long a Pod may take to start, whoever starts it, and how often is looked whether it has. */
const READY_TIMEOUT_MS = 20_000;
const LOOK_MS = 20;

/** What the steps of one resume share. */
export interface Surroundings {
  readonly registry: Registry;
  readonly store: string;
  readonly env: Environment;
}

/**
 * Starts the process of a session and waits until it listens; one that somebody else starts meanwhile
 * is as good. The result says who started it. A copy that cannot be started (its paths are taken, its directory is gone) is removed
 * again.
 */
export async function startAgain(
  chosen: KnownSession,
  place: Surroundings,
  isNewCopy: boolean,
): Promise<"us" | "others"> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  const holder = isNewCopy ? "nobody" : await startedByOthers(chosen, place, deadline);
  if (holder === "listens") return "others";
  for (;;) {
    try {
      await startProcess(chosen, place);
      return "us";
    } catch (error) {
      if (isNewCopy) removeFile(chosen.path);
      if (isNewCopy || !isPodError(error, "spawn_failed")) throw error;
      const other = await startedByOthers(chosen, place, deadline);
      if (other === "nobody" || performance.now() > deadline) throw error;
      if (other === "listens") return "others";
    }
  }
}

/** Whether somebody else has started this session; `gone` when that failed, or ended, while we looked. */
async function startedByOthers(
  { path, session }: KnownSession,
  { registry }: Surroundings,
  deadline: number,
): Promise<"listens" | "nobody" | "gone"> {
  for (let looks = 0; performance.now() < deadline; looks += 1) {
    const { table } = await registry.reclaim();
    const holder = table.find((entry) => entry.session_id === session);
    if (holder !== undefined && existsSync(holder.socket)) return "listens";
    // Between the lock on its log and its entry it is just starting.
    if (holder === undefined && !isLockHeld(path)) return looks === 0 ? "nobody" : "gone";
    await Bun.sleep(LOOK_MS);
  }
  return "nobody";
}

/** Waits until a Pod that is just starting listens, as long as it lives and may take; never rejects. */
export async function untilListening(
  { socket, instance }: Allocation,
  { registry }: Surroundings,
): Promise<void> {
  const lives = (): boolean => registry.peek().some((entry) => entry.instance === instance);
  await looksUntil(() => existsSync(socket) || !lives(), READY_TIMEOUT_MS);
}

async function startProcess(
  { session, setup }: KnownSession,
  { registry, store, env }: Surroundings,
): Promise<void> {
  const { name, cwd } = setup;
  const gone = directoryProblem(cwd);
  if (gone !== undefined) throw new PodError("invalid_argument", `pod \`${name}\`: ${gone}`);
  const instance = crypto.randomUUID();
  const started = launch({
    command: [...selfCommand(), "--session", session, "--recorded", instance, "--store", store],
    cwd,
    env: { ...childEnvironment(env), INSOMNIA_RUNTIME_DIR: registry.base },
    instance,
    stderr: "pipe", // nobody else's words are in it, and no disk can be too full for it
  });
  const ready = await started.ready({
    timeoutMs: READY_TIMEOUT_MS,
    signal: new AbortController().signal,
  });
  if (ready.kind === "ready") return;
  if (ready.kind !== "exited") {
    await endGroup(started);
    throw new PodError(
      "timed_out",
      `pod \`${name}\` was not ready within ${READY_TIMEOUT_MS / 1000} s`,
    );
  }
  const said = (await started.said()).replace(/^error: /, "");
  throw new PodError(
    "spawn_failed",
    said === ""
      ? `pod \`${name}\` ended before it was ready (${describeExit(ready.exit)})`
      : `pod \`${name}\`: ${said}`,
  );
}
