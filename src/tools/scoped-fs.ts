/**
 * The only file access that tools have. Every path is made canonical, checked against the live
 * scope, opened and then proved to be what was checked (W27). Reads are of regular files up to a
 * limit; writes replace a file in one step, keep its mode, owner and the link that led to it (W14,
 * W28), and run under the scope's mutex from check to rename (W47).
 */
import {
  closeSync,
  type Dirent,
  fstatSync,
  lstatSync,
  readdir,
  readdirSync,
  type Stats,
  statSync,
} from "node:fs";
import { basename } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { readAsync } from "../base/files.ts";
import { componentsOf } from "../scope/rule.ts";
import { accessTo, ruleMatches } from "../scope/set.ts";
import { fileError, ioFailure, MovedError } from "./file-errors.ts";
import { canonicalOf } from "./given-path.ts";
import type { LiveScope } from "./live-scope.ts";
import { assertNotCancelled } from "./pace.ts";
import { ParentDirectory } from "./parent-directory.ts";
import { replaceIn } from "./replace-in.ts";
import { assertRegular, openVerifiedFile, VerifiedDirectory } from "./verified-path.ts";

/** Largest file that is read or written whole (W30). */
export const MAX_FILE_BYTES = 10 * 1024 * 1024;
/** Time that one call of Read, Write or Edit may take: a disk that is gone must not stop a run. */
export const FILE_TOOL_LIMIT_MS = 60_000;
/** A directory file larger than this is listed off the event loop; below, a direct call is faster. */
const LARGE_DIRECTORY_BYTES = 256 * 1024;
const ATTEMPTS = 3;

/** A file as it was read. `canonical` names it independent of links; `info` is of the read descriptor. */
interface FileContent {
  readonly canonical: string;
  readonly bytes: Uint8Array;
  readonly info: Stats;
}

/** What `replace` did; `bytes` is what the file holds now. */
interface Replaced {
  readonly canonical: string;
  readonly created: boolean;
  readonly bytes: Uint8Array;
}

/** Makes the new content from the old one (undefined: no such file), or throws to leave all as it is. */
type Decide = (before: FileContent | undefined) => Uint8Array | Promise<Uint8Array>;

/** File access under one live scope. Errors are `ToolError`s with the texts of spec 3.2. */
export class ScopedFiles {
  readonly scope: LiveScope;
  readonly #checked: (canonical: string) => void;

  /** `checked` runs between each check and the open that follows it: where tests make the race happen. */
  constructor(scope: LiveScope, checked: (canonical: string) => void = () => {}) {
    this.scope = scope;
    this.#checked = checked;
  }

  /**
   * The whole file. Refused: relative path, not readable in the scope, directory, special file, more
   * than `MAX_FILE_BYTES`. Check order is that of spec 3.2, so a missing file outside says "outside".
   */
  async read(path: string): Promise<FileContent> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const fd = this.#openReadable(path);
        try {
          return await readWhole(fd.fd, fd.canonical, path);
        } finally {
          closeSync(fd.fd);
        }
      } catch (error) {
        // Someone replaced the file just now, as editors do: look again, check included.
        if (error instanceof MovedError && attempt < ATTEMPTS) continue;
        throw ioFailure(path, error);
      }
    }
  }

  /**
   * Replaces or creates the file in one step: readers see the old content or the new, and after any
   * failure (disk full, cancel) the old one. A link is followed and stays. Missing parents are made, and
   * after a failure removed again. Between the read that `decide` saw and the rename the file must not
   * have changed. `written` runs before the next write may begin.
   */
  async replace(
    path: string,
    decide: Decide,
    signal: AbortSignal,
    written: (result: Replaced) => void = () => {},
  ): Promise<Replaced> {
    return await this.scope.exclusive(async () => {
      assertNotCancelled(signal);
      const before = await this.#readIfExists(path);
      if (/\/\.?$/.test(path)) throw fileError.directoryName(path);
      const bytes = await decide(before);
      if (bytes.length > MAX_FILE_BYTES) {
        throw fileError.resultTooLarge(path, bytes.length, MAX_FILE_BYTES);
      }
      const canonical = this.#writable(path);
      if (before !== undefined && before.canonical !== canonical) throw fileError.changed(path);
      this.#checked(canonical);
      try {
        using parent = ParentDirectory.open(canonical, path, (directory) =>
          this.#assertCreatable(directory, path),
        );
        const name = basename(canonical);
        const target = { parent: parent.directory, name, path, before: before?.info };
        await replaceIn(target, bytes, signal);
        parent.keep();
      } catch (error) {
        throw ioFailure(path, error);
      }
      const result = { canonical, created: before === undefined, bytes };
      written(result);
      return result;
    });
  }

  /**
   * A descriptor of a regular file whose canonical path the caller found readable in its own snapshot
   * of the scope (Grep's walk). The caller closes it.
   */
  openChecked(canonical: string): number {
    try {
      // Asked before the open, because opening some devices already does something.
      assertRegular(statSync(canonical), canonical);
      return openVerifiedFile(canonical, canonical);
    } catch (error) {
      throw ioFailure(canonical, error);
    }
  }

  /** A directory whose canonical path the caller found inside its snapshot of the scope. */
  openDirectory(canonical: string): VerifiedDirectory {
    return VerifiedDirectory.open(canonical, canonical);
  }

  /** Entries of a directory. */
  async list(directory: VerifiedDirectory): Promise<Dirent[]> {
    return fstatSync(directory.fd).size > LARGE_DIRECTORY_BYTES
      ? await entriesOf(directory.self)
      : readdirSync(directory.self, { withFileTypes: true });
  }

  /** When a file was last changed, in milliseconds; undefined when it is gone. Links are not followed. */
  modifiedAt(canonical: string): number | undefined {
    try {
      return lstatSync(canonical).mtimeMs;
    } catch {
      return undefined;
    }
  }

  #writable(path: string): string {
    const canonical = canonicalOf(path);
    const access = this.scope.accessTo(canonical);
    if (access === "none") throw fileError.outside(path);
    if (access === "read") throw fileError.readOnly(path);
    return canonical;
  }

  #openReadable(path: string): { fd: number; canonical: string } {
    const canonical = canonicalOf(path);
    if (this.scope.accessTo(canonical) === "none") throw fileError.outside(path);
    assertRegular(statSync(canonical), path);
    this.#checked(canonical);
    return { fd: openVerifiedFile(canonical, path), canonical };
  }

  /** The file, or undefined when nothing is there; a name that is a broken link counts as nothing yet. */
  async #readIfExists(path: string): Promise<FileContent | undefined> {
    const canonical = canonicalOf(path);
    // Outside the scope even whether something is there is nobody's business.
    if (this.scope.accessTo(canonical) === "none") throw fileError.outside(path);
    try {
      statSync(canonical);
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      throw ioFailure(path, error);
    }
    return await this.read(path);
  }

  /** A directory may be made where we may write, or on the way to a granted place that is not there yet. */
  #assertCreatable(directory: string, path: string): void {
    const scope = this.scope.current();
    if (accessTo(scope, directory) === "write") return;
    const depth = componentsOf(directory).length;
    const leadsToGrant = scope.allow.some(
      (rule) =>
        rule.permission === "write" &&
        `/${componentsOf(rule.target).slice(0, depth).join("/")}` === directory,
    );
    const denied = scope.deny.some((rule) => ruleMatches(rule, directory));
    if (!leadsToGrant || denied) throw fileError.readOnly(path);
  }
}

async function readWhole(fd: number, canonical: string, path: string): Promise<FileContent> {
  const info = fstatSync(fd);
  if (info.size > MAX_FILE_BYTES) throw fileError.tooLarge(path, info.size, MAX_FILE_BYTES);
  // One byte more than the size shows the end; files of /proc say 0 and have content all the same.
  let buffer = Buffer.allocUnsafe(Math.max(info.size + 1, 4096));
  let length = 0;
  for (;;) {
    if (length === buffer.length) {
      buffer = Buffer.concat([buffer], Math.min(buffer.length * 2, MAX_FILE_BYTES + 1));
    }
    const bytesRead = await readAsync(fd, buffer, length, buffer.length - length);
    if (bytesRead === 0) return { canonical, bytes: buffer.subarray(0, length), info };
    length += bytesRead;
    if (length > MAX_FILE_BYTES) throw fileError.tooLarge(path, length, MAX_FILE_BYTES);
  }
}

/** Off the event loop. Not `promises.readdir`: `promises` costs every Pod 0.2 ms as soon as it is named. */
function entriesOf(directory: string): Promise<Dirent[]> {
  return new Promise((resolve, reject) => {
    readdir(directory, { withFileTypes: true }, (error, entries) =>
      error === null ? resolve(entries) : reject(error),
    );
  });
}
