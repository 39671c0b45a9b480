/**
 * What a person may have meant by the beginning of a file's name: the entries of one directory that
 * the Pod may read (spec protocol 6.3). Asynchronous, and bounded in what it looks at, so that a huge
 * directory never holds a Pod up (W35).
 */
import { opendir } from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import type { Event } from "../protocol/event.ts";
import { canonicalPath } from "../scope/rule.ts";

type Completions = Extract<Event, { event: "completions" }>["data"];
export type CompletionKind = Completions["kind"];
export type CompletionEntry = Completions["entries"][number];

/** Entries in one answer. */
export const MAX_COMPLETIONS = 100;
/** Entries of a directory that are looked at; of a larger one only the first so many count. */
const MAX_LOOKED_AT = 20_000;
/** Checks between two chances for other work. */
const CHECKS_AT_ONCE = 50;

/** Where completions are looked for. */
interface CompletionSurroundings {
  readonly cwd: string;
  /** True when the scope lets this canonical path be read. */
  readonly mayRead: (canonicalPath: string) => boolean;
}

/**
 * Entries whose name begins with the last component of `prefix`, directories first, each in byte
 * order, at most `MAX_COMPLETIONS`. Never rejects: a directory that cannot be read has no entries.
 */
export async function completionsOf(
  kind: CompletionKind,
  prefix: string,
  { cwd, mayRead }: CompletionSurroundings,
): Promise<CompletionEntry[]> {
  // There is nothing yet that could resolve the other kinds.
  if (kind !== "file" || prefix.includes("\0")) return [];
  const isWhole = prefix === "" || prefix.endsWith("/");
  const shown = isWhole ? prefix : dirname(prefix);
  const last = isWhole ? "" : basename(prefix);
  const filter = last === "." || last === ".." ? "" : last;
  const where = isAbsolute(shown) ? shown : join(cwd, shown);
  const names = (await entriesOf(where)).filter(({ name }) => name.startsWith(filter));
  const found: CompletionEntry[] = [];
  const all = names
    .map(({ name, isDirectory }) => ({ name, value: join(shown, name), is_dir: isDirectory }))
    .toSorted(inOrder);
  for (const [index, { name, value, is_dir }] of all.entries()) {
    if (found.length === MAX_COMPLETIONS) break;
    if (index % CHECKS_AT_ONCE === CHECKS_AT_ONCE - 1) await otherWork();
    const path = canonicalPath(join(where, name));
    if (path.ok && mayRead(path.path)) found.push({ value, is_dir });
  }
  return found;
}

function inOrder(
  a: { readonly value: string; readonly is_dir: boolean },
  b: { readonly value: string; readonly is_dir: boolean },
): number {
  if (a.is_dir !== b.is_dir) return a.is_dir ? -1 : 1;
  return Buffer.compare(Buffer.from(a.value), Buffer.from(b.value));
}

interface Found {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** The first entries of a directory; none when it cannot be read. */
function entriesOf(directory: string): Promise<Found[]> {
  return new Promise((resolve) => {
    opendir(directory, (failed, dir) => {
      if (failed !== null) return resolve([]);
      const found: Found[] = [];
      const done = (): void => dir.close(() => resolve(found));
      const next = (): void =>
        dir.read((error, entry) => {
          if (error !== null || entry === null || found.length === MAX_LOOKED_AT) return done();
          found.push({ name: entry.name, isDirectory: entry.isDirectory() });
          next();
        });
      next();
    });
  });
}

function otherWork(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
