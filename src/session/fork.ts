/**
 * New sessions that begin as a part of another one: a copy up to a chosen entry, or what stands before
 * the damage in a log. Where they come from stands in them (`forked_from`); the other log is not
 * changed, and a damaged one is kept, whole, under a name that is no session's.
 */
import { PodError } from "../base/errors.ts";
import type { Head } from "./chain.ts";
import type { Entry } from "./entry.ts";
import { createLog } from "./log.ts";
import { logPath } from "./log-names.ts";
import { corrupt, salvageSession } from "./open.ts";
import { Replay, type SessionState } from "./replay.ts";
import { scanLog, withLog } from "./scan.ts";
import { DOMAIN } from "./setup.ts";
import { startEntries } from "./write.ts";

const NO_CONFIG = {
  max_tokens: null,
  temperature: null,
  top_p: null,
  top_k: null,
  stop_sequences: [],
  reasoning: null,
};

/**
 * Copies a session up to and including the entry with the hash `at`, into a session of a Pod of its
 * own. The other may be written meanwhile. Throws `unknown_session`, `session_corrupt` for damage
 * before that entry, and `invalid_argument` (`entry not found: …`) for a hash that it does not have.
 */
export function forkSession(store: string, id: string, at: string): string {
  const path = logPath(store, id);
  const replay = new Replay();
  let found: Head;
  const end = withLog(path, id, (fd) =>
    scanLog(fd, ({ entry, head }) => {
      replay.add(entry);
      found = head;
      return head !== at;
    }),
  );
  if (found !== at) {
    if (end.kind === "corrupt") throw corrupt(path, id, end, replay.state());
    throw new PodError("invalid_argument", `entry not found: ${at.slice(0, 64)}`);
  }
  // A Pod of its own: the other one goes on, and both can be brought back.
  return write(store, replay.state(), { session_id: id, at_hash: at }, true);
}

/**
 * Goes on with what stands before the damage in a log. Returns the new session and what to tell; throws
 * as `salvageSession` does.
 */
export function salvage(
  store: string,
  id: string,
): { readonly session: string; readonly said: string } {
  const damaged = salvageSession(store, id);
  const origin = { session_id: id, at_hash: damaged.at };
  const session = write(store, damaged.state, origin, false);
  const aside = damaged.setAside();
  const said = `session ${id} was damaged from line ${damaged.line} on; it is kept as ${aside}`;
  return { session, said };
}

function write(
  store: string,
  state: SessionState,
  origin: { readonly session_id: string; readonly at_hash: string },
  isOther: boolean,
): string {
  const session = Bun.randomUUIDv7();
  const copy = createLog(store, session, { unlisted: true });
  try {
    const ts = Date.now();
    const { systemPrompt, items, setup, interrupted, endReport } = state;
    const config = state.config ?? NO_CONFIG;
    const payload =
      setup === undefined || !isOther ? setup : { ...setup, lineage: session, parent: null };
    const notes: Entry[] =
      payload === undefined ? [] : [{ kind: "extension", ts, domain: DOMAIN.setup, payload }];
    // Whoever goes on with the conversation reports what its Pod could not; a copy does not.
    const report: Entry[] =
      endReport === undefined || isOther
        ? []
        : [{ kind: "extension", ts, domain: DOMAIN.report, payload: endReport }];
    copy.append([
      ...startEntries({ systemPrompt, config, items, forked_from: origin }, ts, notes),
      ...report,
      { kind: "turn_end", ts, turn_count: state.turns },
      { kind: "run_errored", ts, interrupted, message: `forked from session ${origin.session_id}` },
    ]);
    copy.publish();
  } catch (error) {
    copy.discard();
    throw error;
  }
  copy.close();
  return session;
}
