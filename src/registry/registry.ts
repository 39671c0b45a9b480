/**
 * The machine-wide referee: who lives, who may write where. Every operation runs whole under one
 * lock (load, reclaim the dead, check, save), so that no two live Pods can hold one path (I1).
 */
import { readdirSync, statSync } from "node:fs";
import { log } from "../base/log.ts";
import { messageOf } from "../base/errors.ts";
import { ensurePrivateDirectory, isPodName, pathExists, podPaths } from "../base/paths.ts";
import { readMounts } from "../base/mounts.ts";
import { identityOf } from "../base/process.ts";
import type { Names } from "../scope/aliases.ts";
import type { ScopeRule } from "../scope/rule.ts";
import type { Scope } from "../scope/set.ts";
import { type Allocation, identityKeys } from "./allocation.ts";
import { removeIfEmpty, sweepGone, takeLifeIfPresent } from "./life.ts";
import { isDead, isPlainlyDead } from "./liveness.ts";
import { LOCK_WAIT_MS, RegistryLock } from "./lock.ts";
import * as operations from "./operations.ts";
import { keepOwnRecord, withLostPods } from "./recovery.ts";
import { loadTable, peekTable, saveTable, tablePaths } from "./table.ts";

/** How long a reservation may stay unadopted beyond the spawner's own wait (W38). */
const RESERVATION_SLACK_MS = 50_000;

/**
 * Entries whose death is looked into whole at every operation (13 µs each). In a longer table only
 * the cheap half is done, and the rest for those who are in the way of a request.
 */
const MAX_PROOFS = 100;

/** So often the dead who are in the way are taken out one after the other, before all are looked at. */
const MAX_LOOKS = 4;

/** Identity of a Pod in the registry: the name, and which run of the name. */
export interface PodId {
  readonly name: string;
  readonly instance: string;
}

/** What an operation found and left behind. */
export interface Outcome<Value> {
  readonly value: Value;
  /** The table after the operation. */
  readonly table: operations.Allocations;
  /** Allocations that were found dead and removed on the way. */
  readonly reclaimed: readonly Allocation[];
}

/** One reservation that is wanted. */
export interface DelegationRequest {
  readonly child: PodId;
  readonly rules: readonly ScopeRule[];
}

/** What became of it; `why` is what `delegate` would throw. */
export type DelegationResult =
  | { readonly granted: true; readonly entry: Allocation }
  | { readonly granted: false; readonly why: unknown };

/** How far a tree may grow, and how long the child may take to come up. */
export type DelegationLimits = operations.TreeLimits & { readonly readyTimeoutMs: number };

/** What an operation makes of the table. */
interface Change<Value> {
  readonly table: operations.Allocations;
  readonly value: Value;
  /** Entries that are noted in their Pods' directories, too, because who they are has changed. */
  readonly noted?: readonly Allocation[];
  /** Why parts of it were refused, when it was not refused as a whole. */
  readonly refusals?: readonly unknown[];
}
type Operation<Value> = (table: operations.Allocations) => Change<Value>;

/** How closely an operation looks before it decides. */
interface Look {
  /** Looks into every entry's death, however long the table is. */
  readonly thorough?: boolean;
  /** Looks for live Pods that somebody removed from the table, but those that enter. */
  readonly lost?: { readonly except?: readonly string[] };
}

/** A change, or why there is none, with the dead that were found on the way. */
type Decision<Value> = { readonly reclaimed: readonly Allocation[] } & (
  | (Change<Value> & { readonly refused: false })
  | { readonly refused: true; readonly table: operations.Allocations; readonly why: unknown }
);

/** Operations on the registry below one runtime base. Stateless between calls; share one per process. */
export class Registry {
  readonly base: string;
  readonly #lock: RegistryLock;

  constructor(base: string, waitMs: number = LOCK_WAIT_MS) {
    ensurePrivateDirectory(base);
    this.base = base;
    this.#lock = new RegistryLock(tablePaths(base).lock, waitMs);
  }

  /** Adds a root Pod owned by this process. Throws on a taken name, session or write region. */
  async register(self: PodId, scope: Scope, session: string): Promise<Outcome<Allocation>> {
    const entering = { lost: { except: [self.name] } };
    return await this.#change((table) => {
      const entry = this.#entry(self, scope.allow, {
        scope_deny: [...scope.deny],
        session_id: session,
      });
      const next = operations.register(table, entry, namesNow());
      const before = new Set(table);
      return { table: next, value: entry, noted: next.filter((other) => !before.has(other)) };
    }, entering);
  }

  /** Reserves `rules` of the spawner for a child that is about to be started by this process. */
  async delegate(
    spawner: PodId,
    child: PodId,
    rules: readonly ScopeRule[],
    options: DelegationLimits,
  ): Promise<Outcome<Allocation>> {
    const outcome = await this.delegateAll(spawner, [{ child, rules }], options);
    const [result] = outcome.value;
    if (result?.granted !== true) throw result?.why;
    return { ...outcome, value: result.entry };
  }

  /**
   * Reserves for several children of the spawner in one operation. Each is granted or refused for
   * itself, in this order, as if they had come one after the other; the results are in this order.
   */
  async delegateAll(
    spawner: PodId,
    requests: readonly DelegationRequest[],
    options: DelegationLimits,
  ): Promise<Outcome<readonly DelegationResult[]>> {
    const entering = { lost: { except: requests.map(({ child }) => child.name) } };
    return await this.#change((before) => {
      let table = before;
      const names = namesNow();
      const expires_at = Date.now() + options.readyTimeoutMs + RESERVATION_SLACK_MS;
      const value = requests.map(({ child, rules }): DelegationResult => {
        try {
          const reservation = this.#entry(child, rules, { expires_at });
          const delegated = operations.delegate(table, spawner, reservation, options, names);
          table = delegated.table;
          return { granted: true, entry: delegated.entry };
        } catch (why) {
          return { granted: false, why };
        }
      });
      const refusals = value.flatMap((result) => (result.granted ? [] : [result.why]));
      return { table, value, refusals };
    }, entering);
  }

  /** Takes over the reservation made for this process. */
  async adopt(self: PodId, session: string): Promise<Outcome<Allocation>> {
    return await this.#change((table) => {
      const owner = identityKeys(identityOf(process.pid));
      const { table: next, entry } = operations.adopt(
        table,
        self.name,
        self.instance,
        owner,
        session,
      );
      return { table: next, value: entry, noted: [entry] };
    });
  }

  /** Removes an allocation; a no-op when the name is free or belongs to another instance. */
  async release(pod: PodId): Promise<Outcome<void>> {
    return await this.#change((table) => ({
      table: operations.release(table, pod.name, pod.instance),
      value: undefined,
    }));
  }

  /** Notes the session a Pod writes from now on. */
  async updateSession(self: PodId, session: string): Promise<Outcome<void>> {
    return await this.#change((table) => {
      const next = operations.updateSession(table, self.name, self.instance, session);
      const own = operations.findByName(next, self.name);
      return { table: next, value: undefined, noted: own === undefined ? [] : [own] };
    });
  }

  /** The live Pods, after removing dead ones and finding those that the table had lost. */
  async reclaim(): Promise<Outcome<void>> {
    const look = { thorough: true, lost: {} };
    return await this.#change((table) => {
      this.#sweepAbandoned(table);
      return { table, value: undefined };
    }, look);
  }

  /**
   * Removes directories of Pods that died before they were registered: no entry, and a free lock or
   * nothing at all in them.
   */
  #sweepAbandoned(table: operations.Allocations): void {
    for (const name of readdirSync(this.base)) {
      if (!isPodName(name) || operations.findByName(table, name) !== undefined) continue;
      try {
        // Without a lock and with something in it, it was not made by a Pod.
        if (pathExists(podPaths(this.base, name).lock)) {
          takeLifeIfPresent(this.base, name)?.removeDirectory();
        } else removeIfEmpty(this.base, name);
      } catch (error) {
        log("warn", `could not remove what a pod \`${name}\` left`, messageOf(error));
      }
    }
  }

  /** The live holder of a session, if any. */
  async lookupSession(session: string): Promise<Allocation | undefined> {
    const { table } = await this.reclaim();
    return table.find((entry) => entry.session_id === session);
  }

  /** The table as it stands on disk, without lock or reclaim; may name Pods that just died. */
  peek(): operations.Allocations {
    return peekTable(this.base);
  }

  #entry(pod: PodId, allow: readonly ScopeRule[], more: Partial<Allocation>): Allocation {
    return {
      pod_name: pod.name,
      ...identityKeys(identityOf(process.pid)),
      socket: podPaths(this.base, pod.name).socket,
      scope_allow: [...allow],
      scope_deny: [],
      delegated_from: null,
      session_id: null,
      instance: pod.instance,
      expires_at: null,
      lineage: [],
      ...more,
    };
  }

  /** One operation, whole under the lock. */
  async #change<Value>(operation: Operation<Value>, look: Look = {}): Promise<Outcome<Value>> {
    const decision = await this.#lock.hold((lock) => {
      const now = Date.now();
      const loaded = loadTable(this.base, now);
      for (const repair of loaded.repairs) log("warn", repair);
      const known = this.#withLost(loaded.allocations, look);
      const decided = this.#decide(known, operation, now, look.thorough === true);
      lock.assertHeld();
      // Directories before entries: after a crash in between, the entries still lead to the rest.
      for (const dead of decided.reclaimed) this.#setAsideDirectoryOf(dead);
      // When the request is refused, the dead stay removed all the same.
      if (loaded.mended || decided.table !== loaded.allocations) {
        const undo: (() => void)[] = [];
        try {
          for (const entry of decided.refused ? [] : (decided.noted ?? [])) {
            undo.push(keepOwnRecord(this.base, entry));
          }
          saveTable(this.base, { allocations: decided.table, rest: loaded.rest });
        } catch (error) {
          for (const takeBack of undo) takeBack();
          throw error;
        }
      }
      return decided;
    });
    // Deleting may take long; nobody has to wait for it with the lock. A thorough look also finds what
    // somebody moved aside who died before deleting it.
    if (look.thorough === true || decision.reclaimed.length > 0) await sweepGone(this.base);
    if (decision.refused) throw decision.why;
    return { value: decision.value, table: decision.table, reclaimed: decision.reclaimed };
  }

  #withLost(table: operations.Allocations, { lost }: Look): operations.Allocations {
    if (lost === undefined) return table;
    const { table: whole, found } = withLostPods(this.base, table, lost.except);
    for (const name of found)
      log("warn", `live pod \`${name}\` was missing in pods.json; it is back`);
    return whole;
  }

  #decide<Value>(
    table: operations.Allocations,
    operation: Operation<Value>,
    now: number,
    thorough: boolean,
  ): Decision<Value> {
    const decideWithout = (dead: (entry: Allocation) => boolean): Decision<Value> => {
      const { table: living, removed: reclaimed } = operations.reclaim(table, dead);
      try {
        return { ...operation(living), reclaimed, refused: false };
      } catch (why) {
        return { table: living, reclaimed, refused: true, why };
      }
    };
    if (!thorough && table.length > MAX_PROOFS) {
      const here = identityOf(process.pid);
      const dead = new Set<string>();
      for (let look = 0; look < MAX_LOOKS; look += 1) {
        const quick = decideWithout(
          (entry) => dead.has(entry.pod_name) || isPlainlyDead(this.base, entry, now, here),
        );
        const refusals = quick.refused ? [quick.why] : (quick.refusals ?? []);
        const inTheWay = refusals.map((why) => operations.inTheWay(quick.table, why));
        if (inTheWay.includes(undefined)) break;
        const found = inTheWay.flatMap((entries) =>
          (entries ?? []).filter((entry) => isDead(this.base, entry, now)),
        );
        if (found.length === 0) return quick;
        for (const entry of found) dead.add(entry.pod_name);
      }
    }
    return decideWithout((entry) => isDead(this.base, entry, now));
  }

  /** Takes away what a dead Pod left, unless a successor lives there already (W11, W14). */
  #setAsideDirectoryOf(dead: Allocation): void {
    try {
      takeLifeIfPresent(this.base, dead.pod_name)?.moveAside();
    } catch (error) {
      log("warn", `could not clean up after pod \`${dead.pod_name}\``, messageOf(error));
    }
  }
}

/** What this process can tell of the names of directories (W31). */
function namesNow(): Names {
  return { mounts: readMounts(), isSame: isSameDirectory };
}

function isSameDirectory(a: string, b: string): boolean {
  try {
    const [one, other] = [statSync(a, { bigint: true }), statSync(b, { bigint: true })];
    return one.dev === other.dev && one.ino === other.ino;
  } catch {
    return false; // missing, or not ours to look at
  }
}
