/**
 * What has been done for one spawn, and how it is taken back: group killed, exit awaited, record,
 * directory and reservation removed, scope as before. If the process cannot be ended, all is kept
 * and said (spec registry-and-spawn W37, I4).
 */
import { closeSync } from "node:fs";
import { messageOf, PodError } from "../base/errors.ts";
import { readTailOf } from "../base/files.ts";
import { podPaths } from "../base/paths.ts";
import type { Allocation } from "../registry/allocation.ts";
import { takeLifeIfPresent } from "../registry/life.ts";
import type { ChildRecord } from "./children.ts";
import type { SpawnContext } from "./context.ts";
import { endGroup, type Launched } from "./launch.ts";

/** Bytes of a child's standard error that an error quotes (spec 5.5). */
const STDERR_TAIL_BYTES = 4096;

/** The steps of one spawn so far. `stderr` is the open log of the child, -1 when there is none. */
export class SpawnUndo {
  readonly #context: SpawnContext;
  readonly #entry: Allocation;
  #directory = false;
  child: Launched | undefined;
  record: ChildRecord | undefined;
  stderr = -1;

  constructor(context: SpawnContext, entry: Allocation) {
    this.#context = context;
    this.#entry = entry;
  }

  directoryMade(): void {
    this.#directory = true;
  }

  /** The child stays: from now on its end is news. */
  accepted(): ChildRecord | undefined {
    this.#closeLog();
    if (this.record !== undefined) {
      this.record.stopping = false;
      if (this.record.phase === "starting") this.record.phase = "running";
      this.#context.family.watch(this.record);
    }
    return this.record;
  }

  /** Takes everything back and returns the error to throw; never rejects. */
  async run(cause: unknown): Promise<unknown> {
    if (this.record !== undefined) this.record.stopping = true;
    const gone = this.child === undefined || (await endGroup(this.child));
    this.#closeLog();
    if (!gone) {
      this.accepted();
      return new PodError(
        "spawn_failed",
        `${messageOf(cause)}; its process ${this.child?.pid ?? ""} could not be ended, so pod ` +
          `\`${this.#entry.pod_name}\` stays listed and keeps its scope`,
      );
    }
    // Each step for itself: what cannot be done must not keep the rest from being done.
    const removed = await failureOf(() => this.#removeDirectory());
    const givenBack = await failureOf(() => this.#giveBack());
    const failures = [removed, givenBack].filter((text) => text !== undefined);
    const { children } = this.#context;
    if (this.record !== undefined) {
      // What could not be given back stays listed, so that StopPod can try again (I4).
      if (givenBack === undefined) children.remove(this.record);
      else children.end(this.record);
    }
    if (failures.length === 0) return cause;
    const retry = givenBack === undefined ? "" : this.#kept();
    const text = `${messageOf(cause)}; undoing it failed: ${failures.join("; ")}${retry}`;
    return new PodError("spawn_failed", text);
  }

  /** What could not be given back, said so that it can be dealt with (I4). */
  #kept(): string {
    const { pod_name, expires_at } = this.#entry;
    this.#context.family.refreshLater();
    if (this.record !== undefined) {
      return `; it keeps its scope: call StopPod for \`${pod_name}\` to try again`;
    }
    const seconds = Math.max(1, Math.ceil(((expires_at ?? 0) - Date.now()) / 1000));
    return `; its name and paths stay reserved for at most ${seconds} s`;
  }

  #removeDirectory(): void {
    if (!this.#directory) return;
    takeLifeIfPresent(this.#context.registry.base, this.#entry.pod_name)?.removeDirectory();
  }

  async #giveBack(): Promise<void> {
    const { pod_name: name, instance } = this.#entry;
    await this.#context.family.giveBack({ name, instance });
  }

  /** The tail of the child's standard error as spec 5.5 words it; empty when it said nothing. */
  stderrBlock(): string {
    if (this.stderr < 0) return "";
    // Read through the descriptor: a child that fails late may have removed the file (W36).
    const tail = readTailOf(this.stderr, STDERR_TAIL_BYTES);
    const path = podPaths(this.#context.registry.base, this.#entry.pod_name).stderr;
    return tail === "" ? "" : `\n--- child stderr (${path}) ---\n${tail}`;
  }

  #closeLog(): void {
    if (this.stderr >= 0) closeSync(this.stderr);
    this.stderr = -1;
  }
}

/** Runs one step; what went wrong in one sentence, or undefined. */
async function failureOf(step: () => void | Promise<void>): Promise<string | undefined> {
  try {
    await step();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
