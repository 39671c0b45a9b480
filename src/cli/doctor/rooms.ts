/**
 * Where commands have their temporary files and long outputs: rooms of Pods that were killed stay until
 * the next Pod runs a command, which may be never. Reads, changes nothing.
 */
import { type Rooms, roomsBelow } from "../../tools/shell/room.ts";
import { directoryFacts } from "./directories.ts";
import { type Finding, listed, ok, quoted, warning } from "./finding.ts";

/** The directory and what is in it; `rooms` is undefined when there is none. */
interface RoomFacts {
  readonly base: string;
  readonly rooms: Rooms | undefined;
}

/** Looks at the directory for rooms. Throws what the system says. */
export function roomFacts(base: string): RoomFacts {
  const { state } = directoryFacts(base);
  return { base, rooms: state === "directory" ? roomsBelow(base) : undefined };
}

/** Findings on them; pure. */
export function checkRooms({ base, rooms }: RoomFacts): Finding[] {
  if (rooms === undefined) return [];
  const { owned, abandoned, strange } = rooms;
  const findings: Finding[] = [];
  if (abandoned.length > 0) {
    findings.push(
      warning(
        "rooms",
        `left by ${abandoned.length === 1 ? "a killed Pod" : `${abandoned.length} killed Pods`}: ${listed(abandoned, 3)}`,
        "run: pod doctor --fix",
        [{ kind: "remove-rooms", base }],
      ),
    );
  }
  if (strange.length > 0) {
    findings.push(
      warning(
        "rooms",
        `nothing of ours, so not touched: ${listed(strange, 5)}`,
        `move it away: ls -lab ${quoted(base)}`,
      ),
    );
  }
  return findings.length > 0
    ? findings
    : [ok("rooms", owned.length === 0 ? "none" : `${owned.length}, all of live Pods`)];
}
