/**
 * A Pod that was brought back: what its model is told at its first request, and how the children of
 * its earlier run come back to it.
 */
import { log } from "../base/log.ts";
import { readMounts } from "../base/mounts.ts";
import { settlesWithin } from "../base/process.ts";
import { describeApart, standingApart } from "../registry/apart.ts";
import { findByName } from "../registry/kinship.ts";
import { describeRules } from "../scope/rule.ts";
import type { OpenedSession } from "../session/open.ts";
import { describeProblem } from "../session/catalog.ts";
import { isUnderWay } from "../session/replay.ts";
import { hasEnded } from "../spawn/children.ts";
import type { SpawnContext } from "../spawn/context.ts";
import { type LostChild, lostChildren } from "../spawn/lost-children.ts";
import {
  describeTaken,
  missingChildren,
  type ReviveRequest,
  reviveChildren,
} from "../spawn/revive.ts";

/** How long an ending Pod waits for the undoing of a child that was just coming back. */
const UNDO_LIMIT_MS = 5000;

/** Logs that are named, at most. */
const MAX_NAMED = 3;

/** What a lost child left: nothing, or nothing that can be told from what is damaged. */
function lostSession(damaged: LostChild["damaged"]): string {
  if (damaged.length === 0) return "left no session";
  const more = damaged.length > MAX_NAMED ? `, and ${damaged.length - MAX_NAMED} more` : "";
  const named = damaged.slice(0, MAX_NAMED).join(", ");
  return `left no session that can be read (damaged, and maybe its own: ${named}${more})`;
}

/** The return of one Pod. */
export class ComingBack {
  readonly #context: SpawnContext;
  readonly #restored: OpenedSession | undefined;
  /** Descendants that live by themselves and that this Pod stays out of; one sentence each. */
  readonly apart: readonly string[];
  #told: boolean;
  #wentOn = false;
  /** End of the last revival: two at once would want the same children. */
  #before: Promise<unknown> = Promise.resolve();
  readonly #ending = new AbortController();

  constructor(context: SpawnContext, restored: OpenedSession | undefined) {
    this.#context = context;
    this.#restored = restored;
    this.#told = restored === undefined;
    const { registry, self } = context;
    const table = restored === undefined ? [] : registry.peek();
    const own = findByName(table, self.name);
    const apart =
      own === undefined ? [] : standingApart(table, self.name, own.scope_allow, readMounts());
    this.apart = apart.map((other) => describeApart(other, self.name));
  }

  get #isUnderWay(): boolean {
    return this.#restored !== undefined && isUnderWay(this.#restored.state);
  }

  /** What the model must know of the return, once, as things stand at its first request. */
  takeNotice(): string | undefined {
    if (this.#told) return undefined;
    this.#told = true;
    const parts = [
      "This Pod had ended and was brought back with its conversation.",
      ...(this.#isUnderWay
        ? [
            "The run that was under way was cut off; tool calls without a result were not run again.",
          ]
        : []),
      "Files must be read again before they are changed.",
      ...this.apart,
    ];
    try {
      parts.push(...this.#describeChildren());
    } catch (error) {
      log("warn", "the children of the earlier run cannot be listed", error);
    }
    return parts.join("\n");
  }

  #hasChild(name: string, session: string | undefined): boolean {
    const record = this.#context.children.get(name);
    if (record?.direct !== true || hasEnded(record)) return false;
    const entry = findByName(this.#context.registry.peek(), name);
    return session === undefined || entry?.session_id === session;
  }

  #describeChildren(): string[] {
    const living = this.#context.children.list().filter(({ phase }) => phase !== "ended");
    const missing = missingChildren(this.#context);
    const lost = lostChildren(this.#context);
    // Said once: from now on they have ended.
    for (const { name, instance } of lost) {
      this.#context.record.childEnded({ name, instance, end: "died", at: Date.now() });
    }
    return [
      ...living.map(
        ({ name, scope }) => `Pod \`${name}\` lives and keeps ${describeRules(scope)}.`,
      ),
      ...missing.map(
        ({ setup, session, path, problem, takenBy }) =>
          `Pod \`${setup.name}\` is gone; it had ${describeRules(setup.scope.allow)}. Its conversation is ` +
          `kept (session ${session}); ` +
          (problem !== undefined
            ? `its session is damaged: ${describeProblem({ path, problem })}. A person can bring it back ` +
              "when that is mended"
            : takenBy === undefined
              ? `a person can bring it back with: pod resume ${setup.name}`
              : `${describeTaken(takenBy)}, with: pod resume ${session}`),
      ),
      ...lost.map(
        ({ name, scope, task, damaged }) =>
          `Pod \`${name}\` is gone and ${lostSession(damaged)}; it had ${describeRules(scope)} and its ` +
          `task began: ${JSON.stringify(task)}. It cannot be brought back; check what it has done.`,
      ),
    ];
  }

  /**
   * Answers the method `revive`. `goOn` is called when the Pod itself is to go on with a run that was
   * cut off. Resolves with what could not be brought back, one clause for each, or undefined.
   */
  async revive(request: ReviveRequest, goOn: () => void): Promise<string | undefined> {
    const turn = this.#before.then(async () => await this.#revive(request, goOn));
    this.#before = turn.catch(() => undefined);
    return await turn;
  }

  /**
   * The Pod is ending: nothing more is brought back. Resolves when what was half done is undone, at the
   * latest after `UNDO_LIMIT_MS`; never rejects.
   */
  async close(): Promise<void> {
    this.#ending.abort();
    await settlesWithin(this.#before, UNDO_LIMIT_MS);
  }

  async #revive(request: ReviveRequest, goOn: () => void): Promise<string | undefined> {
    const { signal } = this.#ending;
    const revived = signal.aborted ? [] : await reviveChildren(this.#context, request, signal);
    if (signal.aborted) return "the pod is ending, and brings nothing more back";
    if (request.go_on && !this.#wentOn && this.#isUnderWay) {
      this.#wentOn = true;
      goOn();
    }
    const { name, session: wanted } = request;
    const lost = lostChildren(this.#context)
      .filter((child) => request.tree || (child.name === name && wanted === undefined))
      .map(
        ({ name: child, damaged }) =>
          `pod \`${child}\`: it ${lostSession(damaged)}, so it cannot be brought back`,
      );
    const isKnown = (child: string): boolean =>
      revived.length + lost.length > 0 || this.#hasChild(child, wanted);
    if (name !== undefined && !request.tree && !isKnown(name)) {
      return `pod \`${name}\` is not a child of this pod that is gone`;
    }
    const problems = revived.flatMap(({ name: child, session, problem }) => {
      const where = session === undefined ? "" : ` (session ${session})`;
      return problem === undefined ? [] : [`pod \`${child}\`${where}: ${problem}`];
    });
    const all = [...problems, ...lost];
    return all.length === 0 ? undefined : all.join("; ");
  }
}
