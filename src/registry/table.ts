/**
 * `pods.json`: loaded whole, replaced whole, with the last good copy beside it. A crash at any
 * instruction leaves the old or the new table, and a lost or damaged file never counts as "no Pods"
 * while Pods live: they are read back from their own directories (W1, W2, W3).
 */
import { linkSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod/v3";
import { errnoCode, ioError, isPodError, messageOf, PodError, remedyOf } from "../base/errors.ts";
import { removeFile, replaceFile } from "../base/files.ts";
import { lazily } from "../base/lazy.ts";
import { identityOf, stateOf } from "../base/process.ts";
import { allocationSchema, isComplete, isRecord } from "./allocation.ts";
import type { Allocations } from "./kinship.ts";
import { refuseHiddenPods, withLivingPods } from "./recovery.ts";

/** Version of the file's meaning; a table without it was written by another program. */
const VERSION = 1;

/** Longest table, about 100,000 Pods: what is longer is not read, and so cannot exhaust the memory. */
const MAX_TABLE_BYTES = 64 * 1024 * 1024;

/** A loaded table; `rest` are top-level keys of newer versions, written back unchanged. */
interface Table {
  readonly allocations: Allocations;
  readonly rest: Readonly<Record<string, unknown>>;
  /** What had to be mended while loading, one sentence each, for the log. */
  readonly repairs: readonly string[];
  /** True when the file on disk differs from what was loaded, so that it must be written. */
  readonly mended: boolean;
}

/** The registry's files below a runtime base. */
export function tablePaths(base: string) {
  return {
    file: join(base, "pods.json"),
    backup: join(base, "pods.json.bak"),
    lock: join(base, "pods.lock"),
  };
}

type Unknown = Record<string, unknown>;

/** What the bytes of a table turned out to be. */
type Parsed =
  | {
      readonly kind: "ours" | "unversioned";
      readonly allocations: Allocations;
      readonly rest: Unknown;
      /** The allocations are as this program wrote them. */
      readonly intact: boolean;
    }
  | { readonly kind: "other version"; readonly version: number }
  | { readonly kind: "missing" | "empty" }
  | { readonly kind: "bad"; readonly why: string };

const allocationsSchema = lazily(() => z.array(allocationSchema()).default([]));

/** Where the allocations begin in a text that we wrote; inside strings there are no line feeds. */
const ALLOCATIONS_KEY = '\n  "allocations": ';

/** Tells a table that somebody edited from one that is as it was written; it keeps no secret. */
function checksumOf(text: string): string {
  return Bun.hash(text).toString(16);
}

/** The file's text: pretty JSON (spec 2.1), with the checksum of all from the allocations on. */
function textOf({ allocations, rest }: Pick<Table, "allocations" | "rest">): string {
  const tail = JSON.stringify({ allocations }, null, 2).slice(1);
  const head = JSON.stringify({ ...rest, version: VERSION, checksum: checksumOf(tail) }, null, 2);
  return `${head.slice(0, -2)},${tail}`;
}

function readTable(path: string): Parsed {
  const info = statSync(path, { throwIfNoEntry: false });
  // A pipe would be waited for.
  if (info?.isFile() === false) return { kind: "bad", why: "is not a regular file" };
  if (info !== undefined && info.size > MAX_TABLE_BYTES) {
    return { kind: "bad", why: `is no table: ${info.size} bytes, the limit is ${MAX_TABLE_BYTES}` };
  }
  const bytes = readBytes(path);
  if (bytes === undefined) return { kind: "missing" };
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (text.trim() === "") return { kind: "empty" };
    value = JSON.parse(text);
  } catch (error) {
    return { kind: "bad", why: `cannot be parsed: ${messageOf(error)}` };
  }
  if (!isRecord(value)) return { kind: "bad", why: "has wrong content: not an object" };
  const { version, checksum, allocations: entries, ...rest } = value;
  // Before the shape, which another version may have changed; with nobody in it, it is free to take.
  if (typeof version === "number" && version !== VERSION) {
    const empty = Array.isArray(entries) && entries.length === 0;
    return empty ? { kind: "empty" } : { kind: "other version", version };
  }
  const kind = version === VERSION ? "ours" : "unversioned";
  const start = text.indexOf(ALLOCATIONS_KEY);
  const intact = start >= 0 && checksum === checksumOf(text.slice(start));
  if (Array.isArray(entries) && entries.every(isComplete)) {
    return { kind, allocations: entries, rest, intact };
  }
  const parsed = allocationsSchema().safeParse(entries);
  if (parsed.success) return { kind, allocations: parsed.data, rest, intact };
  const issue = parsed.error.issues[0];
  const where = ["allocations", ...(issue?.path ?? [])].join(".");
  return { kind: "bad", why: `has wrong content at ${where}: ${issue?.message ?? ""}` };
}

function readBytes(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw ioError("I/O error on pods.json", error);
  }
}

/** What a table file is, for people: with the entries it holds, or why it cannot be used. */
export interface Inspection {
  readonly kind: Parsed["kind"] | "unreadable";
  readonly allocations: Allocations;
  /** One phrase for what is wrong; empty when nothing is. */
  readonly why: string;
}

/** Looks at the table (or the `backup`) without the lock, mends nothing and never throws. */
export function inspectTable(base: string, which: "file" | "backup" = "file"): Inspection {
  try {
    const parsed = readTable(tablePaths(base)[which]);
    if (parsed.kind === "bad") return { kind: "bad", allocations: [], why: parsed.why };
    if (parsed.kind === "other version") {
      return { kind: parsed.kind, allocations: [], why: `is of version ${parsed.version}` };
    }
    if (parsed.kind === "ours") {
      return { ...parsed, why: parsed.intact ? "" : "was changed by hand or by another program" };
    }
    if (parsed.kind !== "unversioned") return { kind: parsed.kind, allocations: [], why: "" };
    return { ...parsed, why: "was written by another program: it has no version" };
  } catch (error) {
    return { kind: "unreadable", allocations: [], why: messageOf(error) };
  }
}

/** Loads the table without the lock and without mending anything: a snapshot for readers. */
export function peekTable(base: string): Allocations {
  const parsed = readTable(tablePaths(base).file);
  return parsed.kind === "ours" ? parsed.allocations : [];
}

/**
 * Loads the table under the lock, mending what can be mended. `now` names set-aside files. Throws
 * `registry_foreign` for a table that is not ours to touch, `registry_corrupt` when a live Pod's
 * region cannot be learnt, and `io`.
 */
export function loadTable(base: string, now: number): Table {
  try {
    const { file } = tablePaths(base);
    const parsed = readTable(file);
    if (parsed.kind === "ours" && parsed.intact) {
      return { allocations: parsed.allocations, rest: parsed.rest, repairs: [], mended: false };
    }
    if (parsed.kind === "other version") throw otherVersion(file, parsed.version);
    if (parsed.kind === "unversioned") refuseLivingStrangers(file, parsed.allocations);
    return recover(base, parsed, now);
  } catch (error) {
    throw isPodError(error) ? error : ioError("I/O error on pods.json", error);
  }
}

/** The table from the last good copy and from the Pods that live. */
function recover(base: string, parsed: Parsed, now: number): Table {
  const { file, backup } = tablePaths(base);
  const repairs: string[] = [];
  if (parsed.kind === "bad") {
    const aside = `${file}.corrupt-${now}`;
    renameSync(file, aside);
    repairs.push(`${file} ${parsed.why}; it was moved to ${aside}`);
  }
  if (parsed.kind === "ours") {
    repairs.push(`${file} was changed by hand or by another program; live pods say what they hold`);
  }
  const copy = lastGood(parsed, backup);
  if (copy !== parsed && copy !== NOTHING) repairs.push(`the last good copy ${backup} is used`);
  const { table, found } = withLivingPods(base, copy.allocations);
  refuseHiddenPods(base, table);
  if (found.length > 0) repairs.push(`allocations of live pods read back: ${found.join(", ")}`);
  return { allocations: table, rest: copy.rest, repairs, mended: repairs.length > 0 };
}

const NOTHING = { allocations: [], rest: {} };

/** What is known beside what the live Pods say: an edited table, else the copy of a lost one. */
function lastGood(parsed: Parsed, backup: string): Pick<Table, "allocations" | "rest"> {
  if (parsed.kind === "ours") return parsed;
  // Another program's table has no copy of ours behind it.
  const saved = parsed.kind === "unversioned" ? undefined : readTable(backup);
  return saved?.kind === "ours" ? saved : NOTHING;
}

/** A table without a version is only replaced when nobody of it lives any more (W1, design 2). */
function refuseLivingStrangers(file: string, allocations: Allocations): void {
  const host = identityOf(process.pid);
  const live = allocations.find(({ pid }) => stateOf({ ...host, pid, start: null }) !== "dead");
  if (live === undefined) return;
  throw foreign(file, `its pod \`${live.pod_name}\` (pid ${live.pid}) is alive`);
}

function otherVersion(file: string, version: number): PodError {
  return new PodError(
    "registry_foreign",
    `${file} is of version ${version} and this program writes version ${VERSION}; if none of its ` +
      `pods lives any more, move it away (mv ${file} ${file}.old), or use that version of pod`,
  );
}

function foreign(file: string, detail: string): PodError {
  return new PodError(
    "registry_foreign",
    `${file} was written by another program (${detail}); end its pods first, or set ` +
      "INSOMNIA_RUNTIME_DIR to a directory of its own",
  );
}

/**
 * Replaces the table on disk, keeping the previous one as the backup. On any error the old content
 * is still in place and the error says which file and why.
 */
export function saveTable(base: string, table: Pick<Table, "allocations" | "rest">): void {
  const { file } = tablePaths(base);
  try {
    keepBackup(base);
    replaceFile(file, textOf(table), { durable: true });
  } catch (error) {
    const errno = errnoCode(error);
    throw new PodError(
      "io",
      `I/O error on pods.json: ${messageOf(error)} (${file})${remedyOf(error)}`,
      {
        cause: error,
        ...(errno === undefined ? {} : { data: { errno } }),
      },
    );
  }
}

/** Makes the present file the backup in one step; without a present file the old backup stays. */
function keepBackup(base: string): void {
  const { file, backup } = tablePaths(base);
  const link = `${backup}.tmp`;
  removeFile(link);
  try {
    linkSync(file, link);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return;
    throw error;
  }
  try {
    renameSync(link, backup);
  } finally {
    // After a failure; and rename(2) does nothing when both names are the same file already.
    removeFile(link);
  }
}
