/**
 * The reservations of one spawner. Those that are wanted at the same moment, by the calls of one turn,
 * go through the registry together: one lock, one load and one save for all of them. Each is granted
 * or refused for itself, in the order of the calls, as if it had come alone.
 */
import { isPodError, PodError } from "../base/errors.ts";
import type { Allocation } from "../registry/allocation.ts";
import type { DelegationRequest } from "../registry/registry.ts";
import { onceFree } from "./commands-end.ts";
import type { SpawnContext } from "./context.ts";

/** Most that go together: a few milliseconds of work each in a table of 1,000, under the lock (I7). */
const MAX_TOGETHER = 16;

interface Waiting extends DelegationRequest {
  /** Undefined: not now, a shell command may write there. */
  readonly grant: (entry: Allocation | undefined) => void;
  readonly refuse: (why: unknown) => void;
  readonly signal: AbortSignal;
}

/** Reserves for one spawner. */
export class Reservations {
  readonly #context: SpawnContext;
  readonly #waiting: Waiting[] = [];
  #running = false;

  constructor(context: SpawnContext) {
    this.#context = context;
  }

  /**
   * Writes the reservation and takes its paths from the spawner in the same moment (W47). Waits first
   * until no shell command may write there any more. Throws what the registry refuses, `ToolError` when
   * a command goes on, and `cancelled`.
   */
  async reserve(request: DelegationRequest, signal: AbortSignal): Promise<Allocation> {
    const { scope } = this.#context;
    return await onceFree(scope, request.rules, signal, () => this.#ask(request, signal));
  }

  async #ask(request: DelegationRequest, signal: AbortSignal): Promise<Allocation | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<Allocation | undefined>();
    this.#waiting.push({ ...request, signal, grant: resolve, refuse: reject });
    if (!this.#running) void this.#run();
    return await promise;
  }

  /** Never rejects: what goes wrong is told to those who wait. */
  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) await this.#context.scope.exclusive(() => this.#together());
    this.#running = false;
  }

  async #together(): Promise<void> {
    const { registry, self, limits, family, scope } = this.#context;
    const all = this.#waiting.splice(0, MAX_TOGETHER).filter((waiting) => {
      if (waiting.signal.aborted) waiting.refuse(cancelled());
      return !waiting.signal.aborted;
    });
    // A command that runs keeps what it could write when it started.
    const isFree = ({ rules }: Waiting): boolean => scope.writersIn(rules).length === 0;
    const batch = all.filter(isFree);
    for (const waiting of all) if (!batch.includes(waiting)) waiting.grant(undefined);
    if (batch.length === 0) return;
    try {
      const { value, table } = await registry.delegateAll(self, batch, limits);
      family.apply(table);
      for (const [index, result] of value.entries()) {
        if (result.granted) batch[index]?.grant(result.entry);
        else batch[index]?.refuse(result.why);
      }
    } catch (error) {
      // Who cannot have the lock now need not wait as long again for each batch behind.
      const hopeless = isPodError(error, "registry_locked") ? this.#waiting.splice(0) : [];
      for (const { refuse } of [...batch, ...hopeless]) refuse(error);
    }
  }
}

function cancelled(): PodError {
  return new PodError("cancelled", "the run was cancelled; nothing was reserved");
}
