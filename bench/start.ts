/** Figures 1 and 4: the start of the yardstick, of a plain Pod process and of `pod run`. */
import { join } from "node:path";
import { now } from "./clock.ts";
import type { Figure } from "./stats.ts";
import { summarize } from "./stats.ts";
import { type ModelServer, startPod, stopStarted, within, type Workspace } from "./support.ts";

/** The compiled hello-world, and everything that was measured of it. */
export class Hello {
  readonly #program: string;
  readonly #env: Record<string, string>;
  readonly #firstByte: number[] = [];
  readonly #exit: number[] = [];
  #sockets = 0;

  private constructor(program: string, env: Record<string, string>) {
    this.#program = program;
    this.#env = env;
  }

  /** Builds it exactly as the program itself is built. */
  static async build(workspace: Workspace): Promise<Hello> {
    const program = join(workspace.root, "hello");
    const here = import.meta.dir;
    const build = Bun.spawn(
      [
        process.execPath,
        join(here, "../build.ts"),
        "--entry",
        join(here, "hello.ts"),
        "--outfile",
        program,
      ],
      { env: workspace.env(), stdio: ["ignore", "ignore", "inherit"] },
    );
    if ((await within(build.exited, "build of the hello-world")) !== 0) {
      throw new Error("the hello-world could not be built");
    }
    return new Hello(program, workspace.env());
  }

  /** Runs it once; returns the milliseconds from before the start to its first byte. */
  async run(): Promise<number> {
    const started = now();
    const child = this.#start("pipe");
    for await (const _ of child.stdout) break;
    const firstByte = now() - started;
    await within(child.exited, "end of the hello-world");
    this.#exit.push(now() - started);
    this.#firstByte.push(firstByte);
    return firstByte;
  }

  /** Runs `count` at once; returns the milliseconds until the last one's first byte. */
  async runTogether(count: number): Promise<number> {
    const started = now();
    const children = Array.from({ length: count }, () => this.#start("pipe"));
    const times = await Promise.all(
      children.map(async (child) => {
        for await (const _ of child.stdout) break;
        return now() - started;
      }),
    );
    await within(Promise.all(children.map((child) => child.exited)), "end of the hello-worlds");
    return Math.max(...times);
  }

  /** Starts `count` that stay until they are killed, at the latest with the workspace. */
  async stay(count: number): Promise<Bun.Subprocess[]> {
    const children = Array.from({ length: count }, () =>
      Bun.spawn([this.#program, "--idle"], {
        env: this.#env,
        stdio: ["ignore", "pipe", "inherit"],
      }),
    );
    for (const child of children) for await (const _ of child.stdout) break;
    return children;
  }

  /** Starts `count` at once that listen each at a socket of its own, and waits for all of them. */
  async listen(count: number): Promise<Bun.Subprocess[]> {
    const children = Array.from({ length: count }, () =>
      Bun.spawn([this.#program, "--listen", `${this.#program}-${(this.#sockets += 1)}.sock`], {
        env: this.#env,
        stdio: ["ignore", "pipe", "inherit"],
      }),
    );
    await Promise.all(
      children.map(async (child) => {
        for await (const _ of child.stdout) break;
      }),
    );
    return children;
  }

  /** Figure 1, over all runs so far. */
  figures(): Figure[] {
    return [
      {
        id: "1a",
        title: "hello-world: start to first byte",
        unit: "ms",
        value: summarize(this.#firstByte),
      },
      { id: "1b", title: "hello-world: start to exit", unit: "ms", value: summarize(this.#exit) },
    ];
  }

  #start(stdout: "pipe"): Bun.Subprocess<"ignore", "pipe", "inherit"> {
    return Bun.spawn([this.#program], { env: this.#env, stdio: ["ignore", stdout, "inherit"] });
  }
}

/** The overlay of a root Pod that may write its working directory. */
export function rootOverlay(name: string, workspace: Workspace): string {
  const target = JSON.stringify(workspace.work);
  return `[pod]\nname = "${name}"\n[[scope.allow]]\ntarget = ${target}\npermission = "write"\n`;
}

/** Figure 4: a Pod process to its ready line, `pod run` to its first model request. */
export async function measureStart(
  workspace: Workspace,
  server: ModelServer,
  hello: Hello,
  rounds: number,
): Promise<Figure[]> {
  const series = { plain: [] as number[], run: [] as number[], hello: [] as number[] };
  let missing: string | undefined;
  for (let round = 0; round < rounds; round += 1) {
    series.hello.push(await hello.run());
    const pod = await startPod(workspace, rootOverlay(`start-${round}`, workspace), "anthropic");
    series.plain.push(pod.readyMs);
    await stopStarted(pod);
    if (missing !== undefined) continue;
    const first = await timeRun(workspace, server, `task ${round}`);
    if (typeof first === "number") series.run.push(first);
    else missing = first;
  }
  if (missing !== undefined) console.error(`figure 4a is left out: ${missing}`);
  const baseline = summarize(series.hello);
  return [
    ...(series.run.length === 0
      ? []
      : [
          {
            id: "4a",
            title: "`pod run`: start to first model request",
            unit: "ms" as const,
            value: summarize(series.run),
            baseline,
            aim: 50,
          },
        ]),
    {
      id: "4b",
      title: "`pod --overlay`: start to ready line",
      unit: "ms",
      value: summarize(series.plain),
      baseline,
    },
  ];
}

/** Milliseconds, or why there are none. */
async function timeRun(
  workspace: Workspace,
  server: ModelServer,
  task: string,
): Promise<number | string> {
  const requested = server.saw("request", new RegExp(`^${task}$`, "m"));
  requested.catch(() => undefined);
  const started = now();
  const child = Bun.spawn([workspace.pod, "run", task], {
    cwd: workspace.work,
    env: workspace.env("anthropic"),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const complaints = child.stderr.text();
  const ended = child.exited.then(async () => await complaints);
  const at = await Promise.race([requested, ended]);
  await within(child.exited, "end of `pod run`");
  if (typeof at === "string") return `\`pod run\` ended without a request: ${at.trim()}`;
  return at - started;
}
