/** Two live Pods of the compiled binary, and the questions that every hostile act must answer to. */
import { expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runMethod } from "../../src/protocol/method.ts";
import { podBinary } from "../support/binary.ts";
import { type Result, runProgram } from "../support/command.ts";
import { eventually, type RootPod, startWorld, type World } from "../support/pod.ts";

/** One line of `pod doctor --json`. */
export interface Line {
  readonly check: string;
  readonly status: "ok" | "warning" | "problem" | "fixed";
  readonly finding: string;
  readonly advice: string | null;
}

/** What `pod doctor` said. */
export interface Diagnosis {
  readonly code: number;
  readonly lines: readonly Line[];
  /** The lines of a check that are not `ok`. */
  complaints(check?: string): Line[];
}

/** A root Pod with everything in `work` and its child `kid` with `work/area`. */
export interface LiveFamily extends AsyncDisposable {
  readonly world: World;
  readonly root: RootPod;
  readonly kidPid: number;
  cli(...args: string[]): Promise<Result>;
  doctor(...args: string[]): Promise<Diagnosis>;
  /** Gives the root a task of one tool call, when it is idle, and returns the call's summary. */
  task(text: string): Promise<string>;
  /** Fails unless another root with the kid's directory is refused; returns what it was told. */
  refusedRoot(): Promise<string>;
  /** Fails unless both Pods live, are listed, and the root can write and spawn a Pod of this name. */
  goesOn(name: string): Promise<void>;
}

/** Options of `liveFamily`. */
export interface FamilyOptions {
  /** Called before the first Pod starts; may return another program with leading arguments. */
  readonly prepare?: (world: World) => Promise<readonly string[] | void>;
}

/** Starts both Pods and waits until the child has been given its task. */
export async function liveFamily(options: FamilyOptions = {}): Promise<LiveFamily> {
  const world = startWorld();
  try {
    const area = join(world.work, "area");
    mkdirSync(area);
    const spawn = (name: string, target: string) => ({
      match: `^spawn ${name}$`,
      calls: [
        {
          tool: "SpawnPod",
          input: { name, task: "t", scope: [{ target, permission: "write" }] },
        },
      ],
    });
    for (const name of ["one", "two", "three"]) mkdirSync(join(world.work, name));
    const scenario = world.scenario([
      spawn("kid", area),
      ...["one", "two", "three"].map((name) => spawn(name, join(world.work, name))),
      {
        match: "^write ",
        calls: [
          { tool: "Write", input: { file_path: join(world.work, "mine.txt"), content: "mine" } },
        ],
      },
      { text: "ok" },
    ]);
    const command = (await options.prepare?.(world)) ?? [podBinary()];
    const root = await world.start({ command, scenario });
    const task = async (text: string): Promise<string> => {
      // The end of a child's task makes the root work for a moment, and it takes nothing then.
      const isTaken = async (): Promise<boolean> => {
        const { event } = await root.request(runMethod(text));
        return event !== "error";
      };
      await eventually(() => isTaken().catch(() => false), `the root takes: ${text}`);
      return (await root.waitFor("tool_result")).data.summary;
    };
    expect(await task("spawn kid")).toStartWith("spawned pod `kid`");
    const kidPid = world.allocation("kid")?.pid ?? 0;
    expect(kidPid).toBeGreaterThan(0);
    const cli = async (...args: string[]): Promise<Result> =>
      await runProgram([...command, ...args], { cwd: world.work, env: world.env });
    const isListed = async (name: string, pid: number): Promise<boolean> => {
      const { code, stdout } = await cli("ls", "--json");
      const pods =
        code === 0 ? (JSON.parse(stdout) as { name: string; pid: number; state: string }[]) : [];
      return pods.some((pod) => pod.name === name && pod.pid === pid && pod.state === "idle");
    };
    await eventually(() => isListed("kid", kidPid), "the child is idle");
    await eventually(() => isListed("root", root.pid), "the root is idle");
    return {
      world,
      root,
      kidPid,
      cli,
      task,
      doctor: async (...args) => diagnosis(await cli("doctor", "--json", ...args)),
      async refusedRoot() {
        const overlay = [
          'pod.name = "intruder"',
          `model = { scheme = "script", script = ${JSON.stringify(scenario)} }`,
          `scope.allow = [{ target = ${JSON.stringify(area)}, permission = "write" }]`,
        ].join("\n");
        const { code, stderr } = await runProgram([...command, "--overlay", overlay], {
          cwd: area,
          env: world.env,
        });
        expect({ code, stderr }).toMatchObject({ code: 1 });
        expect(stderr).toMatch(/^error: /m);
        expect(stderr).not.toContain("    at ");
        return stderr;
      },
      async goesOn(name) {
        expect(await task(`spawn ${name}`)).toStartWith(`spawned pod \`${name}\``);
        expect(await task(`write ${name}`)).toMatch(/^(Created|Overwrote|Wrote|Updated)/);
        await eventually(() => isListed("root", root.pid), "the root is listed as idle");
        await eventually(() => isListed("kid", kidPid), "the child is listed as idle");
      },
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

/** Reads the output of `pod doctor --json`. */
export function diagnosis({ code, stdout, stderr }: Result): Diagnosis {
  expect(stderr).not.toContain("    at ");
  const lines = JSON.parse(stdout) as Line[];
  const complaints = (check?: string): Line[] =>
    lines.filter((line) => line.status !== "ok" && (check === undefined || line.check === check));
  // What is wrong always comes with what to do.
  for (const line of complaints()) if (line.status !== "fixed") expect(line.advice).toBeString();
  return { code, lines, complaints };
}
