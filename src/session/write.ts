/**
 * From what happened to the entries that say so, with their keys in the order of the contract
 * (spec worker-and-tools 5.3). Pure.
 */
import type { Item } from "../protocol/history.ts";
import type { Segment } from "../protocol/segment.ts";
import type { Entry, LoggedConfig, Origin } from "./entry.ts";
import { numberOf } from "./item-id.ts";
import { toLogged } from "./logged-item.ts";
import { DOMAIN } from "./setup.ts";

/** An item with its id. */
type Identified = Item & { readonly id: string };

/** Characters of a history that one `session_start` holds; the rest follows in entries of its own. */
const MAX_START_CHARACTERS = 4 * 1024 * 1024;

type ItemKind = "assistant_items" | "tool_results" | "hook_injected_items";

/**
 * The entries for items that are appended together: runs of one kind in one entry, everything that
 * somebody else put in one by one, and the first user message as what was `typed`.
 */
export function itemEntries(
  items: readonly Identified[],
  typed: readonly Segment[] | undefined,
  ts: number,
): Entry[] {
  const entries: Entry[] = [];
  let run: Identified[] = [];
  let waiting = typed;
  const flush = (): void => {
    const [first] = run;
    if (first !== undefined) entries.push(itemsEntry(kindOf(first), run, ts));
    run = [];
  };
  for (const item of items) {
    if (waiting !== undefined && item.type === "message" && item.role === "user") {
      flush();
      const segments = [...waiting];
      entries.push({ kind: "user_input", ts, segments, ...firstItem(item) });
      waiting = undefined;
      continue;
    }
    const [first] = run;
    const kind = kindOf(item);
    if (first !== undefined && (kind !== kindOf(first) || kind === "hook_injected_items")) flush();
    run.push(item);
  }
  flush();
  return entries;
}

function itemsEntry(kind: ItemKind, run: readonly Identified[], ts: number): Entry {
  const [first] = run;
  const items = run.map(toLogged);
  return { kind, ts, items, ...(first === undefined ? {} : firstItem(first)) };
}

function kindOf(item: Item): ItemKind {
  if (item.type === "tool_result") return "tool_results";
  if (item.type === "message" && item.role !== "assistant") return "hook_injected_items";
  return "assistant_items";
}

function firstItem({ id }: Identified): { first_item?: number } {
  const number = numberOf(id);
  return number === undefined ? {} : { first_item: number };
}

/** How a session begins. */
interface SessionStart {
  readonly systemPrompt: string | null;
  readonly config: LoggedConfig;
  /** What it has from the session before it. */
  readonly items: readonly Identified[];
  readonly forked_from?: Origin;
  readonly compacted_from?: Origin;
}

/**
 * The first entries of a session. Readable as one `session_start`, or as that and the rest of its
 * items. `notes` stand right behind it, where lists of sessions look for them.
 */
export function startEntries(
  start: SessionStart,
  ts: number,
  notes: readonly Entry[] = [],
): Entry[] {
  let room = MAX_START_CHARACTERS;
  let inside = 0;
  for (const item of start.items) {
    room -= JSON.stringify(item).length;
    if (room < 0) break;
    inside += 1;
  }
  const held = start.items.slice(0, inside);
  const ids = held.map(({ id }) => numberOf(id) ?? 0);
  const isPlain = ids.every((id, index) => id === index + 1);
  const rest = start.items.slice(inside);
  return [
    {
      kind: "session_start",
      ts,
      system_prompt: start.systemPrompt,
      config: start.config,
      history: held.map(toLogged),
      ...(start.forked_from === undefined ? {} : { forked_from: start.forked_from }),
      ...(start.compacted_from === undefined ? {} : { compacted_from: start.compacted_from }),
      ...(isPlain ? {} : { item_ids: ids }),
    },
    ...notes,
    // One by one, because their ids need not follow each other.
    ...rest.flatMap((item) => itemEntries([item], undefined, ts)),
    ...(rest.length === 0
      ? []
      : [{ kind: "extension" as const, ts, domain: DOMAIN.carried, payload: {} }]),
  ];
}
