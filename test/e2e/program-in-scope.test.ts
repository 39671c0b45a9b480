/**
 * A Pod whose program, or whose bash, lies where its commands may write: what they put there is run by
 * nobody but themselves.
 */
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { type RootPod, startWorld, type World } from "../support/pod.ts";
import type { RootOptions, ScenarioRule } from "../support/root-pod.ts";
import { CONFINES } from "../tools/shell-support.ts";
import { order } from "./order.ts";

const RULES: readonly ScenarioRule[] = [
  { match: "^RUN (.*)$", calls: [{ tool: "Bash", input: { command: "$1" } }] },
  {
    match: "^SPAWN (\\S+) (\\S+) (.*)$",
    calls: [
      {
        tool: "SpawnPod",
        input: { name: "$1", task: "$3", scope: [{ target: "$2", permission: "write" }] },
      },
    ],
  },
  { text: "done" },
];

/** The program in the scope, as `node_modules/.bin` and `~/bin` have it. */
function programIn(world: World): string {
  const directory = join(world.work, "bin");
  mkdirSync(directory);
  const program = join(directory, "pod");
  try {
    linkSync(podBinary(), program);
  } catch {
    copyFileSync(podBinary(), program);
  }
  return program;
}

/** What the tools of one more run said. */
async function said(pod: RootPod, text: string): Promise<string> {
  const results = await order(pod, text);
  return results.map(({ summary, output }) => `${summary}\n${output ?? ""}`).join("\n");
}

const start = (world: World, program: string, more: Partial<RootOptions> = {}): Promise<RootPod> =>
  world.start({ rules: RULES, command: [program], ...more });

describe.skipIf(!CONFINES)("a program in the scope of its pod", () => {
  test("that a command replaces is not run by the pod, nor by its children", async () => {
    await using world = startWorld();
    const { work } = world;
    const pod = await start(world, programIn(world));
    const mark = join(work, "planted");
    const planted = `#!/bin/bash\\necho "$*" >>${mark}\\nexec ${work}/bin/pod.real "$@"\\n`;
    const put = `mv bin/pod bin/pod.real; printf '${planted}' >bin/pod; chmod 755 bin/pod; mkdir part`;
    expect(await said(pod, `RUN ${put}`)).not.toContain("exit");
    // In place the kernel lets nobody write to it while it runs.
    expect(await said(pod, "RUN printf x >>bin/pod.real")).toContain("Text file busy");
    for (let round = 0; round < 3; round += 1) {
      expect(await said(pod, "RUN grep NoNewPrivs /proc/self/status")).toContain(
        "NoNewPrivs:\t1\n",
      );
    }
    expect(await said(pod, `SPAWN child ${work}/part wait`)).toContain("spawned pod `child`");
    expect(existsSync(mark)).toBe(false);
    // As people know it, and not as the link through which it was started.
    const child = world.allocation("child")?.pid;
    expect(readFileSync(`/proc/${child}/comm`, "utf8")).toBe("pod\n");
    expect(readFileSync(`/proc/${child}/cmdline`, "utf8")).toStartWith(`${work}/bin/pod\0--adopt`);
    // Nobody needs the name.
    renameSync(join(work, "bin"), join(work, "gone"));
    expect(await said(pod, "RUN echo fine; echo fine")).toContain("fine\nfine\n");
  });

  test("is told of, because its user would run what is put there", async () => {
    await using world = startWorld();
    const program = programIn(world);
    const pod = await start(world, program);
    await pod.runToEnd("hello");
    const alerts = pod.events.flatMap((event) =>
      event.event === "alert" ? [event.data.message] : [],
    );
    expect(alerts.filter((text) => text.includes(program))).toHaveLength(1);
  });
});

describe.skipIf(!CONFINES)("a pod that runs from source", () => {
  test("takes no settings of Bun from where its commands write", async () => {
    await using world = startWorld();
    const { work } = world;
    const pod = await world.start({ rules: RULES });
    mkdirSync(join(work, "part"));
    const write = (name: string, text: string): string => `printf '${text}' >${name}; `;
    const files =
      write("evil.ts", `import { writeFileSync as w } from "node:fs"; w("${work}/planted", "");`) +
      write("bunfig.toml", 'preload = ["./evil.ts"]\\n') +
      write("tsconfig.json", '{"compilerOptions":{"baseUrl":".","paths":{"*":["./evil.ts"]}}}') +
      write(".env", "INSOMNIA_POD_COMMAND=/nowhere");
    await said(pod, `RUN ${files}`);
    expect(await said(pod, "RUN echo fine; echo fine")).toContain("fine\nfine\n");
    expect(await said(pod, `SPAWN child ${work}/part wait`)).toContain("spawned pod `child`");
    expect(existsSync(join(work, "planted"))).toBe(false);
  });
});

describe.skipIf(!CONFINES)("a library path in the scope of a pod", () => {
  test("reaches its commands and no process that is not confined", async () => {
    await using world = startWorld();
    const { work } = world;
    const pod = await start(world, podBinary(), { env: { LD_LIBRARY_PATH: work } });
    mkdirSync(join(work, "part"));
    await said(pod, "RUN : >libm.so.6");
    // An empty library is an error of the loader: whoever takes it does not start.
    expect(await said(pod, "RUN echo $LD_LIBRARY_PATH")).toContain(`${work}\n`);
    expect(await said(pod, `SPAWN child ${work}/part RUN echo $LD_LIBRARY_PATH`)).toContain(
      "spawned pod `child`",
    );
  });
});
