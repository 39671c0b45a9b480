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

  /** Takes everything back and returns the error to throw. */
  async run(cause: unknown): Promise<unknown> {
    const { registry, children, family } = this.#context;
    try {
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
      if (this.record !== undefined) children.remove(this.record);
      if (this.#directory)
        takeLifeIfPresent(registry.base, this.#entry.pod_name)?.removeDirectory();
      await family.giveBack({ name: this.#entry.pod_name, instance: this.#entry.instance });
      return cause;
    } catch (error) {
      return new PodError(
        "spawn_failed",
        `${messageOf(cause)}; undoing it failed: ${messageOf(error)}`,
      );
    }
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
