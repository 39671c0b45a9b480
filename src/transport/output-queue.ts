/**
 * What is still to be written to one socket: lines in order, bounded in bytes, never cut in half
 * except by the kernel, which is continued. Bun's `write` takes a part and queues nothing, so the
 * rest lives here until `drain`. Lines are shared, not copied, until the moment they are written.
 */

/** Memory that a queued line costs besides its bytes; counted, so that tiny lines are bounded too. */
const LINE_OVERHEAD_BYTES = 64;
/** Lines are joined into writes of about this size: many small ones exhaust the socket buffer (W12). */
const WRITE_BYTES = 64 * 1024;
const NOTHING: Uint8Array = new Uint8Array(0);

/**
 * What became of the queue: all written, waiting for `drain`, or the other side reads no more
 * (what was queued is discarded).
 */
export type FlushResult = "empty" | "blocked" | "broken";

/** The part of a Bun socket that the queue needs: bytes taken, 0 when full, negative when broken. */
export interface Writable {
  write(data: Uint8Array): number;
}

/** A bounded queue of lines before one socket. */
export class OutputQueue {
  readonly #socket: Writable;
  readonly #maxBytes: number;
  #lines: Uint8Array[] = [];
  /** Index of the first line that is not in `#batch` yet. */
  #head = 0;
  #cost = 0;
  /** Bytes that were offered to the kernel and not taken. */
  #batch = NOTHING;
  #broken = false;

  constructor(socket: Writable, maxBytes: number) {
    this.#socket = socket;
    this.#maxBytes = maxBytes;
  }

  /** True when there is nothing left to write. */
  get empty(): boolean {
    return this.#batch.length === 0 && this.#head === this.#lines.length;
  }

  /**
   * Adds a line; false when the bound is exceeded, and then the line was not taken. A single line
   * is always taken by an empty queue. Lines after a broken write vanish.
   */
  push(line: Uint8Array): boolean {
    if (this.#broken) return true;
    const cost = line.length + LINE_OVERHEAD_BYTES;
    if (!this.empty && this.#cost + this.#batch.length + cost > this.#maxBytes) return false;
    this.#lines.push(line);
    this.#cost += cost;
    return true;
  }

  /** Writes as much as the kernel takes now. Call it again on `drain` after `blocked`. */
  flush(): FlushResult {
    while (!this.#broken) {
      if (this.#batch.length === 0 && !this.#fill()) return "empty";
      const written = this.#socket.write(this.#batch);
      if (written < 0) {
        this.#broken = true;
        this.clear();
      } else {
        const blocked = written < this.#batch.length;
        this.#batch = blocked ? this.#batch.subarray(written) : NOTHING;
        if (blocked) return "blocked";
      }
    }
    return "broken";
  }

  /** Forgets the lines of which nothing was written yet; what follows begins on a line of its own. */
  dropUnwritten(): void {
    this.#lines = [];
    this.#head = 0;
    this.#cost = 0;
  }

  /** Forgets everything that is queued. */
  clear(): void {
    this.dropUnwritten();
    this.#batch = NOTHING;
  }

  /** Moves the next lines into the batch; false when there are none. */
  #fill(): boolean {
    const first = this.#lines[this.#head];
    if (first === undefined) {
      this.#lines = [];
      this.#head = 0;
      return false;
    }
    let end = this.#head + 1;
    let size = first.length;
    for (let next = this.#lines[end]; next !== undefined; next = this.#lines[end]) {
      if (size + next.length > WRITE_BYTES) break;
      size += next.length;
      end += 1;
    }
    const taken = end - this.#head;
    this.#batch = taken === 1 ? first : Buffer.concat(this.#lines.slice(this.#head, end), size);
    this.#cost -= size + taken * LINE_OVERHEAD_BYTES;
    this.#head = end;
    // The written front is cut off now and then: amortised constant, and it lets go of the bytes.
    if (this.#head * 2 > this.#lines.length) {
      this.#lines = this.#lines.slice(this.#head);
      this.#head = 0;
    }
    return true;
  }
}
