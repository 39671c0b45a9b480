/**
 * The files by which a Pod shows itself in its runtime directory (spec protocol 8.1): replaced whole,
 * mode 0600. A failure to write one is logged and never ends a run.
 */
import { ioError } from "../base/errors.ts";
import { replaceFile } from "../base/files.ts";
import { log } from "../base/log.ts";
import type { PodPaths } from "../base/paths.ts";
import type { PodState } from "../protocol/event.ts";
import type { Item } from "../protocol/history.ts";

/** Writes the published files of one Pod. */
export class RuntimeFiles {
  readonly #paths: PodPaths;
  readonly #name: string;
  readonly #instance: string;

  constructor(paths: PodPaths, name: string, instance: string) {
    this.#paths = paths;
    this.#name = name;
    this.#instance = instance;
  }

  /** The files that exist once: `pid` and the resolved manifest. Throws `io` with the directory. */
  writeStatic(manifest: string): void {
    try {
      replaceFile(this.#paths.pid, String(process.pid));
      replaceFile(this.#paths.manifest, manifest);
    } catch (error) {
      throw ioError(`cannot write into ${this.#paths.directory}`, error);
    }
  }

  /** `status.json`: what the Pod does now. */
  writeStatus(state: PodState, session: string): void {
    const status = { instance: this.#instance, pod_name: this.#name, session_id: session, state };
    this.#publish(this.#paths.status, JSON.stringify(status));
  }

  /** `history.json`: the conversation so far. */
  writeHistory(items: readonly Item[]): void {
    this.#publish(this.#paths.history, JSON.stringify(items));
  }

  #publish(path: string, content: string): void {
    try {
      replaceFile(path, content, { temporary: path.replace(/\.json$/, ".tmp") });
    } catch (error) {
      log("warn", `cannot write ${path}`, error);
    }
  }
}
