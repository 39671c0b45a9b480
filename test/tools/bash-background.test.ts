/** The Bash tool: commands that go on in the background, with BashOutput and KillBash. */
import { describe, expect, test } from "bun:test";
import { markedProcesses, shellMark } from "../../src/sandbox/marked-processes.ts";
import { eventually } from "../support/pod.ts";
import { shellBench } from "./shell-support.ts";

describe("in the background", () => {
  test("a command goes on, is read in parts and is ended by its name", async () => {
    await using bench = shellBench();
    const started = await bench.bash(
      "echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; sleep 300",
      { run_in_background: true },
    );
    expect(started.summary).toEndWith("(running in background as bash_1)");
    let text = "";
    const look = async (): Promise<string> => {
      const { content = "" } = await bench.call("BashOutput", { bash_id: "bash_1" });
      return (text += content);
    };
    await eventually(async () => (await look()) === "one\n", "the first line");
    bench.file("go", "");
    await eventually(async () => (await look()) === "one\ntwo\n", "the second line");
    expect((await bench.call("KillBash", { bash_id: "bash_1" })).summary).toBe("killed bash_1");
    expect(markedProcesses(shellMark(process.pid))).toEqual([]);
    expect((await bench.call("BashOutput", { bash_id: "bash_1" })).summary).toEndWith("(killed)");
    expect((await bench.call("KillBash", { bash_id: "bash_1" })).summary).toStartWith(
      "already over",
    );
    expect(bench.notices).toEqual([]); // what the model does itself is no news
  });

  test("the end of a command is told once, with how it ended", async () => {
    await using bench = shellBench();
    await bench.bash("exit 4", { run_in_background: true });
    await eventually(() => bench.notices.length > 0, "the notice");
    expect(bench.notices).toEqual([
      "Background command `bash_1` has ended: bash_1 $ exit 4 (exit 4). " +
        "Read what it wrote with BashOutput.",
    ]);
  });

  test("what was left out of a long output is counted, and where all of it is", async () => {
    await using bench = shellBench();
    await bench.bash("seq 1 10000", { run_in_background: true });
    await eventually(() => bench.notices.length > 0, "the end");
    const { content = "" } = await bench.call("BashOutput", { bash_id: "bash_1" });
    expect(content).toMatch(/^\[\d+ bytes left out here, full at \/\S+\]\n/);
    expect(content).toEndWith("10000\n");
  });

  test("there are at most 16, also when all are started at once", async () => {
    await using bench = shellBench();
    const results = await Promise.all(
      Array.from({ length: 24 }, () => bench.bash("sleep 300", { run_in_background: true })),
    );
    expect(results.filter(({ isError }) => isError)).toHaveLength(8);
  });

  test("there are at most 16, and an unknown name is answered with the known ones", async () => {
    await using bench = shellBench();
    const all = Array.from({ length: 16 }, () =>
      bench.bash("sleep 300", { run_in_background: true }),
    );
    await Promise.all(all);
    const more = await bench.bash("true", { run_in_background: true });
    expect(more.summary).toContain("16 background commands run already; end one with KillBash");
    const unknown = await bench.call("BashOutput", { bash_id: "bash_99" });
    expect(unknown.summary).toContain("no background command `bash_99`; there are: bash_1, bash_2");
  }, 60_000);
});
