/** What a controller works with: everything that it does to the world goes through this. */
import type { PodEvent, Method } from "../protocol/method.ts";
import type { PodId } from "../registry/registry.ts";
import type { RunEnd } from "../worker/loop.ts";
import type { CompletionEntry, CompletionKind } from "./completions.ts";
import type { ConversationDependencies } from "./conversation.ts";
import type { Mailbox, Outgoing } from "./mailbox.ts";
import type { RuntimeFiles } from "./runtime-files.ts";
import type { AbortReason, ControllerState } from "./state.ts";
import type { WakeBudget } from "./wake-budget.ts";

/** Where a controller records its runs; see `Recorder`. */
interface RunRecord {
  /** Before a run. Throws when nothing could be recorded. */
  begin(): Promise<void>;
  /** Resolves when all of it so far is on the disk; rejects when it may not be. */
  settle(): Promise<void>;
  /**
   * After a run that was told to end for `abort`, before anybody hears of it; `report` is what the
   * parent will hear. Never rejects.
   */
  end(end: RunEnd, abort: AbortReason, report: Outgoing | undefined): Promise<void>;
}

/** What `revive` asks for. */
type ReviveRequest = Extract<Method, { method: "revive" }>["params"];

/** What a controller works with. */
export interface ControllerDependencies extends ConversationDependencies {
  readonly self: PodId;
  /** Id of the session that is written now; asked whenever it is published. */
  readonly session: () => string;
  readonly record: RunRecord;
  readonly files: RuntimeFiles;
  readonly mailbox: Mailbox;
  /** One run over the conversation as it stands; never rejects. */
  readonly runTurns: (signal: AbortSignal) => Promise<RunEnd>;
  /** What a person may have meant by the beginning of a name. */
  readonly complete: (kind: CompletionKind, prefix: string) => Promise<CompletionEntry[]>;
  /** Handles a child's report; false when it is not to be believed. A notice keeps the report's id. */
  readonly childEvent: (event: PodEvent, id: string | undefined) => Promise<boolean>;
  /** Reports the end of a run to this Pod's own parent. */
  readonly report: (report: Outgoing) => void;
  /** Reports that the parent has not taken yet. */
  readonly unreported: () => number;
  /** Asks the registry for the parent again. */
  readonly parentChanged: () => void;
  /** Shortens the conversation now; what kept it from that, if anything. */
  readonly compact: () => Promise<string | undefined>;
  /** Brings back children that are gone; what could not be brought back, if anything. */
  readonly revive: (request: ReviveRequest) => Promise<string | undefined>;
  /** Called once, when the Pod is to end. */
  readonly finish: () => void;
  /** Wraps a notice's text for the model. */
  readonly wrapNotice: (text: string) => string;
  /** How the Pod comes back to its conversation; default idle. */
  readonly initial?: ControllerState;
  /** Milliseconds that only rise; default `performance.now`. */
  readonly now?: () => number;
  readonly budget?: WakeBudget;
}
