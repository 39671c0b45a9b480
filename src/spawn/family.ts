/**
 * What happens to a spawner when something happens to its children: an exit seen by the kernel, the
 * end of a watched connection, an event from a child. The registry decides; every path ends in
 * `Children.apply` with a fresh table. Nothing is released on an event, only on proof of death (W58).
 */
import { readTail } from "../base/files.ts";
import { log } from "../base/log.ts";
import { isPodName, podPaths } from "../base/paths.ts";
import { idle, type LookPauses, looksUntil, stateOf } from "../base/process.ts";
import type { PodEvent } from "../protocol/method.ts";
import { isReservation } from "../registry/allocation.ts";
import { type Allocations, ancestorsOf, findByName } from "../registry/kinship.ts";
import type { PodId, Registry } from "../registry/registry.ts";
import { describeRules } from "../scope/rule.ts";
import type { ChildEnd } from "../session/setup.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { connectPod } from "../transport/client.ts";
import { type ChildRecord, type Children, recordOf, type Spawner } from "./children.ts";
import { clearCommands, clearGroup } from "./group.ts";
import { describeExit, type ExitInfo } from "./launch.ts";

/** A text for the spawner's model; `wake` starts a run when the spawner is idle. */
export interface Notice {
  /** By this it is recognised when it comes again; a report without one may be told twice. */
  readonly id: string | undefined;
  readonly text: string;
  readonly wake: boolean;
}

/** What the family needs from its Pod. */
interface FamilyDependencies {
  readonly self: Spawner;
  readonly registry: Registry;
  readonly scope: LiveScope;
  readonly children: Children;
  readonly notify: (notice: Notice) => void;
  /** Sends an event to this Pod's own parent, if it has one. */
  readonly report: (event: PodEvent) => void;
  /** Told of each end of a child, once its scope was given back. */
  readonly ended?: (end: ChildEnd) => void;
  readonly limits?: WatchLimits;
}

/** Limits of the watch over Pods that another process started. Milliseconds. */
interface WatchLimits {
  readonly connectMs: number;
  /** How long the end of a watched connection may take to become the end of the process. */
  readonly endMs: number;
  /** First pause before a Pod that lives on is connected to again; it doubles. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
}

const WATCH_LIMITS: WatchLimits = {
  connectMs: 5000,
  endMs: 5000,
  retryMs: 1000,
  maxRetryMs: 60_000,
};

/** Between looks at a Pod whose connection has ended. */
const LOOK_PAUSES: LookPauses = { firstMs: 2, maxMs: 100, keepsAlive: false };

/** Longest text taken over from a child's event (W59). */
const MAX_MESSAGE_CHARACTERS = 2048;

/** Lines of a dead child's standard error that its parent's model is shown. */
const STDERR_LINES = 10;

/** How long what is left of a dead Pod's group may survive SIGKILL. */
const CLEAR_MS = 2000;

/** Pauses before a registry that could not be asked is asked again. */
const FIRST_REFRESH_MS = 1000;
const LAST_REFRESH_MS = 60_000;
const MAX_REFRESHES = 200;

/** Reactions of one spawner to its children. */
export class Family {
  readonly #deps: FamilyDependencies;
  readonly #endings = new WeakMap<ChildRecord, Promise<void>>();
  #closed = false;
  #refreshing = false;

  constructor(deps: FamilyDependencies) {
    this.#deps = deps;
  }

  /** Watches a child that this process started; call once the record is in place. */
  watch(record: ChildRecord): void {
    void record.exited?.then((exit) => this.#end(record, exit));
  }

  /** From now on the ends of children are nobody's news here: this Pod is leaving. */
  close(): void {
    this.#closed = true;
    this.#deps.children.close();
  }

  /** Resolves when all that follows from a record's end is done; at once while it lives. */
  async settled(record: ChildRecord): Promise<void> {
    await this.#endings.get(record);
  }

  /**
   * Takes over a fresh table: what may still be written, and children that became ours, which are
   * watched from now on and returned.
   */
  apply(table: Allocations): ChildRecord[] {
    const adopted = this.#deps.children.apply(table);
    for (const record of adopted) void this.#watchOther(record);
    return adopted;
  }

  /** Asks the registry anew and takes over what it says. */
  async refresh(): Promise<void> {
    await this.#deps.scope.exclusive(async () => {
      this.apply((await this.#deps.registry.reclaim()).table);
    });
  }

  /**
   * Asks the registry again and again, ever less often, until it answers, for some hours: what was not
   * given back, or was left reserved, then is. Keeps no process alive.
   */
  refreshLater(ms: number = FIRST_REFRESH_MS): void {
    if (this.#refreshing) return;
    this.#refreshing = true;
    const attempt = async (): Promise<void> => {
      let pause = ms;
      for (let tries = 0; tries < MAX_REFRESHES; tries += 1) {
        await idle(pause);
        if (this.#closed) return;
        try {
          return await this.refresh();
        } catch (error) {
          if (tries === 0) log("warn", "the registry cannot be asked yet; trying on", error);
        }
        pause = Math.min(pause * 2, LAST_REFRESH_MS);
      }
    };
    void attempt().finally(() => (this.#refreshing = false));
  }

  /** Gives a proven-dead Pod's allocation back; returns the children inherited from it. */
  async giveBack(pod: PodId): Promise<ChildRecord[]> {
    return await this.#deps.scope.exclusive(async () =>
      this.apply((await this.#deps.registry.release(pod)).table),
    );
  }

  /**
   * Handles an event. False when it is not from a known child with the right instance, or claims
   * what the registry does not confirm: then nothing has changed. A notice gets the event's `id`.
   */
  async handle(event: PodEvent, id?: string): Promise<boolean> {
    if (event.kind === "scope_sub_delegated") return await this.#subDelegated(event);
    const record = await this.#known(event.pod_name, event.instance);
    if (record === undefined) return false;
    // A turn has ended: the same words from now on are another message.
    if (event.kind !== "shut_down") record.unconfirmed = undefined;
    switch (event.kind) {
      case "turn_ended":
        record.phase = "idle";
        this.#notify(record, id, `Pod \`${record.name}\` finished a turn.`);
        return true;
      case "turn_paused":
        this.#notify(
          record,
          id,
          `Pod \`${record.name}\` was paused from outside; its turn goes on when it is resumed.`,
        );
        return true;
      case "turn_cancelled":
        record.phase = "idle";
        this.#notify(
          record,
          id,
          `The turn of pod \`${record.name}\` was cancelled from outside before it was done; it is idle.`,
        );
        return true;
      case "errored":
        record.phase = "idle";
        this.#notify(
          record,
          id,
          // One line: further ones could pass for notices of our own.
          `Pod \`${record.name}\` reported an error: ${untrusted(event.message).replace(/\n+/g, " ")}`,
        );
        return true;
      case "shut_down":
        // A hint: the exit itself follows, and only that gives anything back.
        return true;
    }
  }

  /** The child of this name and instance; a Pod that has just become ours is found in the registry. */
  async #known(name: string, instance: string | undefined): Promise<ChildRecord | undefined> {
    const { children, registry, self } = this.#deps;
    if (instance === undefined || !isPodName(name)) return undefined;
    const find = (): ChildRecord | undefined => {
      const record = children.find(name, instance);
      return record?.phase === "ended" ? undefined : record;
    };
    if (find() === undefined) {
      const entry = findByName(registry.peek(), name);
      if (entry?.instance === instance && entry.delegated_from === self.name) await this.refresh();
    }
    return find();
  }

  async #subDelegated(event: Extract<PodEvent, { kind: "scope_sub_delegated" }>): Promise<boolean> {
    const { children, registry, self, report } = this.#deps;
    const sender = await this.#known(event.parent_pod, event.instance);
    if (sender === undefined || !isPodName(event.sub_pod)) return false;
    const table = registry.peek();
    const entry = findByName(table, event.sub_pod);
    // A reservation has no process of its own yet: stopping it would hit its spawner.
    if (entry === undefined || entry.socket !== event.sub_socket || isReservation(entry)) {
      return false;
    }
    const chain = ancestorsOf(table, entry).map((ancestor) => ancestor.pod_name);
    if (!chain.includes(sender.name) || !chain.includes(self.name)) return false;
    if (children.find(entry.pod_name, entry.instance) !== undefined) return true;
    children.add(recordOf(entry, sender.socket, false));
    report({ ...event, scope: entry.scope_allow, parent_pod: self.name, instance: self.instance });
    return true;
  }

  #notify(record: ChildRecord, id: string | undefined, text: string): void {
    if (record.stopping) return; // what this Pod does itself is no news to it (W55)
    this.#deps.notify({ id, text, wake: true });
  }

  /** What follows from a Pod's end, once; never rejects. */
  #end(record: ChildRecord, exit: ExitInfo | Parting): Promise<void> {
    const known = this.#endings.get(record);
    if (known !== undefined) return known;
    const ending = this.#ended(record, exit).catch((error: unknown) =>
      log("error", `the end of pod \`${record.name}\` was not handled`, error),
    );
    this.#endings.set(record, ending);
    return ending;
  }

  async #ended(record: ChildRecord, exit: ExitInfo | Parting): Promise<void> {
    const { children, registry } = this.#deps;
    if (this.#closed || children.find(record.name, record.instance) !== record) return;
    const crashed = this.#hasCrashed(record, exit);
    const tail = crashed ? lastLines(podPaths(registry.base, record.name).stderr) : "";
    children.end(record);
    // Nobody is left to end what the Pod had started in its group, and it may still write.
    const paths = podPaths(registry.base, record.name);
    const clear =
      (await clearGroup(record.owner.pid, CLEAR_MS)) &&
      (await clearCommands(record.owner.pid, paths, CLEAR_MS));
    if (!clear) {
      log("warn", `something in the group of pod \`${record.name}\` cannot be killed`);
    }
    let returned = `Its scope is yours again: ${describeRules(record.scope)}.`;
    let heirs = "";
    try {
      heirs = describeHeirs(await this.giveBack(record));
    } catch (error) {
      log("error", `could not give back the scope of pod \`${record.name}\``, error);
      returned = "Its scope could not be given back yet; this is tried again, by ListPods at once.";
      this.refreshLater();
    }
    const { name, instance } = record;
    const end = record.stopping ? "stopped" : crashed ? "died" : "ended";
    this.#deps.ended?.({ name, instance, end, at: Date.now() });
    const now = heirs === "" ? "" : ` Now yours: ${heirs}.`;
    const id = exitNoticeId(record);
    if (!crashed) return this.#notify(record, id, `Pod \`${record.name}\` has stopped.${now}`);
    const how = typeof exit === "string" ? "" : ` (${describeExit(exit)})`;
    const said = tail === "" ? "" : `\nLast lines of its standard error:\n${untrusted(tail)}`;
    this.#notify(
      record,
      id,
      `Pod \`${record.name}\` died unexpectedly${how}. ${returned}${now}${said}`,
    );
  }

  #hasCrashed({ name, instance }: ChildRecord, exit: ExitInfo | Parting): boolean {
    if (typeof exit !== "string") return exit.code !== 0 || exit.signal !== null;
    if (exit !== "unseen") return exit === "silent";
    // A Pod that ends in order gives its allocation back itself.
    return findByName(this.#deps.registry.peek(), name)?.instance === instance;
  }

  /**
   * Watches a Pod that another process started: its socket's end tells of its end. The kernel wakes
   * us, nothing polls; only after the end-of-file the process is given a bounded time to be gone. One
   * that lives on without its connection is connected to again, ever less often.
   */
  async #watchOther(record: ChildRecord): Promise<void> {
    const { children, limits = WATCH_LIMITS } = this.#deps;
    const isOurs = (): boolean => children.find(record.name, record.instance) === record;
    for (let pause = limits.retryMs; isOurs(); pause = Math.min(pause * 2, limits.maxRetryMs)) {
      const parting = await untilDisconnected(record.socket, limits);
      const isDead = (): boolean => stateOf(record.owner) === "dead";
      if (await looksUntil(isDead, limits.endMs, LOOK_PAUSES)) {
        return await this.#end(record, parting);
      }
      log("warn", `pod \`${record.name}\` (pid ${record.owner.pid}) lives on unconnected`);
      await idle(pause);
    }
  }
}

/** Id of the one notice about the end of this run of a Pod, whoever sees it and however often. */
function exitNoticeId({ instance }: Pick<ChildRecord, "instance">): string {
  return `exit:${instance}`;
}

/** How a Pod that another process started has gone: announced, without a word, or out of sight. */
type Parting = "announced" | "silent" | "unseen";

async function untilDisconnected(socket: string, limits: WatchLimits): Promise<Parting> {
  let parting: Parting = "unseen";
  try {
    await using client = await connectPod(socket, { timeoutMs: limits.connectMs });
    client.unref();
    parting = "silent";
    // It is ours now, perhaps after it had nobody: what it has to report comes here (W52).
    await client.send({ method: "parent_changed" });
    // All is read: a connection whose events pile up would not notice its end.
    for (;;) {
      const event = await client.next(Number.POSITIVE_INFINITY);
      if (event === undefined) break;
      if (event.event === "shutdown") parting = "announced";
    }
  } catch {
    // Not connectable, or a line that is too long: the process itself is looked at then.
  }
  return parting;
}

/** Pods that a dead one left to its parent, with the paths that they still hold. */
export function describeHeirs(heirs: readonly ChildRecord[]): string {
  return heirs.map(({ name, scope }) => `\`${name}\` keeps ${describeRules(scope)}`).join("; ");
}

/** The last few lines a dead Pod wrote to its standard error, without its ready lines. */
function lastLines(path: string): string {
  const lines = readTail(path, MAX_MESSAGE_CHARACTERS)
    .split("\n")
    .filter(
      (line) => !line.startsWith("INSOMNIA-READY\t") && !/^pod: \S+ listening on "/.test(line),
    );
  return lines.slice(-STDERR_LINES).join("\n").trim();
}

/** Text of another process, bounded and without control characters other than line breaks. */
function untrusted(text: string): string {
  const shown =
    text.length > MAX_MESSAGE_CHARACTERS ? `${text.slice(0, MAX_MESSAGE_CHARACTERS)}…` : text;
  return shown.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, " ").toWellFormed();
}
