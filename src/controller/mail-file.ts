/**
 * The file of a mailbox: an append-only file of JSON lines beside a session's log, made with its first
 * line; a torn last line is cut off, a bad one is skipped and said. Knows nothing of what the lines mean
 * but how to write all that still matters anew. A disk that fails costs durability until it works again.
 */
import { closeSync, constants, fstatSync, ftruncateSync, linkSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod/v3";
import { errnoCode, ioError, isPodError, messageOf } from "../base/errors.ts";
import {
  fsyncAsync,
  openRegular,
  removeFile,
  replaceFile,
  syncDirectory,
  writeAll,
} from "../base/files.ts";
import { lazily } from "../base/lazy.ts";
import { podEventSchema } from "../protocol/method.ts";

/** Size at which the file is replaced by what still matters. */
const REWRITE_BYTES = 1024 * 1024;

const lineSchema = lazily(() =>
  z.union([
    z.object({ out: z.string(), event: podEventSchema() }),
    /** Also alone: a report of a run's end that was taken, in a file that was written anew. */
    z.object({ sent: z.string() }),
    z.object({ in: z.string(), text: z.string(), wake: z.boolean() }),
    z.object({ told: z.array(z.string()) }),
    /** A report that needed no notice, or the key of a run: taken, and never again. */
    z.object({ seen: z.string() }),
  ]),
);

/** One line; which key it has says what it tells. */
export type MailLine = z.infer<ReturnType<typeof lineSchema>>;

/** What a mailbox tells about trouble: a file that cannot be written, lines that cannot be read. */
export type MailboxTrouble = (message: string) => void;

/** The file of one session's mailbox. */
export class MailFile {
  #path: string;
  readonly #directory: string;
  readonly #trouble: MailboxTrouble;
  /** All that still matters, for a file that is written anew. */
  readonly #present: () => readonly MailLine[];
  /** The path under which the file was last made sure of. */
  #named: string | undefined;
  #fd: number | undefined;
  /** Bytes of whole lines in the file: what stands behind them is a failed write. */
  #size = 0;
  /** Set while the file lacks something: then it is written anew, whole. */
  #failed = false;
  /** Set while the lines of an earlier process may not be on the disk: that can have been killed before. */
  #unsure = false;
  #closed = false;
  #syncing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** See `Mailbox`; nothing is read before `load`. */
  constructor(
    directory: string,
    session: string,
    trouble: MailboxTrouble,
    present: () => readonly MailLine[],
  ) {
    this.#directory = directory;
    this.#trouble = trouble;
    this.#present = present;
    this.#path = this.#pathOf(session);
  }

  /** The lines of the file, or of the first one that there is of those of `earlier` sessions, which moves. */
  load(session: string, earlier: readonly string[]): MailLine[] {
    for (const name of [session, ...earlier]) {
      const bytes = this.#read(this.#pathOf(name));
      if (bytes === undefined) continue;
      // It stays where it is while something else is in the way.
      const moves = name !== session && !this.#failed;
      if (moves) linkSync(this.#pathOf(name), this.#path);
      const lines = this.#parse(bytes);
      if (moves) removeFile(this.#pathOf(name));
      return lines;
    }
    return [];
  }

  /** Undefined for what is not there, and for what can hold no lines, which is said. */
  #read(path: string): Buffer | undefined {
    let fd: number;
    try {
      fd = openRegular(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      const isOdd = isPodError(error, "io") || errnoCode(error) === "ELOOP";
      if (!isOdd) throw ioError(`cannot open ${path}`, error);
      if (path === this.#path) this.#fail(error);
      else this.#trouble(`cannot read events in ${path}: ${messageOf(error)}`);
      return undefined;
    }
    try {
      return readFileSync(fd);
    } catch (error) {
      throw ioError(`cannot read ${path}`, error);
    } finally {
      closeSync(fd);
    }
  }

  /** Adds a line that tells what was just taken into account; after `close` without effect. */
  append(line: MailLine): void {
    if (this.#closed) return;
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      if (this.#failed || this.#size + bytes.length > REWRITE_BYTES) return this.#rewrite();
      this.#fd ??= this.#open();
      writeAll(this.#fd, bytes);
      this.#size += bytes.length;
    } catch (error) {
      this.#takeBack();
      this.#fail(error);
    }
  }

  /** Resolves when everything so far is on disk, as far as the disk allows; never rejects. */
  async synced(): Promise<void> {
    if (this.#unsure) this.#reopen();
    if (this.#fd === undefined) return;
    // One flush serves all who ask while another one is under way.
    this.#next ??= (this.#syncing ?? Promise.resolve()).then(() => {
      this.#next = undefined;
      this.#syncing = this.#flush().finally(() => (this.#syncing = undefined));
      return this.#syncing;
    });
    await this.#next;
  }

  /** The file is that of another session from now on. */
  follow(session: string): void {
    const path = this.#pathOf(session);
    if (path === this.#path) return;
    try {
      linkSync(this.#path, path);
      removeFile(this.#path);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") this.#fail(error);
    }
    this.#path = path;
  }

  /** Closes the file; one that then `isNeeded` no more is removed. */
  async close(isNeeded: () => boolean): Promise<void> {
    await this.synced();
    this.#closed = true;
    // Somebody may wait for the flush of what came meanwhile.
    await (this.#next ?? this.#syncing);
    await this.#leave();
    if (isNeeded()) return;
    try {
      removeFile(this.#path);
    } catch (error) {
      this.#fail(error);
    }
  }

  #pathOf(session: string): string {
    return join(this.#directory, `${session}.mail`);
  }

  /** What was written of a line that did not fit: another one must not be glued to it. */
  #takeBack(): void {
    if (this.#fd === undefined) return;
    try {
      if (fstatSync(this.#fd).size > this.#size) ftruncateSync(this.#fd, this.#size);
    } catch {
      // Nothing is appended any more before the whole file was replaced.
    }
  }

  #parse(bytes: Buffer): MailLine[] {
    const end = bytes.lastIndexOf("\n") + 1;
    const lines: MailLine[] = [];
    let bad = 0;
    for (const raw of bytes.toString("utf8", 0, end).split("\n")) {
      if (raw === "") continue;
      const line = parseLine(raw);
      if (line === undefined) bad += 1;
      else lines.push(line);
    }
    if (bad > 0) this.#trouble(`${bad} unreadable line(s) in ${this.#path} were skipped`);
    this.#size = end;
    this.#unsure = lines.length > 0;
    if (end === bytes.length) return lines;
    // The last write was cut off by a crash; what follows must not be glued to it.
    try {
      this.#fd = this.#open();
      ftruncateSync(this.#fd, this.#size);
    } catch (error) {
      this.#fail(error);
    }
    return lines;
  }

  #open(): number {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    return openRegular(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW);
  }

  #reopen(): void {
    try {
      this.#fd ??= this.#open();
      this.#unsure = false;
    } catch (error) {
      this.#fail(error);
    }
  }

  #rewrite(): void {
    const text = this.#present()
      .map((line) => `${JSON.stringify(line)}\n`)
      .join("");
    replaceFile(this.#path, text, { durable: true });
    void this.#leave();
    this.#size = Buffer.byteLength(text);
    this.#failed = false;
    this.#unsure = false;
  }

  /**
   * Lets go of the open file. It is closed when no flush is under way, which would reach whatever has its
   * number by then; resolves when it is, and never rejects.
   */
  async #leave(): Promise<void> {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    if (this.#syncing !== undefined) await this.#syncing;
    try {
      closeSync(fd);
    } catch {
      // Nothing hangs on it: it was flushed, or another file is in its place.
    }
  }

  async #flush(): Promise<void> {
    const fd = this.#fd;
    try {
      if (fd !== undefined) {
        await fsyncAsync(fd).catch((error: unknown) => {
          // Of a file that was replaced meanwhile, all that matters is in the new one, and on disk.
          if (fd === this.#fd) throw error;
        });
      }
      // A name that is not on disk is as good as no file (fsync(2)).
      if (this.#named !== this.#path) syncDirectory(this.#directory);
      this.#named = this.#path;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Said once for each time that it goes wrong. */
  #fail(error: unknown): void {
    if (!this.#failed) this.#trouble(`cannot keep events in ${this.#path}: ${messageOf(error)}`);
    this.#failed = true;
  }
}

function parseLine(raw: string): MailLine | undefined {
  try {
    return lineSchema().parse(JSON.parse(raw));
  } catch {
    return undefined;
  }
}
