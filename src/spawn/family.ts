/**
 * What happens to a spawner when something happens to its children: an exit seen by the kernel, the
 * end of a watched connection, an event from a child. The registry decides; every path ends in
 * `Children.apply` with a fresh table. Nothing is released on an event, only on proof of death (W58).
 */
import { PodError } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { isPodName, podPaths } from "../base/paths.ts";
import { idle } from "../base/process.ts";
import type { PodEvent } from "../protocol/method.ts";
import { isReservation } from "../registry/allocation.ts";
import { type Allocations, ancestorsOf, childrenOf, findByName } from "../registry/kinship.ts";
import type { PodId, Registry } from "../registry/registry.ts";
import { describeRules } from "../scope/rule.ts";
import type { ChildEnd } from "../session/setup.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { type ChildRecord, type Children, recordOf, type Spawner } from "./children.ts";
import { clearCommands, clearGroup } from "./group.ts";
import { describeExit, type ExitInfo } from "./launch.ts";
import { describeHeirs, describeLastWords, describeOutcome, lastLines } from "./news.ts";
import { type Parting, watchOther, type WatchLimits } from "./watch.ts";

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
  /** Told of each child that became ours without having been started here, before it is watched. */
  readonly inherited?: (child: ChildRecord) => void;
  /** Told of each end of a child, once its scope was given back. */
  readonly ended?: (end: ChildEnd) => void;
  readonly limits?: WatchLimits;
}

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

  /**
   * A child that this Pod has just ended is dead: its end is taken in now, since one that another process
   * started is seen only later. Resolves when all that follows from it is done; never rejects.
   */
  async stopped(record: ChildRecord): Promise<void> {
    if (record.direct && record.phase !== "ended") await this.#end(record, "announced");
    await this.settled(record);
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
    for (const record of adopted) {
      this.#deps.inherited?.(record);
      void this.#watchOther(record);
    }
    return adopted;
  }

  /** Asks the registry anew and takes over what it says. */
  async refresh(): Promise<void> {
    await this.#deps.scope.exclusive(async () => {
      this.apply((await this.#deps.registry.reclaim()).table);
    });
  }

  /**
   * Asks the registry again and again, ever less often, for some hours, until nothing is held any more
   * for a child that has ended or never came up. Keeps no process alive.
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
          await this.refresh();
          if (!this.#isOwed()) return;
        } catch (error) {
          if (tries === 0) log("warn", "the registry cannot be asked yet; trying on", error);
        }
        pause = Math.min(pause * 2, LAST_REFRESH_MS);
      }
    };
    void attempt().finally(() => (this.#refreshing = false));
  }

  /** True while the registry holds paths of this Pod for nobody that lives. */
  #isOwed(): boolean {
    const { children, registry, self } = this.#deps;
    return childrenOf(registry.peek(), self.name).some(
      (entry) =>
        isReservation(entry) || children.find(entry.pod_name, entry.instance)?.phase === "ended",
    );
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
    // A hint: the exit itself follows, and only that gives anything back.
    if (event.kind === "shut_down") return true;
    // A turn has ended: the same words from now on are another message.
    record.unconfirmed = undefined;
    if (event.kind !== "turn_paused") record.phase = "idle";
    this.#notify(record, id, describeOutcome(record.name, event));
    return true;
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
    let kept: string | undefined;
    let heirs = "";
    try {
      if (!clear) throw new PodError("timed_out", "something it had started cannot be killed");
      const views = children.list().filter(({ direct }) => !direct);
      heirs = describeHeirs(await this.giveBack(record));
      // Gone before they could become ours: nobody else is left to remember it.
      for (const { name, instance } of views) {
        if (children.find(name, instance) !== undefined) continue;
        this.#deps.ended?.({ name, instance, end: "died", at: Date.now() });
      }
    } catch (error) {
      log("error", `could not give back the scope of pod \`${record.name}\``, error);
      const why = clear
        ? "Its scope could not be given back yet"
        : "Something that it had started cannot be killed and may still write, so its scope is not given back yet";
      kept = `${why}; this is tried again, by ListPods at once.`;
      this.refreshLater();
    }
    const { name, instance } = record;
    const end = record.stopping ? "stopped" : crashed ? "died" : "ended";
    this.#deps.ended?.({ name, instance, end, at: Date.now() });
    const now = heirs === "" ? "" : ` Now yours: ${heirs}.`;
    const id = exitNoticeId(record);
    if (!crashed) {
      const more = kept === undefined ? "" : ` ${kept}`;
      return this.#notify(record, id, `Pod \`${record.name}\` has stopped.${more}${now}`);
    }
    const how = typeof exit === "string" ? "" : ` (${describeExit(exit)})`;
    const returned = kept ?? `Its scope is yours again: ${describeRules(record.scope)}.`;
    const said = describeLastWords(tail);
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

  async #watchOther(record: ChildRecord): Promise<void> {
    const { children, limits } = this.#deps;
    const isOurs = (): boolean => children.find(record.name, record.instance) === record;
    const parting = await watchOther(record, isOurs, limits);
    if (parting !== undefined) await this.#end(record, parting);
  }
}

/** Id of the one notice about the end of this run of a Pod, whoever sees it and however often. */
function exitNoticeId({ instance }: Pick<ChildRecord, "instance">): string {
  return `exit:${instance}`;
}
