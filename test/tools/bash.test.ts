/** The Bash tool: what the model sees of a command (spec worker-and-tools 3.9 and 7, numbers in parentheses). */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { supportOf } from "../../src/sandbox/landlock.ts";
import { markedProcesses, shellMark } from "../../src/sandbox/remains.ts";
import { commandEnvironment } from "../../src/tools/shell/environment.ts";
import { MAX_SPILLS } from "../../src/tools/shell/spills.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { CONFINES, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

const pathIn = (content: string | undefined): string =>
  / at (\/\S+)\]/.exec(content ?? "")?.[1] ?? "";

/** Children of this process that wait for an order to become a shell. */
function waitingTrampolines(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return (
          Number(parent) === process.pid &&
          state !== "Z" &&
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("__confine")
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function theWaitingOne(): Promise<number> {
  let found: number[] = [];
  // Its command line can be read an instant after it was started.
  await eventually(() => (found = waitingTrampolines()).length === 1, "one trampoline");
  const [pid] = found;
  if (pid === undefined || pid <= 1) throw new Error("no trampoline");
  // Up, and reading from its pipe: before that the runtime itself looks at the directory it starts in.
  const reads = new RegExp(`^${process.arch === "arm64" ? 63 : 0} 0x3 `);
  await eventually(
    () => reads.test(readFileSync(`/proc/${pid}/syscall`, "utf8")),
    "the trampoline to wait",
  );
  return pid;
}

describe("the result", () => {
  test("has both outputs in order (72)", async () => {
    await using bench = shellBench();
    const result = await bench.bash("echo out; echo err 1>&2; echo last");
    expect(result).toEqual({
      summary: "$ echo out; echo err 1>&2; echo last",
      content: "out\nerr\nlast\n",
      isError: false,
    });
  });

  test("names the exit code, has no content without output, and is no error (73)", async () => {
    await using bench = shellBench();
    expect(await bench.bash("exit 7")).toEqual({ summary: "$ exit 7 (exit 7)", isError: false });
  });

  test("names the signal that ended bash itself, and an exit code for that of a child", async () => {
    await using bench = shellBench();
    expect((await bench.bash("kill -SEGV $$")).summary).toBe(
      "$ kill -SEGV $$ (terminated by signal SIGSEGV)",
    );
    expect((await bench.bash("sh -c 'kill -9 $$'; exit $?")).summary).toContain("(exit 137)");
  });

  test("names a duration from one second on", async () => {
    await using bench = shellBench();
    expect((await bench.bash("sleep 1.05; exit 3")).summary).toMatch(
      /^\$ sleep 1\.05; exit 3 \(exit 3, \d+\.\ds\)$/,
    );
  });

  test.each([
    ["if", "exit 2", "syntax error"],
    ["", "exit 2", "syntax error"],
    ["# nothing", "exit 2", "syntax error"],
    ["no-such-program", "exit 127", "line 1: no-such-program: command not found"],
  ])("of %p is bash's own: %s", async (command, exit, message) => {
    await using bench = shellBench();
    const result = await bench.bash(command);
    expect(result.summary).toBe(`$ ${command} (${exit})`);
    expect(result.content).toContain(message);
  });

  test("of here-documents, of `exec` and of a comment at the end is what bash makes of them", async () => {
    await using bench = shellBench();
    expect((await bench.bash("cat <<END\nhere\nEND")).content).toBe("here\n");
    expect((await bench.bash("exec sh -c 'echo replaced; exit 5'")).summary).toContain("(exit 5)");
    expect((await bench.bash("echo yes # no")).content).toBe("yes\n");
  });

  test("shows 80 characters of the first line of a command at most (80)", async () => {
    await using bench = shellBench();
    const exact = `: ${"é".repeat(78)}`;
    expect((await bench.bash(`${exact}\necho 2`)).summary).toBe(`$ ${exact}`);
    expect((await bench.bash(`${exact}é`)).summary).toBe(`$ : ${"é".repeat(75)}...`);
  });
});

describe("a command", () => {
  test("starts in the Pod's working directory each time (74)", async () => {
    await using bench = shellBench();
    await bench.bash("mkdir sub; cd sub; X=1");
    expect((await bench.bash("pwd; echo $X")).content).toBe(`${bench.root}\n\n`);
  });

  test("has an empty standard input and no terminal (81)", async () => {
    await using bench = shellBench();
    expect(await bench.bash("cat")).toEqual({ summary: "$ cat", isError: false });
    expect((await bench.bash("(: </dev/tty) 2>/dev/null || echo none")).content).toBe("none\n");
  });

  test("keeps the call open for its background jobs (78)", async () => {
    await using bench = shellBench();
    expect(await bench.bash("(sleep 0.05; echo bg) &")).toEqual({
      summary: "$ (sleep 0.05; echo bg) &",
      content: "bg\n",
      isError: false,
    });
  });

  test("writes to /dev/stdout, /dev/stderr and /dev/null", async () => {
    await using bench = shellBench();
    const command =
      "echo a >/dev/stdout; echo b >/dev/stderr; echo c >/dev/null; echo d >/dev/fd/2";
    expect((await bench.bash(command)).content).toBe("a\nb\nd\n");
  });

  test("has signals as programs expect them: a writer to a closed pipe ends", async () => {
    await using bench = shellBench();
    const result = await bench.bash('yes | head -1; echo "${PIPESTATUS[0]}"', { timeout: 5 });
    expect(result.content).toBe("y\n141\n");
    const ignored = await bench.bash("grep -E 'Sig(Ign|Blk)' /proc/self/status");
    expect(ignored.content).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  });

  test("has no descriptors but its three", async () => {
    await using bench = shellBench();
    const { content } = await bench.bash("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
    // The fourth is the shell's own, for listing the directory.
    expect(content?.trim().split("\n").slice(0, 3)).toEqual(["0", "1", "2"]);
    expect(content?.trim().split("\n").length).toBeLessThanOrEqual(4);
  });

  test("has a private temporary directory, which ends with the Pod", async () => {
    const bench = shellBench();
    let directory = "";
    {
      await using _ = bench;
      const result = await bench.bash('echo "$TMPDIR"; stat -c %a "$TMPDIR"; mktemp >/dev/null');
      expect(result.summary).not.toContain("exit");
      const [path = "", mode] = result.content?.split("\n") ?? [];
      expect(mode).toBe("700");
      expect(path.startsWith(`${bench.rooms}/`)).toBe(true);
      directory = path;
    }
    expect(existsSync(directory)).toBe(false);
  });

  test("has its room beside the runtime directory; what a killed Pod left of its own goes", async () => {
    await using bench = shellBench();
    const abandoned = `${bench.rooms}/${crypto.randomUUID()}`;
    mkdirSync(`${abandoned}/tmp`, { recursive: true });
    writeFileSync(`${abandoned}/lock`, "");
    await using other = shellBench({ more: { rooms: bench.rooms } });
    const theirs = (await other.bash("echo x >$TMPDIR/f; echo $TMPDIR")).content?.trim() ?? "";
    await eventually(() => !existsSync(abandoned), "the end of what was left");
    const mine = (await bench.bash("echo $TMPDIR")).content?.trim() ?? "";
    expect([mine, theirs].every((path) => path.startsWith(`${bench.rooms}/`))).toBe(true);
    expect(existsSync(`${theirs}/f`)).toBe(true);
    await bench.close();
    await other.close();
    expect(readdirSync(bench.rooms)).toEqual([]);
  });

  test("sees no keys, nothing of this program and no settings of the user's shell (82)", async () => {
    await using bench = shellBench({
      env: {
        PATH: process.env.PATH ?? "",
        INSOMNIA_API_KEY_ANTHROPIC: "s1",
        OPENAI_API_KEY: "s2",
        GITHUB_TOKEN: "s3",
        DB_PASSWORD: "s4",
        AWS_SECRET_ACCESS_KEY: "s5",
        MY_KEY_FOR_MODEL: "s6",
        BUN_OPTIONS: "--version",
        BASH_ENV: "/nonexistent",
        SHELLOPTS: "xtrace",
        "BASH_FUNC_kill%%": "() { echo taken; }",
        HARMLESS: "kept",
        NPM_TOKEN: "wanted",
      },
      policy: { env: ["NPM_TOKEN"] },
      more: { secrets: ["MY_KEY_FOR_MODEL"] },
    });
    const { content = "" } = await bench.bash("env | sort");
    expect(content).not.toMatch(/\bs\d\b|BUN_|BASH_ENV|taken|xtrace/);
    expect(content).toContain("HARMLESS=kept");
    expect(content).toContain("NPM_TOKEN=wanted");
  });

  test.skipIf(!CONFINES)("cannot read the environment of the Pod itself", async () => {
    await using bench = shellBench();
    const { content } = await bench.bash("cat /proc/$PPID/environ | wc -c");
    expect(content).toContain("Permission denied");
  });

  test.skipIf(process.platform !== "linux")(
    "is what the next trampoline becomes, which is started ahead and ends when none comes",
    async () => {
      await using bench = shellBench({ more: { aheadMs: 60_000 } });
      await bench.bash("true");
      const ahead = await theWaitingOne();
      rmSync(bench.root, { recursive: true });
      mkdirSync(bench.root); // the directory it was started in is gone
      expect((await bench.bash("echo $$; pwd; touch here")).content).toBe(
        `${ahead}\n${bench.root}\n`,
      );
      expect(existsSync(`${bench.root}/here`)).toBe(true);
      const killed = await theWaitingOne();
      process.kill(killed, "SIGKILL");
      await eventually(() => !isRunning(killed), "its death");
      expect((await bench.bash("echo still")).content).toBe("still\n");
      await bench.close();
      expect(waitingTrampolines()).toEqual([]);
      await using short = shellBench({ more: { aheadMs: 1 } });
      await short.bash("true");
      await eventually(() => waitingTrampolines().length === 0, "its end");
    },
  );

  test.skipIf(process.platform !== "linux")(
    "becomes the trampoline that was started when its call began",
    async () => {
      await using bench = shellBench();
      bench.tool("Bash").prepare?.();
      bench.tool("Bash").prepare?.(); // a second call of the same answer
      const ahead = await theWaitingOne();
      expect((await bench.bash("echo $$")).content).toBe(`${ahead}\n`);
    },
  );

  test.each([
    ["PGPASSWORD", false],
    ["DB_PASS", false],
    ["OPENAI_KEY", false],
    ["MYSQL_PWD", false],
    ["SSHPASS", false],
    ["GH_PAT", false],
    ["REDISCLI_AUTH_PASSWD", false],
    ["PWD", true],
    ["OLDPWD", true],
    ["PATH", true],
    ["SSH_ASKPASS", true],
    ["NO_PROXY_BYPASS", true],
    ["KEYBOARD", true],
    ["PASSAGE", true],
  ])("%s is in its environment: %p", (name, kept) => {
    const environment = commandEnvironment(
      { [name]: "x" },
      { temporary: "/t", pass: [], secrets: [] },
    );
    expect(name in environment).toBe(kept);
  });

  test("that is too long for one argument is refused with the way out", async () => {
    await using bench = shellBench();
    const result = await bench.bash(`: ${"x".repeat(100_000)}`);
    expect(result.isError).toBe(true);
    expect(result.summary).toContain("longer than 100000 bytes; write it to a file");
  });

  test.each([[-1], [1.5]])("with a time limit of %p is refused", async (timeout) => {
    await using bench = shellBench();
    expect((await bench.bash("true", { timeout })).summary).toContain(
      "invalid Bash input: timeout",
    );
  });
});

describe("long output", () => {
  test("of 80 lines is shown whole, of 81 its end with a file for Read (75)", async () => {
    await using bench = shellBench();
    expect((await bench.bash("seq 1 80")).content?.split("\n")).toHaveLength(81);
    const { content = "" } = await bench.bash("seq 1 81");
    const [header, first] = content.split("\n");
    const path = pathIn(header);
    expect(header).toBe(`[showing last 80 of 81 lines — full output (234 bytes) at ${path}]`);
    expect(first).toBe("2");
    expect(path).toMatch(/\/rooms\/[0-9a-f-]{36}\/bash-output\/bash-[0-9a-zA-Z]{6}\.log$/);
    const read = await bench.call("Read", { file_path: path });
    expect(read.summary).toBe(`Read 81 line(s) from ${path}`);
  });

  test("of 12288 bytes in one line is shown whole, of 12289 its end with a file (76)", async () => {
    await using bench = shellBench();
    const whole = await bench.bash("head -c 12288 /dev/zero | tr '\\0' a");
    expect(whole.content).toBe("a".repeat(12_288));
    const { content = "" } = await bench.bash("head -c 12289 /dev/zero | tr '\\0' a");
    const path = pathIn(content);
    expect(readFileSync(path, "utf8")).toBe("a".repeat(12_289));
    expect(content.length).toBeLessThan(12_288 + 300);
  });

  test("of wide lines fits under the limit for tool results, and begins at a line", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash(
      "for i in $(seq 1 100); do printf '%s:%01000d\\n' $i 0; done",
    );
    expect(Buffer.byteLength(content)).toBeLessThan(16_384);
    const [header, first = ""] = content.split("\n");
    expect(header).toMatch(/^\[showing last 12 of 100 lines — full output \(\d+ bytes\) at /);
    expect(first).toMatch(/^89:0/);
  });

  test("beyond 256 KiB is counted in bytes, and whole in its file", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash("seq 1 100000");
    const path = pathIn(content);
    expect(content).toStartWith(
      `[showing last 80 lines (tail of 588895-byte output) — full at ${path}]\n99921\n`,
    );
    expect(readFileSync(path, "utf8").length).toBe(588_895);
  });

  test("that is cut in a character loses the whole character", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash(
      "for i in $(seq 1 6200); do printf 'é'; done; echo .",
    );
    expect(content).not.toContain("\uFFFD");
  });

  test("is kept for the last commands only", async () => {
    await using bench = shellBench();
    const paths: string[] = [];
    for (let n = 0; n <= MAX_SPILLS; n += 1) {
      paths.push(pathIn((await bench.bash("seq 1 81")).content));
    }
    expect(paths.map((path) => existsSync(path))).toEqual([
      false,
      ...Array.from({ length: MAX_SPILLS }, () => true),
    ]);
  }, 60_000);

  test("leaves nothing behind when the tools end (79)", async () => {
    const bench = shellBench();
    await using _ = bench;
    const { content } = await bench.bash("seq 1 81");
    expect(existsSync(pathIn(content))).toBe(true);
    await bench.close();
    expect(existsSync(pathIn(content))).toBe(false);
    expect(readdirSync(join(bench.runtime, "me"))).toEqual(["shell.lock"]);
  });
});

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
