/** The Bash tool: what commands cannot do, and how the model is told. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { supportOf } from "../../src/sandbox/landlock.ts";
import { markedProcesses, shellMark } from "../../src/sandbox/marked-processes.ts";
import { eventually } from "../support/pod.ts";
import { CONFINES, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

describe("confinement", () => {
  test.skipIf(!CONFINES)("a refused path is answered with what is writable", async () => {
    await using bench = shellBench();
    const result = await bench.bash(`echo x > ${bench.outside}/f`);
    expect(result.summary).toEndWith("(exit 1)");
    expect(result.content).toContain("Permission denied");
    expect(result.content).toContain(`[commands can write only in: ${bench.root},`);
    expect(existsSync(`${bench.outside}/f`)).toBe(false);
  });

  test.skipIf(!CONFINES)(
    "where a path below is denied, files there change but none is made",
    async () => {
      await using bench = shellBench({
        deny: (root) => [{ target: `${root}/kept`, permission: "write", recursive: true }],
      });
      bench.file("kept/a", "safe");
      bench.file("open/b", "old");
      bench.file("c", "old");
      const { content } = await bench.bash(
        "echo x >kept/a; echo x >kept/n; echo x >n; echo new >open/n; echo new >c",
      );
      expect(readFileSync(`${bench.root}/kept/a`, "utf8")).toBe("safe");
      expect(readFileSync(`${bench.root}/c`, "utf8")).toBe("new\n");
      expect(readFileSync(`${bench.root}/open/n`, "utf8")).toBe("new\n");
      expect(existsSync(`${bench.root}/n`) || existsSync(`${bench.root}/kept/n`)).toBe(false);
      expect(content).toContain(`nothing be made, renamed or removed directly in: ${bench.root} `);
    },
  );

  test.skipIf(!CONFINES)("a denied read hides contents, not names", async () => {
    await using bench = shellBench({
      deny: (root) => [{ target: `${root}/secret`, permission: "read", recursive: true }],
    });
    bench.file("secret/key", "hidden");
    bench.file("plain", "shown");
    const { content } = await bench.bash("cat plain secret/key; ls secret");
    expect(content).toContain("shown");
    expect(content).not.toContain("hidden");
    expect(content).toContain("key");
  });

  test.skipIf(!CONFINES)(
    "extra paths of the manifest are writable, the runtime directory never",
    async () => {
      await using other = shellBench();
      await using bench = shellBench({ policy: { write: [other.outside] } });
      await bench.bash(`echo x >${other.outside}/f; echo x >${bench.runtime}/f`);
      expect(existsSync(`${other.outside}/f`)).toBe(true);
      expect(existsSync(`${bench.runtime}/f`)).toBe(false);
    },
  );

  test.skipIf(!CONFINES)('`network = "deny"` leaves local sockets only', async () => {
    await using server = {
      socket: Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }),
      [Symbol.asyncDispose]: async () => server.socket.stop(true),
    };
    const connect = `(exec 9<>/dev/tcp/127.0.0.1/${server.socket.port}) 2>/dev/null && echo connected || echo refused`;
    await using open = shellBench();
    expect((await open.bash(connect)).content).toBe("connected\n");
    await using closed = shellBench({ policy: { network: "deny" } });
    expect((await closed.bash(connect)).content).toBe("refused\n");
    const udp = "(exec 9<>/dev/udp/127.0.0.1/9) 2>/dev/null && echo open || echo refused";
    expect((await open.bash(udp)).content).toBe("open\n");
    expect((await closed.bash(udp)).content).toBe("refused\n");
  });

  test.skipIf(!CONFINES)(
    "grants nothing by a link that a command put where a granted directory was",
    async () => {
      await using bench = shellBench({ write: (root) => [`${root}/target`, `${root}/a/target`] });
      mkdirSync(`${bench.outside}/target`);
      await bench.bash(
        `mkdir -p target a/target; rm -rf target a; ln -s ${bench.outside} target; ln -s ${bench.outside} a`,
      );
      const result = await bench.bash("echo x >target/f; echo x >a/target/f; ls -d target a");
      expect(result.content).toContain("target\n");
      expect(result.content).toContain("Permission denied");
      expect(existsSync(`${bench.outside}/f`)).toBe(false);
      expect(existsSync(`${bench.outside}/target/f`)).toBe(false);
    },
  );

  test.skipIf(!CONFINES)(
    "holds with thousands of files beside a denied one, and says what is left out",
    async () => {
      await using bench = shellBench({ deny: (root) => [rule("write", `${root}/none`)] });
      Bun.spawnSync(["bash", "-c", "touch f{1..5000}"], { cwd: bench.root });
      const result = await bench.bash('echo x >"$TMPDIR/f" && cat "$TMPDIR/f" 2>/dev/null');
      expect(result.summary).not.toContain("exit");
      expect(result.content).toStartWith("x\n[more than 4096 paths lie beside");
    },
  );

  test("`enforce` runs nothing where the kernel cannot confine, and says how to change that", async () => {
    await using bench = shellBench({ support: supportOf(0) });
    const result = await bench.bash("echo x >f");
    expect(result.isError).toBe(true);
    expect(result.summary).toContain("has no Landlock");
    expect(result.summary).toContain('`mode = "warn"`');
    expect(existsSync(`${bench.root}/f`)).toBe(false);
    await using old = shellBench({ support: supportOf(2) });
    expect((await old.bash("true")).summary).toContain("only has Landlock version 2");
  });

  test("`warn` and `off` run commands all the same, and everything of them still ends", async () => {
    for (const options of [
      { support: supportOf(0), policy: { mode: "warn" } },
      { policy: { mode: "off" } },
    ] as const) {
      await using bench = shellBench(options);
      const result = await bench.bash(
        `echo x >${bench.outside}/f; setsid sleep 300 >/dev/null 2>&1 & sleep 300 & exit 0`,
      );
      expect(result.summary).not.toContain("exit");
      expect(existsSync(`${bench.outside}/f`)).toBe(true);
      expect(markedProcesses(shellMark(process.pid))).toEqual([]);
    }
  });

  test("unconfined, the end of one command leaves the others alone", async () => {
    await using bench = shellBench({ policy: { mode: "off" } });
    await bench.bash("echo $$ >pid; sleep 300", { run_in_background: true });
    await eventually(() => existsSync(`${bench.root}/pid`), "the start");
    await bench.bash("sleep 300 >/dev/null 2>&1 & exit 0");
    expect(markedProcesses(shellMark(process.pid)).length).toBeGreaterThan(0);
    expect((await bench.call("BashOutput", { bash_id: "bash_1" })).summary).toEndWith("(running)");
    expect((await bench.call("KillBash", { bash_id: "bash_1" })).summary).toBe("killed bash_1");
    expect(markedProcesses(shellMark(process.pid))).toEqual([]);
  });

  test("a trampoline that cannot do its work starts no shell, and says why", async () => {
    await using bench = shellBench({ more: { support: { ...supportOf(7), fs: 1 << 30 } } });
    const result = await bench.bash("echo x >f");
    expect(result.summary).toContain("spawn bash: landlock_create_ruleset failed (errno 22)");
    expect(existsSync(`${bench.root}/f`)).toBe(false);
  });
});
