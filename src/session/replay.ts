/**
 * Folds the entries of a log into the state of its session (spec worker-and-tools 5.4). Pure but for
 * the fold's own accumulation; a fold belongs to one scan. Items get the ids they had, so that
 * readers of the conversation keep their place across a restart.
 */
import type { Item, ToolResultItem } from "../protocol/history.ts";
import { textMessage } from "../protocol/history.ts";
import { flattenSegments, type Segment } from "../protocol/segment.ts";
import type { Entry, LoggedConfig, Origin, UsageRecord } from "./entry.ts";
import { idOf } from "./item-id.ts";
import { fromLogged, type LoggedItem } from "./logged-item.ts";
import {
  type ChildEnd,
  childEndedSchema,
  type ChildStart,
  childStartedSchema,
  type Closing,
  closedSchema,
  CUT_OFF,
  DOMAIN,
  earlyResultSchema,
  type EndReport,
  endReportSchema,
  endsStart,
  MAX_CHILD_ENDS,
  MAX_RUN_KEYS,
  runKeySchema,
  type Setup,
  setupSchema,
} from "./setup.ts";

/** What a log says, up to its last good entry. */
export interface SessionState {
  readonly systemPrompt: string | null;
  readonly config: LoggedConfig | undefined;
  /** The conversation, each item with its id. Calls at its end may be open. */
  readonly items: readonly (Item & { readonly id: string })[];
  /** What was typed, by the id of the user item that it became. */
  readonly typed: ReadonlyMap<string, readonly Segment[]>;
  /** Model requests so far. */
  readonly turns: number;
  /** The last run did not come to its end: it was cut off, cancelled, or is a pause. */
  readonly interrupted: boolean;
  /** True when a run had begun and the log says nothing of its end: the process was killed. */
  readonly cutOff: boolean;
  /** The last run may go on: it was paused, or cut off by the end of its process. */
  readonly mayGoOn: boolean;
  readonly usage: readonly UsageRecord[];
  readonly forkedFrom: Origin | undefined;
  readonly compactedFrom: Origin | undefined;
  readonly setup: Setup | undefined;
  /** Set when the Pod has ended in order and was not brought back since. */
  readonly closed: Closing | undefined;
  /** Marks of runs whose input is in the log, newest last. */
  readonly runKeys: readonly string[];
  /** What the parent was to hear of the last run that came to an end it has to hear of. */
  readonly endReport: EndReport | undefined;
  /** Starts of children whose end is not recorded, newest last. */
  readonly childStarts: readonly ChildStart[];
  /** Ends of children that the Pod knew of, newest last. */
  readonly childEnds: readonly ChildEnd[];
  /** Results of calls that are open at the end, recorded before their batch had ended. */
  readonly earlyResults: readonly ToolResultItem[];
  readonly entries: number;
}

/** True when the last run may go on and there is something it has not answered (W22). */
export function isUnderWay({ items, mayGoOn }: SessionState): boolean {
  const last = items.at(-1);
  return mayGoOn && last !== undefined && !(last.type === "message" && last.role === "assistant");
}

/**
 * Sessions that the conversation of `session` was written in before: what waits in their mailboxes is
 * this one's. A copy that somebody made of another conversation is none of them.
 */
export function earlierSessions(session: string, state: SessionState): string[] {
  const { compactedFrom, forkedFrom, setup } = state;
  const isCopy = setup === undefined || setup.lineage === session;
  return [compactedFrom, isCopy ? undefined : forkedFrom].flatMap((from) => from?.session_id ?? []);
}

/** The parts of the state that are replaced, not collected. */
type Summary = Omit<SessionState, "items" | "typed" | "usage" | "earlyResults">;

/** Collects entries in the order of the log; `state` is what they come to. */
export class Replay {
  #items: (Item & { readonly id: string })[] = [];
  #typed = new Map<string, readonly Segment[]>();
  #early = new Map<string, ToolResultItem>();
  #state: Summary = {
    systemPrompt: null,
    config: undefined,
    turns: 0,
    interrupted: false,
    cutOff: false,
    mayGoOn: false,
    forkedFrom: undefined,
    compactedFrom: undefined,
    setup: undefined,
    closed: undefined,
    runKeys: [],
    endReport: undefined,
    childStarts: [],
    childEnds: [],
    entries: 0,
  };
  #usage: UsageRecord[] = [];
  /** A report whose run has not ended yet: a crash may have come between the two. */
  #announced: EndReport | undefined;
  #lastNumber = 0;

  /** Takes the next entry; undefined is one of an unknown kind. */
  add(entry: Entry | undefined): void {
    this.#set({ entries: this.#state.entries + 1 });
    if (entry === undefined) return;
    switch (entry.kind) {
      case "session_start":
        return this.#start(entry);
      case "user_input": {
        this.#begin();
        const item = textMessage("user", flattenSegments(entry.segments));
        const id = this.#push(item, entry.first_item ?? undefined);
        this.#typed.set(id, entry.segments);
        return;
      }
      case "assistant_items":
      case "hook_injected_items":
        // Before the setup stands what a session took over from the one before it.
        if (this.#state.setup !== undefined) this.#begin();
        return this.#pushAll(entry.items, entry.first_item);
      case "tool_results":
        this.#pushAll(entry.items, entry.first_item);
        this.#early.clear();
        return;
      case "turn_end":
        return this.#set({ turns: entry.turn_count });
      case "run_completed":
      case "run_errored": {
        const { interrupted } = entry;
        const why = entry.kind === "run_completed" ? entry.result : entry.message;
        const mayGoOn = interrupted && (why === "paused" || why === CUT_OFF);
        const endReport = (why === CUT_OFF ? undefined : this.#announced) ?? this.#state.endReport;
        this.#announced = undefined;
        return this.#set({ interrupted, cutOff: false, mayGoOn, endReport });
      }
      case "config_changed":
        return this.#set({ config: entry.config });
      case "llm_usage": {
        const { kind: _kind, ts: _ts, setup_at: _at, ...usage } = entry;
        this.#usage.push(usage);
        return;
      }
      case "extension":
        return this.#extension(entry.domain, entry.payload);
    }
  }

  /** What was read so far. */
  state(): SessionState {
    return {
      ...this.#state,
      items: this.#items,
      typed: this.#typed,
      usage: this.#usage,
      earlyResults: [...this.#early.values()],
    };
  }

  #set(change: Partial<Summary>): void {
    this.#state = { ...this.#state, ...change };
  }

  /** Something of a run stands in the log: without an end of it, it was cut off. */
  #begin(): void {
    this.#set({ interrupted: true, cutOff: true, mayGoOn: true, closed: undefined });
  }

  #start(entry: Extract<Entry, { kind: "session_start" }>): void {
    this.#items = [];
    this.#typed.clear();
    this.#early.clear();
    this.#usage = [];
    this.#set({
      systemPrompt: entry.system_prompt,
      config: entry.config,
      forkedFrom: entry.forked_from ?? undefined,
      compactedFrom: entry.compacted_from ?? undefined,
    });
    const ids = entry.item_ids ?? [];
    entry.history.forEach((item, index) => void this.#push(fromLogged(item), ids[index]));
  }

  #extension(domain: string, payload: unknown): void {
    switch (domain) {
      case DOMAIN.setup: {
        const setup = setupSchema().safeParse(payload);
        if (setup.success) this.#set({ setup: setup.data, closed: undefined });
        return;
      }
      case DOMAIN.closed: {
        const closed = closedSchema().safeParse(payload);
        if (closed.success) this.#set({ closed: closed.data.reason });
        return;
      }
      case DOMAIN.carried:
        // What stood before it is no run of this session.
        return this.#set({ interrupted: false, cutOff: false, mayGoOn: false });
      case DOMAIN.childEnded: {
        const end = childEndedSchema().safeParse(payload);
        if (!end.success) return;
        this.#set({
          childEnds: [...this.#state.childEnds, end.data].slice(-MAX_CHILD_ENDS),
          childStarts: this.#state.childStarts.filter((start) => !endsStart(end.data, start)),
        });
        return;
      }
      case DOMAIN.runKey: {
        const key = runKeySchema().safeParse(payload);
        if (!key.success) return;
        const runKeys = [...this.#state.runKeys, key.data.mark].slice(-MAX_RUN_KEYS);
        return this.#set({ runKeys });
      }
      case DOMAIN.childStarted: {
        const start = childStartedSchema().safeParse(payload);
        if (!start.success) return;
        const childStarts = [...this.#state.childStarts, start.data].slice(-MAX_CHILD_ENDS);
        return this.#set({ childStarts });
      }
      case DOMAIN.report: {
        this.#announced = endReportSchema().safeParse(payload).data;
        return;
      }
      case DOMAIN.result: {
        const early = earlyResultSchema().safeParse(payload);
        if (early.success && early.data.item.type === "tool_result") {
          this.#early.set(early.data.item.call_id, early.data.item);
        }
        return;
      }
    }
  }

  #pushAll(items: readonly LoggedItem[], first: number | null | undefined): void {
    items.forEach((item, index) => {
      this.#push(fromLogged(item), first == null ? undefined : first + index);
    });
  }

  #push(item: Item, number: number | undefined): string {
    this.#lastNumber =
      number !== undefined && number > this.#lastNumber ? number : this.#lastNumber + 1;
    const id = idOf(this.#lastNumber);
    this.#items.push({ ...item, id });
    return id;
  }
}
