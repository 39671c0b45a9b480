/** The Bash tool: how commands end, by themselves or not, and that all they started ends with them. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { markedProcesses, shellMark } from "../../src/sandbox/marked-processes.ts";
import { eventually } from "../support/pod.ts";
import { CONFINES, pathIn, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

describe("the end", () => {
  const living = (): number => markedProcesses(shellMark(process.pid)).length;

  test("comes with the time limit, and everything the command started ends with it (77)", async () => {
    await using bench = shellBench();
    const start = performance.now();
    const result = await bench.bash("sleep 30 & setsid sleep 30 & echo started; wait", {
      timeout: 1,
    });
    expect(performance.now() - start).toBeWithin(900, 8000);
    expect(result.isError).toBe(false);
    expect(result.summary).toEndWith("(timed out after 1s)");
    const path = pathIn(result.content);
    expect(result.content).toBe(`[partial output before timeout — full at ${path}]\nstarted\n`);
    expect(living()).toBe(0);
  });

  test("is forced on a command that does not hear of it, after a grace", async () => {
    await using bench = shellBench();
    const result = await bench.bash("trap '' TERM; while :; do sleep 0.1; done", { timeout: 1 });
    expect(result.summary).toContain("timed out");
    expect(living()).toBe(0);
  });

  test("leaves a command the time to end in order", async () => {
    await using bench = shellBench();
    await bench.bash(
      "sh -c 'trap \"sleep 0.2; echo bye >bye; exit\" TERM; echo up; while :; do sleep 0.02; done'",
      { timeout: 1 },
    );
    expect(readFileSync(`${bench.root}/bye`, "utf8")).toBe("bye\n");
  });

  test("comes with a cancel", async () => {
    await using bench = shellBench();
    const abort = new AbortController();
    const call = bench.call("Bash", { command: "echo >started; sleep 30" }, abort.signal);
    await eventually(() => existsSync(`${bench.root}/started`), "the start");
    abort.abort();
    expect((await call).isError).toBe(true);
    expect(living()).toBe(0);
  });

  test.skipIf(!CONFINES)(
    "takes along what has left group and session and changed its environment",
    async () => {
      await using bench = shellBench();
      const daemon =
        "env -i /usr/bin/setsid /bin/sh -c 'echo $$ >pid; exec /bin/sleep 300' >/dev/null 2>&1 & disown";
      await bench.bash(`(${daemon}); while [ ! -s pid ]; do sleep 0.01; done`);
      const pid = Number(readFileSync(`${bench.root}/pid`, "utf8"));
      expect(pid).toBeGreaterThan(1);
      expect(existsSync(`/proc/${pid}/exe`)).toBe(false);
    },
  );

  test.skipIf(!CONFINES)(
    "takes what a command started even when it kills all it can, drops the mark and leaves",
    async () => {
      await using bench = shellBench();
      const daemon =
        "env -i /usr/bin/setsid /bin/bash -c 'echo $$ >pid; while :; do echo x >>late; /bin/sleep 0.01; done'";
      const result = await bench.bash(
        `kill -9 -1; read -r c </proc/$$/task/$$/children; kill -9 $c; (${daemon} >/dev/null 2>&1 </dev/null &); ` +
          "while [ ! -s pid ]; do sleep 0.01; done; exec true",
      );
      expect(result.content ?? "").not.toContain("could not be ended");
      const pid = Number(readFileSync(`${bench.root}/pid`, "utf8"));
      expect(pid).toBeGreaterThan(1);
      expect(existsSync(`/proc/${pid}/exe`)).toBe(false);
      expect(bench.scope.writersIn([rule("write", bench.root)])).toEqual([]);
    },
  );

  test.skipIf(!CONFINES)(
    "is not believed when its keeper is gone: the command stays noted as a writer",
    async () => {
      const bench = shellBench();
      const running = bench.bash(
        "echo $$ >.pid; mv .pid pid; until [ -e go ]; do sleep 0.01; done; exec true",
      );
      await eventually(() => existsSync(`${bench.root}/pid`), "the start");
      const shell = readFileSync(`${bench.root}/pid`, "utf8").trim();
      const children = readFileSync(`/proc/${shell}/task/${shell}/children`, "utf8").split(" ");
      const keeper = children
        .filter((pid) => pid !== "")
        .find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--norc"));
      expect(keeper).toBeDefined();
      process.kill(Number(keeper), "SIGKILL");
      bench.file("go", "");
      expect((await running).content).toContain("could not be ended");
      expect(bench.scope.writersIn([rule("write", bench.root)])).toHaveLength(1);
      expect(await bench.close()).toBe(false);
      await expect(bench[Symbol.asyncDispose]()).rejects.toThrow("could not be ended");
    },
  );

  test("of the tools ends all commands and lets none begin", async () => {
    await using bench = shellBench();
    await bench.bash("sleep 300", { run_in_background: true });
    const foreground = bench.bash("echo >started; sleep 300");
    await eventually(() => existsSync(`${bench.root}/started`), "the start");
    expect(await bench.close()).toBe(true);
    expect((await foreground).summary).toContain("terminated by signal");
    expect(living()).toBe(0);
    expect((await bench.bash("true")).isError).toBe(true);
    expect(bench.notices).toEqual([]);
  });
});
