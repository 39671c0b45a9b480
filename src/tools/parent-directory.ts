/**
 * The directory that a file is to go into. Missing ones are made on the way down, each relative to the
 * verified one above; those that were made go again unless `keep` is called, as far as they are empty.
 */
import { basename, dirname, join } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { VerifiedDirectory } from "./verified-path.ts";

/** The directories from the deepest that there was down to the parent, all open. Close it with `using`. */
export class ParentDirectory implements Disposable {
  readonly #path: string;
  /** Never empty. */
  readonly #chain: VerifiedDirectory[];
  /** What was made, by its name in which directory. */
  #made: { readonly above: VerifiedDirectory; readonly name: string }[] = [];

  private constructor(deepest: VerifiedDirectory, path: string) {
    this.#chain = [deepest];
    this.#path = path;
  }

  /**
   * Opens the parent of the canonical file. `mayMake` throws for a directory that must not be made;
   * `path` is the path as given, for errors.
   */
  static open(
    canonical: string,
    path: string,
    mayMake: (directory: string) => void,
  ): ParentDirectory {
    const missing: string[] = [];
    const deepest = ((): VerifiedDirectory => {
      for (let existing = dirname(canonical); ; existing = dirname(existing)) {
        try {
          return VerifiedDirectory.open(existing, path);
        } catch (error) {
          if (errnoCode(error) !== "ENOENT" || existing === "/") throw error;
          missing.unshift(basename(existing));
        }
      }
    })();
    const parent = new ParentDirectory(deepest, path);
    try {
      for (const name of missing) parent.#descend(name, mayMake);
      return parent;
    } catch (error) {
      parent[Symbol.dispose]();
      throw error;
    }
  }

  get directory(): VerifiedDirectory {
    const last = this.#chain.at(-1);
    if (last === undefined) throw new Error("closed");
    return last;
  }

  /** The file is there: what was made stays. */
  keep(): void {
    this.#made = [];
  }

  #descend(name: string, mayMake: (directory: string) => void): void {
    const above = this.directory;
    mayMake(join(above.path, name));
    if (above.make(name)) this.#made.push({ above, name });
    this.#chain.push(above.enter(name, this.#path));
  }

  [Symbol.dispose](): void {
    for (const { above, name } of this.#made.reverse()) above.removeEmpty(name);
    for (const directory of this.#chain.splice(0)) directory[Symbol.dispose]();
  }
}
