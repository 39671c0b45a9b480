/**
 * How many tokens a conversation is, from what vendors counted for earlier requests and from sizes in
 * between (spec worker-and-tools 1.13). An estimate for deciding when to shorten; never for billing.
 */
import type { Item } from "../protocol/history.ts";

/** Input tokens that a vendor counted for a request with the first `length` items. */
export interface UsageMark {
  readonly length: number;
  readonly tokens: number;
}

/** Bytes per token when nothing was ever counted. */
export const BYTES_PER_TOKEN = 4;

const sizes = new WeakMap<Item, number>();

/** UTF-8 bytes of an item's JSON. */
export function itemBytes(item: Item): number {
  let bytes = sizes.get(item);
  if (bytes === undefined) {
    bytes = Buffer.byteLength(JSON.stringify(item));
    sizes.set(item, bytes);
  }
  return bytes;
}

/** Sums of sizes: entry `i` is that of the first `i` items. */
function prefixSums(items: readonly Item[]): number[] {
  const sums = [0];
  for (const item of items) sums.push((sums.at(-1) ?? 0) + itemBytes(item));
  return sums;
}

/** Estimates for every beginning of one conversation. */
export class TokenEstimate {
  readonly #sums: readonly number[];
  readonly #marks: readonly UsageMark[];

  /** `marks` in the order in which they were made. */
  constructor(items: readonly Item[], marks: readonly UsageMark[]) {
    this.#sums = prefixSums(items);
    this.#marks = marks;
  }

  /** Tokens of the first `index` items. */
  upTo(index: number): number {
    if (index <= 0) return 0;
    const here = this.#bytes(index);
    if (this.#marks.length === 0) return Math.floor(here / BYTES_PER_TOKEN);
    const exact = this.#marks.findLast((mark) => mark.length === index);
    if (exact !== undefined) return exact.tokens;
    const lower = this.#nearest((mark) => mark.length < index, 1);
    const upper = this.#nearest((mark) => mark.length > index, -1);
    if (lower === undefined) {
      if (upper === undefined) return 0;
      return scaled(here, upper.tokens, this.#bytes(upper.length));
    }
    const from = this.#bytes(lower.length);
    if (upper === undefined) {
      return lower.tokens + scaled(here - from, lower.tokens, from);
    }
    const span = upper.tokens - lower.tokens;
    return lower.tokens + scaled(here - from, span, this.#bytes(upper.length) - from);
  }

  /** Tokens of the whole conversation. */
  get total(): number {
    return this.upTo(this.#sums.length - 1);
  }

  /** Tokens that `bytes` are worth, measured by the newest request; 0 when there is none. */
  worth(bytes: number): number {
    const last = this.#marks.at(-1);
    return last === undefined ? 0 : scaled(bytes, last.tokens, this.#bytes(last.length));
  }

  /** The newest of the marks that fit and stand nearest. */
  #nearest(fits: (mark: UsageMark) => boolean, direction: 1 | -1): UsageMark | undefined {
    let best: UsageMark | undefined;
    for (const mark of this.#marks) {
      if (!fits(mark)) continue;
      if (best === undefined || (mark.length - best.length) * direction >= 0) best = mark;
    }
    return best;
  }

  /** Clamped: a mark may be longer than what is left. */
  #bytes(index: number): number {
    return this.#sums[Math.min(index, this.#sums.length - 1)] ?? 0;
  }
}

/** `part * whole / base` in whole numbers; 0 when there is no base. */
function scaled(part: number, whole: number, base: number): number {
  if (base <= 0 || whole === 0) return 0;
  return Number((BigInt(Math.round(part)) * BigInt(Math.round(whole))) / BigInt(Math.round(base)));
}
