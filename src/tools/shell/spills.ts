/** The files with the long outputs of one Pod's commands: bounded in number, the oldest go first. */
import { openSync } from "node:fs";
import { join } from "node:path";
import { removeFile } from "../../base/files.ts";

/** Files that are kept; then those of commands that are over go, oldest first. */
export const MAX_SPILLS = 32;

/** A Pod that works for weeks must not fill the disk with what nobody reads any more. */
export class Spills {
  /** Oldest first. */
  readonly #paths: string[] = [];

  /** Makes a new file in `directory`; files at the paths `inUse` stay. Throws what the file system throws. */
  open(
    directory: string,
    inUse: readonly (string | undefined)[],
  ): { readonly fd: number; readonly path: string } {
    const name = `bash-${crypto.randomUUID().replaceAll("-", "").slice(0, 6)}.log`;
    const path = join(directory, name);
    const fd = openSync(path, "wx", 0o600);
    this.#paths.push(path);
    this.#forget(inUse);
    return { fd, path };
  }

  #forget(inUse: readonly (string | undefined)[]): void {
    while (this.#paths.length > MAX_SPILLS) {
      const at = this.#paths.findIndex(
        (path, index) => index < this.#paths.length - 1 && !inUse.includes(path),
      );
      if (at < 0) return;
      for (const path of this.#paths.splice(at, 1)) removeFile(path);
    }
  }
}
