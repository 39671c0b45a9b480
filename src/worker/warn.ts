/** How a run tells people something: as an alert among its events, which the model never sees. */
import type { Event } from "../protocol/event.ts";

/** What a run speaks with. */
export interface Voice {
  readonly emit: (event: Event) => void;
  /** Milliseconds since the epoch, for alerts; default the clock of the machine. */
  readonly now?: () => number;
}

/** Tells people of something that the model need not know. */
export function warn({ emit, now = Date.now }: Voice, message: string): void {
  const alert = { level: "warn", source: "worker", message, timestamp_ms: now() } as const;
  emit({ event: "alert", data: alert });
}
