/**
 * The reservations of one spawner. Those that are wanted at the same moment, by the calls of one turn,
 * go through the registry together: one lock, one load and one save for all of them. Each is granted
 * or refused for itself, in the order of the calls, as if it had come alone.
 */
import type { Allocation } from "../registry/allocation.ts";
import type { DelegationRequest } from "../registry/registry.ts";
import type { SpawnContext } from "./context.ts";

/** Most that go together: a few milliseconds of work each in a table of 1,000, under the lock (I7). */
const MAX_TOGETHER = 16;

interface Waiting extends DelegationRequest {
  readonly grant: (entry: Allocation) => void;
  readonly refuse: (why: unknown) => void;
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
   * Writes the reservation and takes its paths from the spawner in the same moment (W47). Throws what
   * the registry refuses.
   */
  async reserve(request: DelegationRequest): Promise<Allocation> {
    const { promise, resolve, reject } = Promise.withResolvers<Allocation>();
    this.#waiting.push({ ...request, grant: resolve, refuse: reject });
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
    const { registry, self, limits, family } = this.#context;
    const batch = this.#waiting.splice(0, MAX_TOGETHER);
    try {
      const { value, table } = await registry.delegateAll(self, batch, limits);
      family.apply(table);
      for (const [index, result] of value.entries()) {
        if (result.granted) batch[index]?.grant(result.entry);
        else batch[index]?.refuse(result.why);
      }
    } catch (error) {
      for (const { refuse } of batch) refuse(error);
    }
  }
}
