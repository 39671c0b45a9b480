/**
 * The conversation of one session: a list that only grows, every item with an id that is never used
 * again. Calls and results pair up by construction (spec worker-and-tools 1.11), and an item is
 * reported to the store before it becomes visible here, so nothing is shown that was not logged.
 */
import { PodError } from "../base/errors.ts";
import type { Item, ToolCallItem, ToolResultItem } from "../protocol/history.ts";
import { idOf, numberOf } from "../session/item-id.ts";
import {
  closingResult,
  followPairing,
  pairingFault,
  repairPairing,
  SETTLED,
  type PairingState,
} from "./pairing.ts";

/** Result of a call that a person stopped (1.11). */
export const INTERRUPTED_BY_USER = "[Interrupted by user]";

/** Result of a call whose own result was lost by a crash or a failure; never executed again (W6). */
export const LOST_RESULT = "[No result: the Pod stopped or failed during this call]";

/** An item with its id; ids look like `i000001` and rise within the session. */
export type StoredItem = Item & { readonly id: string };

/** Takes committed items, for example to log them. Throwing keeps them out of the history. */
type AppendListener = (items: readonly StoredItem[]) => void;

/** The item list of a session. Vendors' own ids belong into `provider`, not into `id`. */
export class History {
  readonly #items: StoredItem[] = [];
  readonly #callIds = new Set<string>();
  readonly #onAppend: AppendListener;
  #pairing: PairingState = SETTLED;
  #lastNumber = 0;

  /**
   * `restored` is the list that a store read back: ids of ours that rise are kept, other items get
   * new ones, and an order that no provider would take is repaired (in memory only). Calls that
   * are open at its end stay open: close them with `closeOpenCalls(LOST_RESULT)`.
   */
  constructor(onAppend: AppendListener = () => {}, restored: readonly Item[] = []) {
    this.#onAppend = onAppend;
    const known = restored.map((item) => this.#stamp(item, true));
    for (const item of repairPairing<StoredItem>(known, LOST_RESULT)) {
      this.#keep(this.#hasId(item) ? item : this.#stamp(item, false));
    }
  }

  /** The whole conversation, oldest first; the list grows while it is looked at. */
  get items(): readonly StoredItem[] {
    return this.#items;
  }

  /** Id of the newest item, or undefined when there is none: a cursor for readers. */
  get lastId(): string | undefined {
    return this.#items.at(-1)?.id;
  }

  /** True when a call with this id was ever made; a new call needs another one. */
  hasCall(callId: string): boolean {
    return this.#callIds.has(callId);
  }

  /**
   * Commits items, in one report to the listener, and returns them with their ids. Calls left open
   * are closed with `LOST_RESULT` when something else follows. Throws `internal` for a result that
   * answers no open call or a call id that is still open; then nothing is committed.
   */
  append(...items: readonly Item[]): readonly StoredItem[] {
    // Numbers of a failed append are not used again: part of it may have reached the log.
    const stamped = this.#complete(items).map((item) => this.#stamp(item, false));
    if (stamped.length > 0) this.#onAppend(stamped);
    for (const item of stamped) this.#keep(item);
    return stamped;
  }

  /**
   * Replaces the whole conversation, after a compaction that was recorded by other means. The ids of
   * `items` rise; numbers that were used are not used again for what is appended later.
   */
  rebase(items: readonly StoredItem[]): void {
    const fault = pairingFault(items);
    if (fault !== undefined) throw new PodError("internal", `history cannot be replaced: ${fault}`);
    this.#items.length = 0;
    this.#pairing = SETTLED;
    for (const item of items) this.#keep(item);
  }

  /** Calls that have no result yet, in history order. */
  openCalls(): readonly ToolCallItem[] {
    return this.#pairing.open;
  }

  /** Answers every open call with `summary`, in history order; returns the results committed. */
  closeOpenCalls(summary: string): readonly StoredItem[] {
    return this.append(...this.#pairing.open.map((call) => closingResult(call, summary)));
  }

  /**
   * The conversation as it goes into a request, a copy. Throws `internal` when a call has no
   * result: a vendor would refuse it, and the loop must have closed it.
   */
  forRequest(): readonly StoredItem[] {
    const fault = pairingFault(this.#items);
    if (fault !== undefined) throw new PodError("internal", `history is not ready: ${fault}`);
    return [...this.#items];
  }

  /** `items` with the results added that must stand before or between them. */
  #complete(items: readonly Item[]): Item[] {
    const complete: Item[] = [];
    let state = this.#pairing;
    for (const item of items) {
      let step = followPairing(state, item);
      if (!step.ok && step.fault === "unanswered") {
        complete.push(
          ...state.open.map((call): ToolResultItem => closingResult(call, LOST_RESULT)),
        );
        step = followPairing(SETTLED, item);
      }
      if (!step.ok) {
        throw new PodError("internal", `cannot append: ${step.fault} tool call ${step.callId}`);
      }
      complete.push(item);
      state = step.state;
    }
    return complete;
  }

  #keep(item: StoredItem): void {
    const step = followPairing(this.#pairing, item);
    if (!step.ok) throw new PodError("internal", `history is out of order at ${item.id}`);
    this.#pairing = step.state;
    if (item.type === "tool_call") this.#callIds.add(item.call_id);
    this.#items.push(item);
  }

  #stamp(item: Item, restoring: boolean): StoredItem {
    const stored = restoring ? (numberOf(item.id ?? "") ?? 0) : 0;
    this.#lastNumber = stored > this.#lastNumber ? stored : this.#lastNumber + 1;
    return { ...item, id: idOf(this.#lastNumber) };
  }

  #hasId(item: Item): item is StoredItem {
    return item.id !== undefined;
  }
}
