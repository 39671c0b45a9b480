/**
 * The machine-wide referee: who lives, who may write where. Every operation runs whole under one
 * lock (load, reclaim the dead, check, save), so that no two live Pods can hold one path (I1).
 */
import { statSync } from "node:fs";
import { log } from "../base/log.ts";
import { ensurePrivateDirectory, podPaths } from "../base/paths.ts";
import { readMounts } from "../base/mounts.ts";
import { identityOf, settlesWithin } from "../base/process.ts";
import type { Names } from "../scope/aliases.ts";
import type { ScopeRule } from "../scope/rule.ts";
import type { Scope } from "../scope/set.ts";
import { type Allocation, identityKeys, isReservation } from "./allocation.ts";
import { decide, type Facts, type Operation } from "./decision.ts";
import { delegate, type TreeLimits } from "./delegation.ts";
import { type Allocations, findByName } from "./kinship.ts";
import { sweepGone } from "./life.ts";
import { isDead, isPlainlyDead } from "./liveness.ts";
import { LOCK_WAIT_MS, RegistryLock } from "./lock.ts";
import * as operations from "./operations.ts";
import { keepOwnRecord, withLostPods } from "./recovery.ts";
import { setAsideAbandoned, setAsideDirectoryOf } from "./remains.ts";
import { loadTable, peekTable, saveTable, tablePaths } from "./table.ts";

/** How long a reservation may stay unadopted beyond the spawner's own wait (W38). */
const RESERVATION_SLACK_MS = 50_000;

/** Identity of a Pod in the registry: the name, and which run of the name. */
export interface PodId {
  readonly name: string;
  readonly instance: string;
}

/** What an operation found and left behind. */
export interface Outcome<Value> {
  readonly value: Value;
  /** The table after the operation. */
  readonly table: Allocations;
  /** Allocations that were found dead and removed on the way. */
  readonly reclaimed: readonly Allocation[];
}

/** One reservation that is wanted. */
export interface DelegationRequest {
  readonly child: PodId;
  readonly rules: readonly ScopeRule[];
}

/** What became of it; `why` is what `delegate` would throw. */
type DelegationResult =
  | { readonly granted: true; readonly entry: Allocation }
  | { readonly granted: false; readonly why: unknown };

/** How far a tree may grow, and how long the child may take to come up. */
type DelegationLimits = TreeLimits & {
  readonly readyTimeoutMs: number;
  /** The child comes back, and what it had spawned goes back to it. */
  readonly takesBack?: boolean;
};

/** How closely an operation looks before it decides. */
interface Look {
  /** Looks into every entry's death, however long the table is. */
  readonly thorough?: boolean;
  /** Looks for live Pods that the table lacks; whoever grants something must. */
  readonly lost?: boolean;
}

/** How long the result of an operation waits for the deletion of what the dead left; the rest is for the next. */
const SWEEP_WAIT_MS = 1000;

/** Operations on the registry below one runtime base. Stateless between calls; share one per process. */
export class Registry {
  readonly base: string;
  readonly #lock: RegistryLock;

  constructor(base: string, waitMs: number = LOCK_WAIT_MS) {
    ensurePrivateDirectory(base);
    this.base = base;
    this.#lock = new RegistryLock(tablePaths(base).lock, waitMs);
  }

  /**
   * Adds a root Pod owned by this process. Throws on a taken name, session or write region. `lineage`:
   * whose child it was, for one that is brought back alone (W52).
   */
  async register(
    self: PodId,
    scope: Scope,
    session: string,
    lineage: Allocation["lineage"] = [],
  ): Promise<Outcome<Allocation>> {
    const names = namesNow();
    return await this.#change(
      (table) => {
        const entry = this.#entry(self, scope.allow, {
          scope_deny: [...scope.deny],
          session_id: session,
          lineage: [...lineage],
        });
        const next = operations.register(table, entry, names);
        const before = new Set(table);
        return { table: next, value: entry, noted: next.filter((other) => !before.has(other)) };
      },
      { lost: true },
    );
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
    const names = namesNow();
    return await this.#change(
      (before) => {
        let table = before;
        const expires_at = Date.now() + options.readyTimeoutMs + RESERVATION_SLACK_MS;
        const value = requests.map(({ child, rules }): DelegationResult => {
          try {
            const reservation = this.#entry(child, rules, { expires_at });
            const delegated = delegate(table, spawner, reservation, options, names);
            table = delegated.table;
            return { granted: true, entry: delegated.entry };
          } catch (why) {
            return { granted: false, why };
          }
        });
        const refusals = value.flatMap((result) => (result.granted ? [] : [result.why]));
        const known = new Set(before);
        // What goes back to a child that comes back; a reservation has no directory of its own yet.
        const noted = table.filter((entry) => !known.has(entry) && !isReservation(entry));
        return { table, value, refusals, noted };
      },
      { lost: true },
    );
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
      const own = findByName(next, self.name);
      return { table: next, value: undefined, noted: own === undefined ? [] : [own] };
    });
  }

  /** The live Pods, after removing dead ones and finding those that the table had lost. */
  async reclaim(): Promise<Outcome<void>> {
    return await this.#change(
      (table) => {
        setAsideAbandoned(this.base, table);
        return { table, value: undefined };
      },
      { thorough: true, lost: true },
    );
  }

  /** The live holder of a session, if any. */
  async lookupSession(session: string): Promise<Allocation | undefined> {
    const { table } = await this.reclaim();
    return table.find((entry) => entry.session_id === session);
  }

  /** The table as it stands on disk, without lock or reclaim; may name Pods that just died. */
  peek(): Allocations {
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
      const decided = decide(
        loaded.allocations,
        operation,
        this.#facts(now, look),
        look.thorough === true,
      );
      lock.assertHeld();
      // Directories before entries: after a crash in between, the entries still lead to the rest.
      for (const dead of decided.reclaimed) setAsideDirectoryOf(this.base, dead);
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
    if (look.thorough === true || decision.reclaimed.length > 0) {
      await settlesWithin(sweepGone(this.base), SWEEP_WAIT_MS);
    }
    if (decision.refused) throw decision.why;
    return { value: decision.value, table: decision.table, reclaimed: decision.reclaimed };
  }

  #facts(now: number, look: Look): Facts {
    const here = identityOf(process.pid);
    const told = new Set<string>();
    return {
      isDead: (entry) => isDead(this.base, entry, now),
      isPlainlyDead: (entry) => isPlainlyDead(this.base, entry, now, here),
      withLost: (table) => {
        if (look.lost !== true) return table;
        const { table: whole, found } = withLostPods(this.base, table);
        for (const name of found.filter((one) => !told.has(one))) {
          told.add(name);
          log("warn", `live pod \`${name}\` was missing in pods.json; it is back`);
        }
        return whole;
      },
    };
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
