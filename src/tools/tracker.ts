/**
 * Read before edit (spec worker-and-tools 3.3): a tool changes an existing file only when the model
 * has seen exactly its present bytes. Compares content, never times; keyed by canonical path, so a
 * link and its target are one file. Lives as long as the Pod process, and forgets with it.
 */
import { fileError } from "./file-errors.ts";

const MAX_RECENT = 20;
/** Files that are remembered (10 MB at most); a forgotten one must be read again before it is changed. */
export const MAX_SEEN = 20_000;

/** What this Pod has read or written. Shared by Read, Write and Edit. */
export class FileTracker {
  /** The one that was read longest ago is first. */
  readonly #seen = new Map<string, string>();
  #recent: readonly string[] = [];

  /** Notes that the model now knows these bytes as the whole content of the file. */
  record(canonical: string, bytes: Uint8Array): void {
    this.#seen.delete(canonical);
    this.#seen.set(canonical, digestOf(bytes));
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > MAX_SEEN && oldest !== undefined) this.#seen.delete(oldest);
    const others = this.#recent.filter((path) => path !== canonical);
    this.#recent = [canonical, ...others].slice(0, MAX_RECENT);
  }

  /** Throws "not read" or "modified externally" unless `bytes` are what was recorded last. */
  assertSeen(path: string, canonical: string, bytes: Uint8Array): void {
    const seen = this.#seen.get(canonical);
    if (seen === undefined) throw fileError.notRead(path);
    if (seen !== digestOf(bytes)) throw fileError.changed(path);
  }

  /** Canonical paths, most recent first, each once, at most 20. */
  recent(): readonly string[] {
    return this.#recent;
  }
}

function digestOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}
