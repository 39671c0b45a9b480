/**
 * Texts that wait for the model's next request: notes from clients and reports about children. The
 * queue is bounded: of clients' notes the oldest is dropped when too many wait and the loss is said
 * (W7); reports are never dropped, whoever brings one is asked to come again (W59).
 */
import { type Item, textMessage } from "../protocol/history.ts";

import { NOTE_KEY } from "./mailbox.ts";

/** Most notes of clients that wait (spec protocol 7.7). */
export const MAX_NOTICES = 128;
/** Of one of them: all together must be bearable, in memory and for a model. */
export const MAX_NOTE_CHARACTERS = 256 * 1024;
/** Reports of children that may wait before further ones are put off. */
export const MAX_REPORTS = 256;

/** One text. */
export interface Notice {
  /** By this a report about a child, or a client's note, is kept on disk and recognised. */
  readonly id?: string;
  readonly text: string;
  /** Worth a model call of its own. */
  readonly wake: boolean;
}

/** The queue of one Pod. */
export class Notices {
  #waiting: Notice[] = [];

  /** Queues a text; returns the older note that had to go, if one had. */
  add(notice: Notice): Notice | undefined {
    this.#waiting.push(notice);
    if (isReport(notice)) return undefined;
    const notes = this.#waiting.filter((other) => !isReport(other));
    if (notes.length <= MAX_NOTICES) return undefined;
    this.#waiting = this.#waiting.filter((other) => other !== notes[0]);
    return notes[0];
  }

  /** Hands all to `keep`, oldest first; they are still there when it throws. */
  take(keep: (notices: readonly Notice[]) => void): void {
    const taken = this.#waiting;
    if (taken.length === 0) return;
    keep(taken);
    this.#waiting = this.#waiting.slice(taken.length);
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** True when no further report should be taken now. */
  get full(): boolean {
    return this.#waiting.filter(isReport).length >= MAX_REPORTS;
  }

  /** True when one of those that wait is worth a model call of its own. */
  get waking(): boolean {
    return this.#waiting.some(({ wake }) => wake);
  }
}

function isReport({ id }: Notice): boolean {
  return id !== undefined && !id.startsWith(NOTE_KEY);
}

/** A notice as it stands in the conversation: one that was kept on disk is recognised there again. */
export function noticeItem({ id, text }: Notice): Item {
  const message = textMessage("system", text);
  return id === undefined ? message : { ...message, notice: id };
}
