/** The Bash tool: what the model sees of a command (spec worker-and-tools 3.9 and 7, numbers in parentheses). */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { commandEnvironment } from "../../src/tools/shell/environment.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { CONFINES, shellBench } from "./shell-support.ts";
import { theWaitingOne, waitingTrampolines } from "./trampolines.ts";

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
