/**
 * Whole outputs of tools that were too long for the conversation, as files of the Pod's own
 * directory, which its tools may read. Bounded in number and size; they go when the Pod goes.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { log } from "../base/log.ts";
import type { LiveScope } from "../tools/live-scope.ts";

/** Files that are kept; the oldest goes. */
const MAX_FILES = 64;
/** Of one output; more is cut, and the file says so. */
const MAX_BYTES = 16 * 1024 * 1024;

/** The files of one Pod. */
export class ToolOutputFiles {
  readonly #directory: string;
  readonly #scope: LiveScope;
  readonly #files: string[] = [];
  #number = 0;

  /** `directory` is the Pod's runtime directory; nothing is made before it is needed. */
  constructor(directory: string, scope: LiveScope) {
    this.#directory = join(directory, "tool-output");
    this.#scope = scope;
  }

  /** Keeps an output; its path, or undefined when it could not be written. */
  keep(content: string): string | undefined {
    try {
      if (this.#number === 0) this.#open();
      this.#number += 1;
      const path = join(this.#directory, `${this.#number}.txt`);
      const bytes = Buffer.from(content);
      const rest = bytes.length - MAX_BYTES;
      const kept = rest > 0 ? bytes.subarray(0, MAX_BYTES) : bytes;
      writeFileSync(path, kept, { mode: 0o600 });
      if (rest > 0) writeFileSync(path, `\n[${rest} more bytes were not kept]\n`, { flag: "a" });
      this.#files.push(path);
      const oldest = this.#files.length > MAX_FILES ? this.#files.shift() : undefined;
      if (oldest !== undefined) rmSync(oldest, { force: true });
      return path;
    } catch (error) {
      log("warn", `cannot keep a tool's output in ${this.#directory}`, error);
      return undefined;
    }
  }

  #open(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#directory)) rmSync(join(this.#directory, name));
    this.#scope.addRead({ target: this.#directory, permission: "read", recursive: true });
  }
}
