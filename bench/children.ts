/**
 * Figures 2, 3 and 7: a child from the call to its first model request, and its violent end. The
 * model leaves the children's requests unanswered, so that nothing else happens meanwhile.
 */
import { now } from "./clock.ts";
import { type Hello, rootOverlay } from "./start.ts";
import { type Figure, summarize } from "./stats.ts";
import {
  type ModelServer,
  startPod,
  stopStarted,
  type StartedPod,
  Watch,
  type Workspace,
} from "./support.ts";

/** Children of one answer in the parallel case. */
const FAN_OUT = 8;

/** What was measured of one answer of the model. */
interface Spawned {
  readonly names: readonly string[];
  /** From the complete call to its result, for the first call. */
  readonly acceptedMs: number;
  /** From the end of the answer to the last child's request. */
  readonly requestedMs: number;
}

/** A root Pod with its events. */
class Parent {
  readonly #workspace: Workspace;
  readonly #server: ModelServer;
  readonly #pod: StartedPod;
  readonly #watch: Watch;

  private constructor(workspace: Workspace, server: ModelServer, pod: StartedPod, watch: Watch) {
    this.#workspace = workspace;
    this.#server = server;
    this.#pod = pod;
    this.#watch = watch;
  }

  static async start(workspace: Workspace, server: ModelServer, name: string): Promise<Parent> {
    const pod = await startPod(workspace, rootOverlay(name, workspace), "anthropic");
    return new Parent(workspace, server, pod, await Watch.open(pod.socket));
  }

  /** Has the model spawn `count` children at once. */
  async spawn(prefix: string, count: number): Promise<Spawned> {
    const names = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
    const answered = this.#server.saw("answered", new RegExp(`^spawn \\d+ ${prefix} `, "m"));
    const requests = names.map(
      async (name) => await this.#server.saw("request", new RegExp(`^hold ${name}$`, "m")),
    );
    await this.#watch.run(`spawn ${count} ${prefix} hold ${this.#workspace.work}`);
    const called = await this.#watch.next("tool_call_done");
    const result = await this.#watch.next("tool_result");
    await this.#watch.next("run_end");
    return {
      names,
      acceptedMs: result.at - called.at,
      requestedMs: Math.max(...(await Promise.all(requests))) - (await answered),
    };
  }

  /** Kills a child; milliseconds until the model is asked again. */
  async kill(name: string): Promise<number> {
    const asked = this.#server.saw("request", new RegExp(`\`${name}\` died`));
    const pid = this.#workspace.pidOf(name);
    const killed = now();
    process.kill(pid, "SIGKILL");
    const at = await asked;
    await this.#watch.next("run_end");
    return at - killed;
  }

  /** Has the model stop all children of a prefix. */
  async stop(prefix: string, count: number): Promise<void> {
    await this.#watch.run(`stop ${count} ${prefix}`);
    await this.#watch.next("run_end");
  }

  async end(): Promise<void> {
    this.#watch.close();
    await stopStarted(this.#pod);
  }
}

/** How often everything is measured. */
export interface Rounds {
  /** Children one after the other of one parent. */
  readonly single: number;
  /** Parents of which only the first answer counts. */
  readonly fresh: number;
}

/** Measures, each time beside hello-worlds of the same number. */
export async function measureChildren(
  workspace: Workspace,
  server: ModelServer,
  hello: Hello,
  rounds: Rounds,
): Promise<Figure[]> {
  const single: Spawned[] = [];
  const killed: number[] = [];
  const hellos: number[] = [];
  const parent = await Parent.start(workspace, server, "parent");
  for (let round = 0; round < rounds.single; round += 1) {
    hellos.push(await hello.run());
    const spawned = await parent.spawn(`one${round}`, 1);
    single.push(spawned);
    for (const name of spawned.names) killed.push(await parent.kill(name));
  }
  await parent.end();

  const first: Spawned[] = [];
  const together: Spawned[] = [];
  const helloFirst: number[] = [];
  const helloTogether: number[] = [];
  for (let round = 0; round < rounds.fresh; round += 1) {
    helloFirst.push(await hello.run());
    first.push(await spawnOnce(workspace, server, `first${round}`, 1));
    helloTogether.push(await hello.runTogether(FAN_OUT));
    together.push(await spawnOnce(workspace, server, `many${round}`, FAN_OUT));
  }
  const line = (
    id: string,
    title: string,
    values: readonly number[],
    baseline: readonly number[],
    aim?: number,
  ): Figure => ({
    id,
    title,
    unit: "ms",
    value: summarize(values),
    baseline: summarize(baseline),
    ...(aim === undefined ? {} : { aim }),
  });
  const accepted = (list: readonly Spawned[]): number[] => list.map((one) => one.acceptedMs);
  const requested = (list: readonly Spawned[]): number[] => list.map((one) => one.requestedMs);
  return [
    line("2a", "SpawnPod call to accepted task", accepted(single), hellos, 25),
    line("2b", "… first child of a fresh parent", accepted(first), helloFirst),
    line("3a", "model answer to the child's first request", requested(single), hellos, 40),
    line("3b", "… first child of a fresh parent", requested(first), helloFirst),
    line(
      "3c",
      `… last of ${FAN_OUT} children of one answer, fresh parent`,
      requested(together),
      helloTogether,
      150,
    ),
    line("7", "kill -9 of a child to the parent's next request", killed, hellos, 100),
  ];
}

async function spawnOnce(
  workspace: Workspace,
  server: ModelServer,
  name: string,
  count: number,
): Promise<Spawned> {
  const parent = await Parent.start(workspace, server, name);
  const spawned = await parent.spawn(`${name}x`, count);
  await parent.stop(`${name}x`, count);
  await parent.end();
  return spawned;
}
