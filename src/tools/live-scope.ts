/**
 * The one live scope of a Pod. Its layers stay apart: what the Pod was given (base), what it added
 * for its own needs (internal reads), what its children hold now (delegated). The delegated layer is
 * replaced as a whole, never patched (W32); stored targets are never resolved again (W26).
 */
import { PodError } from "../base/errors.ts";
import type { ScopeRule } from "../scope/rule.ts";
import {
  type Access,
  accessTo,
  delegatedDenies,
  overlaps,
  type Scope,
  writeDenied,
  writeRules,
} from "../scope/set.ts";

/**
 * A process that writes under the scope as it was when it started, such as a shell command: nothing
 * that it may write can be handed away while it runs.
 */
interface OutsideWriter {
  /** What it may write at most. */
  readonly scope: Scope;
  /** What it is, for messages. */
  readonly label: string;
  /** It ends when it is told to, not by itself after a while: nobody waits for it. */
  readonly lasting: boolean;
  /** Resolves with its end; false when something of it may still write. */
  readonly ended: Promise<boolean>;
}

/** Scope shared by every tool of a Pod. A change holds from the next check on; snapshots keep theirs. */
export class LiveScope {
  readonly #base: Scope;
  #reads: readonly ScopeRule[] = [];
  #delegated: readonly ScopeRule[] = [];
  #snapshot: Scope;
  #last: Promise<void> = Promise.resolve();
  readonly #writers = new Set<OutsideWriter>();

  /** `base` must hold canonical targets (`buildScope`); they are taken as they are. */
  constructor(base: Scope) {
    this.#base = base;
    this.#snapshot = base;
  }

  /** One deny-write rule for each write rule of every direct child. */
  get delegated(): readonly ScopeRule[] {
    return this.#delegated;
  }

  /**
   * Replaces the delegated layer by the write rules among `grants` (all rules of all direct children,
   * recomputed from the registry). Call it inside `exclusive` when the set grows (W47).
   */
  setDelegated(grants: readonly ScopeRule[]): void {
    this.#delegated = delegatedDenies(grants);
    this.#rebuild();
  }

  /** Lets the tools read a place of our own, such as Bash's output directory. A deny rule still wins. */
  addRead(rule: ScopeRule): void {
    if (rule.permission !== "read") {
      throw new PodError("internal", `internal scope rule must be a read rule: ${rule.target}`);
    }
    this.#reads = [...this.#reads, rule];
    this.#rebuild();
  }

  /** What is permitted now; later changes do not touch the returned value. */
  current(): Scope {
    return this.#snapshot;
  }

  /** What the Pod was given and will not lose while it lives. */
  given(): Scope {
    return this.#base;
  }

  /** What is the Pod's own now: `current` without the places that the program added for itself. */
  own(): Scope {
    return { allow: this.#base.allow, deny: this.#snapshot.deny };
  }

  /** Permission of a canonical path now. */
  accessTo(canonicalPath: string): Access {
    return accessTo(this.#snapshot, canonicalPath);
  }

  /**
   * Runs `task` alone, in order of arrival. Every file write runs under it, from check to rename, and
   * a spawner reserves under it: so no write is in flight while a region is handed away (W47). Not
   * reentrant; the task must end by itself, because the next one waits for it.
   */
  async exclusive<Value>(task: () => Promise<Value>): Promise<Value> {
    const previous = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await previous;
    try {
      return await task();
    } finally {
      resolve();
    }
  }

  /**
   * Notes a process that writes under the scope of this moment. Take the scope and call this in one
   * `exclusive` task, or a delegation may come between.
   */
  addWriter(writer: OutsideWriter): void {
    this.#writers.add(writer);
    void writer.ended.then((over) => over && this.#writers.delete(writer));
  }

  /** The processes that may write somewhere in the region of one of the write rules among `rules`. */
  writersIn(rules: readonly ScopeRule[]): OutsideWriter[] {
    return [...this.#writers].filter(({ scope }) =>
      writeRules(rules).some((wanted) =>
        writeRules(scope.allow).some(
          (held) => overlaps(held, wanted) && !writeDenied(scope.deny, held, wanted),
        ),
      ),
    );
  }

  #rebuild(): void {
    this.#snapshot = {
      allow: [...this.#base.allow, ...this.#reads],
      deny: [...this.#base.deny, ...this.#delegated],
    };
  }
}
