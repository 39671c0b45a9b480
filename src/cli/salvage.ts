/**
 * `pod resume --salvage UUID`: a damaged session goes on as a copy of what stands before the damage.
 * The damaged log is kept, whole, under a name that is no session's.
 */
import { PodError } from "../base/errors.ts";
import { removeFile } from "../base/files.ts";
import { createLog } from "../session/log.ts";
import { salvageSession } from "../session/open.ts";
import { DOMAIN } from "../session/setup.ts";
import { startEntries } from "../session/write.ts";

const NO_CONFIG = {
  max_tokens: null,
  temperature: null,
  top_p: null,
  top_k: null,
  stop_sequences: [],
  reasoning: null,
};

/** Makes the copy. Returns its session id and what to tell; throws as `salvageSession` does. */
export function salvage(
  store: string,
  wanted: string | undefined,
): { readonly session: string; readonly said: string } {
  if (wanted === undefined) throw new PodError("usage", "--salvage needs the id of a session");
  const damaged = salvageSession(store, wanted);
  const { state } = damaged;
  const session = Bun.randomUUIDv7();
  const copy = createLog(store, session);
  try {
    const ts = Date.now();
    const { systemPrompt, items, setup } = state;
    copy.append([
      ...startEntries(
        {
          systemPrompt,
          config: state.config ?? NO_CONFIG,
          items,
          forked_from: { session_id: wanted, at_hash: damaged.at },
        },
        ts,
      ),
      ...(setup === undefined
        ? []
        : [{ kind: "extension" as const, ts, domain: DOMAIN.setup, payload: setup }]),
      { kind: "turn_end", ts, turn_count: state.turns },
      { kind: "run_errored", ts, interrupted: state.interrupted, message: "salvaged" },
    ]);
  } catch (error) {
    removeFile(copy.path);
    throw error;
  } finally {
    copy.close();
  }
  const aside = damaged.setAside();
  const said = `session ${wanted} was damaged from line ${damaged.line} on; it is kept as ${aside}`;
  return { session, said };
}
