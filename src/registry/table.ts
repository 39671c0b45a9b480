/**
 * `pods.json`: loaded whole, replaced whole, with the last good copy beside it. A crash at any
 * instruction leaves the old or the new table, and a lost or damaged file never counts as "no Pods"
 * while Pods live: they are read back from their own directories (W1, W2, W3).
 */
import { linkSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod/v3";
import { errnoCode, messageOf, PodError } from "../base/errors.ts";
import { readIfExists, removeFile, replaceFile } from "../base/files.ts";
import { isPodName, podPaths } from "../base/paths.ts";
import { identityOf, stateOf } from "../base/process.ts";
import { type Allocation, AllocationSchema } from "./allocation.ts";
import { lifeState } from "./life.ts";
import type { Allocations } from "./operations.ts";

/** Version of the file's meaning; a table without it was written by another program. */
const VERSION = 1;

const TableSchema = z
  .object({
    version: z.number().int().optional(),
    allocations: z.array(AllocationSchema).default([]),
  })
  .passthrough();

/** A loaded table; `rest` are top-level keys of newer versions, written back unchanged. */
export interface Table {
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

type Parsed =
  | { readonly ok: true; readonly value: z.infer<typeof TableSchema> }
  | { readonly ok: false; readonly why: string };

function parseTable(bytes: Uint8Array): Parsed {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (text.trim() === "") return { ok: false, why: "is empty" };
    const parsed = TableSchema.safeParse(JSON.parse(text));
    if (parsed.success) return { ok: true, value: parsed.data };
    const issue = parsed.error.issues[0];
    return {
      ok: false,
      why: `has wrong content at ${issue?.path.join(".") ?? "?"}: ${issue?.message ?? ""}`,
    };
  } catch (error) {
    return { ok: false, why: `cannot be parsed: ${messageOf(error)}` };
  }
}

function readBytes(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw new PodError("io", `I/O error on pods.json: ${messageOf(error)}`, { cause: error });
  }
}

/** Loads the table without the lock and without mending anything: a snapshot for readers. */
export function peekTable(base: string): Allocations {
  const bytes = readBytes(tablePaths(base).file);
  const parsed = bytes === undefined ? undefined : parseTable(bytes);
  return parsed?.ok === true && parsed.value.version === VERSION ? parsed.value.allocations : [];
}

/** Loads the table under the lock, mending what can be mended. `now` names set-aside files. */
export function loadTable(base: string, now: number): Table {
  const { file, backup } = tablePaths(base);
  const bytes = readBytes(file);
  const parsed = bytes === undefined ? undefined : parseTable(bytes);
  if (parsed?.ok === true) {
    const { version, allocations, ...rest } = parsed.value;
    if (version === VERSION) return { allocations, rest, repairs: [], mended: false };
    refuseForeign(file, version, allocations);
  }
  const repairs: string[] = [];
  let allocations: Allocations = [];
  let rest: Record<string, unknown> = {};
  if (parsed !== undefined && !parsed.ok && (bytes?.length ?? 0) > 0) {
    const aside = `${file}.corrupt-${now}`;
    renameSync(file, aside);
    repairs.push(`${file} ${parsed.why}; it was moved to ${aside}`);
  }
  const saved = readBytes(backup);
  const good = saved === undefined ? undefined : parseTable(saved);
  if (parsed?.ok !== true && good?.ok === true && good.value.version === VERSION) {
    ({ allocations, ...rest } = good.value);
    repairs.push(`the last good copy ${backup} is used`);
  }
  const living = livingAllocations(base, allocations);
  if (living.length > 0) {
    repairs.push(`allocations of live pods read back: ${living.map((e) => e.pod_name).join(", ")}`);
    allocations = [...allocations, ...living];
  }
  const { version: _, allocations: __, ...unknown } = rest;
  return { allocations, rest: unknown, repairs, mended: repairs.length > 0 };
}

/** Allocations of Pods that hold their life lock but are missing from `known`, from their directories. */
function livingAllocations(base: string, known: Allocations): Allocation[] {
  const found: Allocation[] = [];
  for (const name of readdirSync(base)) {
    if (!isPodName(name) || known.some((entry) => entry.pod_name === name)) continue;
    if (lifeState(base, name) !== "held") continue;
    const text = readIfExists(podPaths(base, name).allocation);
    if (text === undefined) continue; // reserved or starting: it will fail to adopt and say so
    const parsed = AllocationSchema.safeParse(JSON.parse(text));
    if (parsed.success && parsed.data.pod_name === name) found.push(parsed.data);
    else {
      throw new PodError(
        "registry_corrupt",
        `pods.json is lost and ${podPaths(base, name).allocation} of live pod \`${name}\` cannot be ` +
          `read; stop it (kill ${readIfExists(podPaths(base, name).pid) ?? "its process"}) and retry`,
      );
    }
  }
  return found;
}

/** A table of another program is only replaced when nobody of it lives any more (W1, design 2). */
function refuseForeign(file: string, version: number | undefined, allocations: Allocations): void {
  const host = identityOf(process.pid);
  const live = allocations.find(
    (entry) => stateOf({ ...host, pid: entry.pid, start: null }) !== "dead",
  );
  if (live === undefined && (version === undefined || allocations.length === 0)) return;
  throw new PodError(
    "registry_foreign",
    `${file} was written by another program${version === undefined ? "" : ` (version ${version})`}` +
      `${live === undefined ? "" : ` whose pod \`${live.pod_name}\` (pid ${live.pid}) is alive`}; ` +
      "end its pods first, or set INSOMNIA_RUNTIME_DIR to a directory of its own",
  );
}

/**
 * Replaces the table on disk, keeping the previous one as the backup. On any error the old content
 * is still in place and the error says which file and why.
 */
export function saveTable(base: string, table: Pick<Table, "allocations" | "rest">): void {
  const { file, backup } = tablePaths(base);
  const content = { ...table.rest, version: VERSION, allocations: table.allocations };
  try {
    removeFile(backup);
    try {
      linkSync(file, backup); // the old content stays reachable under both names
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") throw error;
    }
    replaceFile(file, JSON.stringify(content, null, 2), { durable: true });
  } catch (error) {
    throw new PodError("io", `I/O error on pods.json: ${messageOf(error)} (${file})`, {
      cause: error,
    });
  }
}
