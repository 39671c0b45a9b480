/**
 * The acts of `pod demo`: start the root Pod, give it the task, watch, kill one child in mid-work,
 * watch the others go on, stop all. Nothing here waits for time to pass but for a reader's eyes: each
 * step begins when the Pods have said that the step before is done.
 */
import { PodError } from "../../base/errors.ts";
import { settlesWithin, stateOf } from "../../base/process.ts";
import { runMethod } from "../../protocol/method.ts";
import { type Allocation, ownerOf } from "../../registry/allocation.ts";
import { findByName } from "../../registry/kinship.ts";
import { request } from "../../transport/client.ts";
import { listPods } from "../ls.ts";
import { untilQuiet } from "../quiet.ts";
import { statusOfEntry } from "../tree.ts";
import { stopTree } from "./end.ts";
import { followPod } from "./follow.ts";
import { leadSocket, leftovers, type Lead, type Place, startLead } from "./place.ts";
import { finalFiles, type Observations, trespass } from "./report.ts";
import { LAST_WORK_BEFORE_KILL, PODS, TASK } from "./scenario.ts";
import { type Happening, Story, WAIT_LIMIT_MS } from "./story.ts";
import type { Screen } from "./view.ts";
import { holderOf, wordsFor, writtenFile } from "./words.ts";

/** For reading, before the scene changes; scaled like the scenario's waits. */
const READING_PAUSE_MS = 800;
/** Limit for handing the task to the root Pod. */
const TASK_LIMIT_MS = 10_000;

/** One performance. */
export class Show {
  readonly story: Story;
  /** The root Pod once it was started. */
  lead: Lead | undefined;
  readonly #place: Place;
  readonly #screen: Screen;
  readonly #signal: AbortSignal;
  readonly #pace: number;
  #holder: string | undefined;

  /** `signal` cuts the performance short. */
  constructor(place: Place, screen: Screen, signal: AbortSignal, pace: number) {
    this.#place = place;
    this.#screen = screen;
    this.#signal = signal;
    this.#pace = pace;
    this.story = new Story((happening) => this.#show(happening), signal);
  }

  /**
   * Plays to the end; the Pods are stopped then. Throws `timed_out` saying what was waited for,
   * `cancelled` when it was cut short, and what starting or asking the root Pod throws.
   */
  async play(): Promise<Observations> {
    const { story } = this;
    const { writer, styler, tester, successor, lead } = PODS;
    await this.#start();
    await this.#known([lead, writer, styler, tester], "three children to be spawned");
    await this.#tree("three children, three processes, each with a directory of its own");

    const noticeMs = await this.#kill();
    await this.#known([successor], `${successor} to be spawned`);
    await this.#tree(`${tester} is gone, ${successor} holds its directory`);

    await this.#quiet();
    const all = [lead, writer, styler, successor];
    const caughtUp = (): true | undefined =>
      all.every((pod) => story.isIdle(pod)) ? true : undefined;
    await story.until(caughtUp, "the last events of all Pods");
    await this.#tree("the work is done; idle Pods keep their directories until they end");
    return await this.#finish(noticeMs);
  }

  async #start(): Promise<void> {
    const { story } = this;
    const lead = startLead(this.#place);
    this.lead = lead;
    const socket = await leadSocket(lead, this.#signal);
    void lead.exited.then((code) => {
      const log = lead.log() === "" ? "" : `: ${lead.log()}`;
      story.fail(new PodError("unreachable", `the root Pod ended with exit code ${code}${log}`));
    });
    await followPod(story, PODS.lead, socket);
    await request(socket, runMethod(TASK), { timeoutMs: TASK_LIMIT_MS, signal: this.#signal });
  }

  /** Waits until every one of these Pods is followed. */
  async #known(pods: readonly string[], what: string): Promise<void> {
    const look = (): true | undefined =>
      pods.every((pod) => this.story.isKnown(pod)) ? true : undefined;
    await this.story.until(look, what);
  }

  /** Kills the tester in mid-work; returns the milliseconds until its parent's model was told. */
  async #kill(): Promise<number> {
    const { story } = this;
    const { tester, lead } = PODS;
    const isBusy = (): true | undefined => {
      const wrote = story.result(
        (result) =>
          result.pod === tester &&
          writtenFile(result, this.#place.site)?.path === LAST_WORK_BEFORE_KILL,
      );
      const refused = story.result((result) => result.input.name === PODS.refused);
      return wrote && refused && trespass(story) ? true : undefined;
    };
    await story.until(
      isBusy,
      `${tester} to write its first file, and ${PODS.styler} to be refused`,
    );
    await this.#pause();
    // A parent that is just asking its model is told after that; idle, it is told at once.
    await story.until(() => (story.isIdle(lead) ? true : undefined), `${lead} to be idle`);
    const victim = this.#entry(tester);
    const status = await statusOfEntry(victim);
    if (status?.state !== "running" || stateOf(ownerOf(victim)) !== "alive") {
      throw new PodError("internal", `${tester} is ${status?.state ?? "gone"}, not in mid-work`);
    }
    const killedAt = performance.now();
    process.kill(victim.pid, "SIGKILL");
    this.#screen.section(
      `Now this demo kills ${tester} in the middle of its work: kill -9 ${victim.pid}`,
    );
    this.#screen.line(
      tester,
      `killed with SIGKILL (by this demo), its state was: ${status.state}`,
      killedAt,
      "red",
    );
    const isNotice = (h: Happening): boolean =>
      h.pod === lead && h.kind === "told" && h.text.includes(`\`${tester}\` died`);
    const notice = await story.until(
      () => story.happenings.find(isNotice),
      `${lead} to be told that ${tester} died`,
    );
    return notice.at - killedAt;
  }

  #entry(pod: string): Allocation {
    const entry = findByName(this.#place.registry.peek(), pod);
    if (entry !== undefined) return entry;
    throw new PodError("unknown_pod", `pod \`${pod}\` is not in the registry`);
  }

  /** Waits until no Pod is working or about to. */
  async #quiet(): Promise<void> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), WAIT_LIMIT_MS);
    const signal = AbortSignal.any([limit.signal, this.#signal]);
    try {
      await untilQuiet(this.#place.registry, PODS.lead, signal);
    } finally {
      clearTimeout(timer);
    }
    if (!limit.signal.aborted) return;
    throw new PodError("timed_out", `waited ${WAIT_LIMIT_MS / 1000} s for all Pods to be idle`);
  }

  /** Stops the tree, children first, and looks at what there is then. */
  async #finish(noticeMs: number): Promise<Observations> {
    const lead = this.lead;
    if (lead === undefined) throw new PodError("internal", "there is no root Pod");
    this.story.end();
    this.#screen.section("Now all are stopped over their sockets, children first");
    const startedAt = performance.now();
    const stopped: string[] = [];
    await stopTree(
      this.#place,
      lead,
      ({ pod, forced, ms }) => {
        stopped.push(pod);
        const how = forced ? "stopped by force" : "asked to stop, proven gone";
        this.#screen.line(pod, `${how} in ${Math.round(ms)} ms`, performance.now());
      },
      this.#signal,
    );
    if (this.#signal.aborted) throw new PodError("cancelled", "the demo was interrupted");
    const stopMs = performance.now() - startedAt;
    const left = leftovers(this.#place);
    const files = finalFiles(this.#place.site);
    return { noticeMs, holder: this.#holder, stopMs, stopped, left, files };
  }

  /** What `pod ls` prints for this registry. */
  async #tree(what: string): Promise<void> {
    if (this.#signal.aborted) return;
    this.#screen.section(`$ pod ls     ${what}`);
    const { env } = this.#place;
    await this.#screen.table(async (streams) => await listPods({ json: false }, env, streams));
    await this.#pause();
  }

  /** Time for reading; nothing depends on it. */
  async #pause(): Promise<void> {
    const cut = Promise.withResolvers<void>();
    this.#signal.addEventListener("abort", () => cut.resolve(), { once: true });
    if (!this.#signal.aborted) await settlesWithin(cut.promise, READING_PAUSE_MS * this.#pace);
  }

  #show(happening: Happening): void {
    const { site, registry } = this.#place;
    const table = registry.peek();
    if (happening.kind === "result") {
      if (happening.tool === "SpawnPod" && !happening.isError)
        this.#follow(String(happening.input.name));
      if (happening.isError) this.#holder ??= holderOf(happening, table);
    }
    const words = wordsFor(happening, { site, table });
    if (words !== undefined)
      this.#screen.line(happening.pod, words.text, happening.at, words.style);
  }

  #follow(pod: string): void {
    try {
      followPod(this.story, pod, this.#entry(pod).socket).catch((error) => this.story.fail(error));
    } catch (error) {
      this.story.fail(error);
    }
  }
}
