/**
 * A spawner's record of its children, and the one place that turns the registry into what the
 * spawner may still write: the delegated-out layer is recomputed from the direct children, never
 * patched (W32), and a child leaves the record only on proof of death. Descendants that children
 * reported are kept as read-only views (W54).
 */
import { replaceFile } from "../base/files.ts";
import { log } from "../base/log.ts";
import { readMounts } from "../base/mounts.ts";
import { type ProcessIdentity, stateOf } from "../base/process.ts";
import { type Allocation, isReservation, ownerOf } from "../registry/allocation.ts";
import { childrenOf, findByName, type Allocations } from "../registry/kinship.ts";
import { aliasesOf } from "../scope/aliases.ts";
import type { ScopeRule } from "../scope/rule.ts";
import { writeRules } from "../scope/set.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import type { ExitInfo } from "./launch.ts";

/** What the spawner believes a child is doing; the child's own status is asked when it matters. */
type ChildPhase = "starting" | "running" | "idle" | "ended";

/** One child, or one descendant reported by a child. */
export interface ChildRecord {
  readonly name: string;
  readonly instance: string;
  readonly socket: string;
  readonly scope: readonly ScopeRule[];
  /** Socket to which the Pod reports: ours for a direct child. */
  readonly callback: string;
  readonly direct: boolean;
  /** The process of this run; never that of a reservation, which is its spawner's. */
  readonly owner: ProcessIdentity;
  /** The kernel's report of the end, for processes that we started. */
  readonly exited: Promise<ExitInfo> | undefined;
  phase: ChildPhase;
  /** Set while this Pod is ending it itself: its end is then no news. */
  stopping: boolean;
  /** Position of ReadPodOutput: last item read, and characters of the next one already read. */
  cursor: { readonly item: string | undefined; readonly offset: number };
  /** The last message whose acceptance was not heard, with the key under which it may go again. */
  unconfirmed?: { readonly message: string; readonly key: string } | undefined;
}

/** Ended children that are still listed; the oldest go first. */
const MAX_ENDED = 64;

/** The spawner's own identity. */
export interface Spawner {
  readonly name: string;
  readonly instance: string;
  readonly socket: string;
}

/** Table of children of one Pod. */
export class Children {
  readonly #self: Spawner;
  readonly #file: string;
  readonly #scope: LiveScope;
  readonly #records = new Map<string, ChildRecord>();
  #closed = false;

  constructor(self: Spawner, file: string, scope: LiveScope) {
    this.#self = self;
    this.#file = file;
    this.#scope = scope;
  }

  /** All records in the order in which they came. */
  list(): ChildRecord[] {
    return [...this.#records.values()];
  }

  get(name: string): ChildRecord | undefined {
    return this.#records.get(name);
  }

  /** The record of exactly this run of the name. */
  find(name: string, instance: string | undefined): ChildRecord | undefined {
    const record = this.#records.get(name);
    return record !== undefined && record.instance === instance ? record : undefined;
  }

  /** Adds a record; one of an earlier run of the name is replaced (W18). */
  add(record: ChildRecord): void {
    this.#records.delete(record.name);
    this.#records.set(record.name, record);
    this.#save();
  }

  /** Removes the record of this run; a no-op for any other. */
  remove(record: ChildRecord): void {
    if (this.#records.get(record.name) !== record) return;
    this.#records.delete(record.name);
    this.#save();
  }

  /** Marks a run as ended; it stays listed until it was shown once or the name is used again. */
  end(record: ChildRecord): void {
    record.phase = "ended";
    const ended = this.list().filter((other) => other.phase === "ended");
    for (const old of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) {
      this.#records.delete(old.name);
    }
    this.#save();
  }

  /**
   * Takes over what the registry says: the delegated-out layer, children that became ours, and views
   * whose Pods are gone. `table` must be fresher than anything passed before. Returns the children
   * that became ours because their parent died.
   */
  apply(table: Allocations): ChildRecord[] {
    const own = childrenOf(table, this.#self.name);
    const lent = writeRules(own.flatMap((entry) => entry.scope_allow));
    // Under every name: a bind mount must not be a way into what was given away (W31).
    const mounts = lent.length === 0 ? undefined : readMounts();
    const aliases = mounts === undefined ? [] : lent.flatMap((rule) => aliasesOf(rule, mounts));
    this.#scope.setDelegated([...lent, ...aliases]);
    const adopted: ChildRecord[] = [];
    let pruned = false;
    for (const entry of own) {
      const known = this.find(entry.pod_name, entry.instance);
      if (isReservation(entry) || known?.direct === true) continue;
      const record = recordOf(entry, this.#self.socket, true);
      if (known !== undefined) record.cursor = known.cursor;
      this.#records.set(record.name, record);
      adopted.push(record);
    }
    for (const record of this.list()) {
      if (record.phase === "ended") continue;
      const entry = findByName(table, record.name);
      if (record.direct) {
        // Back with the child that had spawned it: from now on only a view.
        const { delegated_from } = entry ?? { delegated_from: null };
        const isOthers = delegated_from !== null && delegated_from !== this.#self.name;
        if (entry?.instance !== record.instance || !isOthers) continue;
        this.#records.set(record.name, { ...record, direct: false, exited: undefined });
        pruned = true;
        continue;
      }
      if (entry?.instance === record.instance) continue;
      this.#records.delete(record.name);
      pruned = true;
    }
    if (pruned || adopted.length > 0) this.#save();
    return adopted;
  }

  /** Nothing is written any more: the Pod is leaving, and its directory with it. */
  close(): void {
    this.#closed = true;
  }

  /**
   * Writes `spawned_pods.json` (spec 5.6); ended children are not in it. The file only shows others
   * what the registry and this table know: a disk that is full, or a directory that goes because
   * this Pod is leaving, must not stop a spawn, an undo or a give-back half way (W41).
   */
  #save(): void {
    if (this.#closed) return;
    const listed = this.list()
      .filter((record) => record.phase !== "ended")
      .map((record) => ({
        pod_name: record.name,
        socket_path: record.socket,
        scope_delegated: record.scope,
        callback_address: record.callback,
        instance: record.instance,
      }));
    try {
      const temporary = this.#file.replace(/\.json$/, ".tmp");
      replaceFile(this.#file, JSON.stringify(listed, null, 2), { temporary });
    } catch (error) {
      log("warn", `cannot write ${this.#file}`, error);
    }
  }
}

/**
 * True when this run of the name is over: whoever listens at its socket now is a stranger, who must
 * hear nothing that was meant for it and be shown to nobody in its place (I2).
 */
export function hasEnded(record: ChildRecord): boolean {
  return record.phase === "ended" || stateOf(record.owner) === "dead";
}

/** A record made from a registry entry, for a Pod that this process did not start. */
export function recordOf(entry: Allocation, callback: string, direct: boolean): ChildRecord {
  return {
    name: entry.pod_name,
    instance: entry.instance,
    socket: entry.socket,
    scope: entry.scope_allow,
    callback,
    direct,
    owner: ownerOf(entry),
    exited: undefined,
    phase: "running",
    stopping: false,
    cursor: { item: undefined, offset: 0 },
  };
}
