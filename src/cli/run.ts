/**
 * `pod run "task"`: a root Pod in the foreground on the current directory. Its answer streams to
 * standard output, what else happens to standard error. It ends when the Pod and everything below it
 * are quiet, and takes what it started along unless told to keep it.
 */
import { constants } from "node:os";
import { EXIT, messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { assertPodName } from "../base/paths.ts";
import { harmless } from "../base/text.ts";
import { joinBase } from "../manifest/paths.ts";
import type { ManifestLayer } from "../manifest/schema.ts";
import { encodeMessage, type Event, type RunOutcome } from "../protocol/event.ts";
import type { Allocation } from "../registry/allocation.ts";
import type { Registry } from "../registry/registry.ts";
import { type RunningPod, startPod } from "../serve/pod.ts";
import { catchSignals, exitOnInternalFailure, type OnFirstSignal } from "../serve/process.ts";
import { type ManifestOptions, readOptions } from "./cascade.ts";
import { EventView } from "./event-view.ts";
import type { Streams } from "./output.ts";
import { untilQuiet } from "./quiet.ts";
import { runFallback } from "./run-defaults.ts";
import { branchOf, killAll, stopInOrder } from "./tree.ts";

/** Options of the command. */
export interface RunTaskOptions extends ManifestOptions {
  readonly model?: string;
  readonly name?: string;
  readonly json: boolean;
  readonly keep: boolean;
}

/** Runs the task; the exit code is 0 when the last run finished, 1 when it failed, 128+n on a signal. */
export async function runTask(
  task: string,
  options: RunTaskOptions,
  env: Environment,
  cwd: string,
  streams: Streams,
): Promise<number> {
  if (task.trim() === "") throw new PodError("usage", "the task is empty (see: pod run --help)");
  exitOnInternalFailure();
  const { name } = options;
  if (name !== undefined) assertPodName(name);
  const cascade = {
    ...(await readOptions(options, cwd)),
    given: layerOf(options, cwd),
    fallback: runFallback(cwd, crypto.randomUUID().slice(0, 4)),
  };
  const onFirstSignal = catchSignals();
  const pod = await startPod(cascade, env, cwd);
  return await new Foreground(pod, options, env, streams, onFirstSignal).run(task);
}

/** What `--name` and `--model` say, as the uppermost layer of the manifest. */
function layerOf({ model, name }: RunTaskOptions, cwd: string): ManifestLayer {
  const script = model?.startsWith("script:") === true ? model.slice("script:".length) : undefined;
  if (script === "") throw new PodError("usage", "--model script: needs a file behind the colon");
  return {
    ...(name === undefined ? {} : { pod: { name } }),
    ...(script !== undefined
      ? { model: { scheme: "script", script: joinBase(cwd, script) } }
      : model !== undefined
        ? { model: { ref: model } }
        : {}),
  };
}

/** One foreground Pod with a person, or a program, in front of it. */
class Foreground {
  readonly #pod: RunningPod;
  readonly #options: RunTaskOptions;
  readonly #registry: Registry;
  readonly #streams: Streams;
  readonly #onFirstSignal: OnFirstSignal;
  readonly #view: EventView;
  readonly #interrupted = new AbortController();
  #signal: NodeJS.Signals | undefined;
  /** What lived below the Pod when it began to leave. */
  #below: Allocation[] | undefined;
  #outcome: RunOutcome = "finished";
  /** Nobody reads the answer any more: a model that goes on would cost for nothing. */
  #unread = false;

  constructor(
    pod: RunningPod,
    options: RunTaskOptions,
    env: Environment,
    streams: Streams,
    onFirstSignal: OnFirstSignal,
  ) {
    this.#onFirstSignal = onFirstSignal;
    this.#streams = streams;
    this.#pod = pod;
    this.#options = options;
    this.#registry = pod.registry;
    this.#view = new EventView(streams, env);
  }

  async run(task: string): Promise<number> {
    const pod = this.#pod;
    this.#onFirstSignal(
      (signal) => {
        this.#signal = signal;
        pod.controller.cancel();
        this.#interrupted.abort();
      },
      () => killAll(this.#below ?? this.#peekBelow()),
    );
    this.#streams.out.onClosed = () => {
      this.#unread = true;
      pod.controller.cancel();
      this.#interrupted.abort();
    };
    pod.subscribe((event) => {
      // Said before the Pod leaves the registry: afterwards nobody knows whose its children were.
      if (event.event === "shutdown") this.#below ??= this.#peekBelow();
      this.#show(event);
    });
    this.#note(`pod \`${pod.self.name}\` works in ${harmless(pod.cwd)}`);
    pod.controller.run([{ kind: "text", content: task }]);
    let isQuiet = false;
    try {
      await Promise.race([
        untilQuiet(this.#registry, pod.self.name, this.#interrupted.signal).then(() => {
          isQuiet = !this.#interrupted.signal.aborted;
        }),
        pod.ended,
      ]);
    } finally {
      // Whatever went wrong: the Pod of this command does not outlive it.
      pod.shutdown(this.#signal === undefined ? "client request" : "signal");
      await pod.ended;
      this.#interrupted.abort();
      await this.#takeAlong(this.#below ?? []);
    }
    if (this.#unread) return EXIT.done;
    this.#view.endLine();
    if (this.#signal !== undefined) return 128 + constants.signals[this.#signal];
    if (!isQuiet) this.#note("stopped from outside before the work was done");
    return isQuiet && this.#outcome === "finished" ? EXIT.done : EXIT.failed;
  }

  /** Nobody, when the registry cannot be read: those whom it would name live on, and their Pods say so. */
  #peekBelow(): Allocation[] {
    try {
      return branchOf(this.#registry.peek(), this.#pod.self.name).slice(1);
    } catch (error) {
      this.#note(`what lives below cannot be told: ${messageOf(error)} (see: pod ls)`);
      return [];
    }
  }

  async #takeAlong(below: readonly Allocation[]): Promise<void> {
    if (below.length === 0) return;
    if (this.#options.keep && this.#signal === undefined) {
      this.#note(`left running: ${below.map((entry) => entry.pod_name).join(", ")} (see: pod ls)`);
      return;
    }
    for (const entry of await stopInOrder(this.#registry, below)) {
      this.#note(
        `pod \`${entry.pod_name}\` (pid ${entry.pid}) could not be ended; its scope is kept`,
      );
    }
  }

  #show(event: Event): void {
    if (event.event === "run_end") this.#outcome = event.data.outcome ?? this.#outcome;
    if (this.#options.json) {
      this.#streams.out.write(`${encodeMessage(event)}\n`);
      return;
    }
    this.#view.show(event);
  }

  #note(text: string): void {
    if (!this.#options.json) this.#view.note(text);
  }
}
