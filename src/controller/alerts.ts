/** Warnings for people: told at once, and again to every client that comes later (spec protocol 6.1). */
import type { Alert } from "../protocol/event.ts";
import type { Connection } from "../transport/server.ts";

/** Alerts that are kept. */
const MAX_ALERTS = 512;
/** Of each of them: all together must fit before a client, or nobody could connect any more. */
const MAX_ALERT_CHARACTERS = 4096;

/** The newest alerts of one Pod. */
export class Alerts {
  readonly #kept: Alert[] = [];

  /** Keeps an alert, cut to size, and returns it as it is to be told. */
  add(alert: Alert): Alert {
    const kept = { ...alert, message: shortened(alert.message) };
    this.#kept.push(kept);
    if (this.#kept.length > MAX_ALERTS) this.#kept.shift();
    return kept;
  }

  /** Tells a client all of them, oldest first. */
  replay(connection: Connection): void {
    for (const alert of this.#kept) connection.send({ event: "alert", data: alert });
  }
}

function shortened(message: string): string {
  if (message.length <= MAX_ALERT_CHARACTERS) return message;
  return `${message.slice(0, MAX_ALERT_CHARACTERS).toWellFormed()}…`;
}
