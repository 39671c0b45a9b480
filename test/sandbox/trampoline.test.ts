/** `pod __confine` itself: what becomes of the process, and when there is none. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { makePipe } from "../../src/base/libc.ts";
import { RIGHTS, kernelSupport, WRITE_RIGHTS } from "../../src/sandbox/landlock.ts";
import type { ConfineSpec, PathRule } from "../../src/sandbox/spec.ts";
import { podBinary } from "../support/binary.ts";
import { temp, within } from "../support/temp.ts";
import { CONFINES } from "../tools/shell-support.ts";

interface Outcome {
  readonly code: number | null;
  readonly output: string;
  /** What stands in the file of the order afterwards. */
  readonly spec: string;
}

const READ: PathRule = ["/", RIGHTS.readFile | RIGHTS.readDir | RIGHTS.execute];
const { fs, scoped } = kernelSupport();

async function confine(
  directory: string,
  script: string,
  more: Partial<ConfineSpec> = {},
  options: {
    readonly env?: Record<string, string>;
    readonly extra?: number;
    readonly free?: boolean;
  } = {},
): Promise<Outcome> {
  const path = `${directory}/order`;
  const spec: ConfineSpec = {
    parent: process.pid,
    cwd: directory,
    program: "/bin/bash",
    argv: ["bash", "-c", script],
    denyNetwork: false,
    denyLocalSockets: false,
    mark: "INSOMNIA_SHELL_OF=1.1",
    ...(options.free === true
      ? {}
      : { ruleset: { fs, net: 0, scoped, rules: [READ, [directory, WRITE_RIGHTS]] } }),
    ...more,
  };
  const fd = openSync(path, "w+");
  writeSync(fd, JSON.stringify(spec));
  const control = makePipe();
  writeSync(control.write, "\n");
  const child = Bun.spawn([podBinary(), "__confine"], {
    cwd: directory,
    env: { PATH: "/usr/bin:/bin", ...options.env },
    stdio: ["ignore", "pipe", "ignore", control.read, "ignore", fd, options.extra ?? "ignore"],
  });
  try {
    const output = await within(new Response(child.stdout).text(), 10_000, script);
    await within(child.exited, 10_000, "the exit");
    return { code: child.exitCode, output, spec: readFileSync(path, "utf8") };
  } finally {
    for (const end of [control.read, control.write]) closeSync(end);
    closeSync(fd);
  }
}

describe.skipIf(!CONFINES)("the trampoline", () => {
  test("becomes the shell: same process, one thread, confined, and no trace of its own", async () => {
    await using dir = temp();
    const { code, output } = await confine(
      dir.path,
      "ls /proc/$$/task | wc -l; tr '\\0' ' ' </proc/$$/cmdline | head -1; " +
        "grep -E '^(NoNewPrivs|Threads)' /proc/$$/status; readlink /proc/$$/exe; echo x 2>/dev/null >/dev/full; " +
        "cat /proc/$$/comm; echo >/tmp/never",
    );
    const lines = output.split("\n");
    expect(lines[0]).toBe("1");
    expect(lines[1]).toStartWith("bash -c ls /proc/");
    expect(output).toContain("NoNewPrivs:\t1");
    expect(output).toContain("Threads:\t1");
    expect(output).toContain("/tmp/never: Permission denied");
    expect(output).not.toContain("__confine");
    expect(code).toBe(1);
  });

  test("binds every thread and process that comes after, because it is applied before there is one", async () => {
    await using dir = temp();
    const { output } = await confine(
      dir.path,
      "(echo x >/tmp/never) & wait; bash -c 'echo x >/tmp/never'; exec bash -c 'echo x >/tmp/never'",
    );
    expect(output.match(/Permission denied/g)).toHaveLength(3);
  });

  test("takes Bun's own variables away and leaves the others", async () => {
    await using dir = temp();
    const env = { BUN_JSC_useConcurrentGC: "0", KEPT: "a=b\nc" };
    const { output } = await confine(
      dir.path,
      'env | grep -c BUN_; echo $INSOMNIA_SHELL_OF; echo "$KEPT"',
      {},
      { env },
    );
    expect(output).toBe("0\n1.1\na=b\nc\n");
  });

  test("closes what leaked into it", async () => {
    await using dir = temp();
    writeFileSync(dir.join("leak"), "");
    const extra = openSync(dir.join("leak"), "r");
    const { output } = await confine(dir.path, "ls -l /proc/$$/fd | grep -c leak", {}, { extra });
    closeSync(extra);
    expect(output).toBe("0\n");
  });

  test("grants nothing by a link, and passes over what is gone", async () => {
    await using dir = temp();
    const other = dir.join("other");
    const work = dir.join("work");
    for (const path of [other, work]) mkdirSync(path);
    symlinkSync(other, dir.join("link"));
    symlinkSync(dir.path, dir.join("work/up"));
    const rules: PathRule[] = [
      READ,
      [work, WRITE_RIGHTS],
      [dir.join("link"), WRITE_RIGHTS],
      [dir.join("work/up/other"), WRITE_RIGHTS],
      [dir.join("gone"), WRITE_RIGHTS],
    ];
    const { code } = await confine(dir.path, "echo x >work/f; echo x >other/f; echo x >link/g", {
      ruleset: { fs, net: 0, scoped, rules },
    });
    expect(code).toBe(1);
    expect(existsSync(dir.join("work/f"))).toBe(true);
    expect(existsSync(dir.join("other/f")) || existsSync(dir.join("other/g"))).toBe(false);
  });

  test("takes the network away without a ruleset as well", async () => {
    await using dir = temp();
    const { output } = await confine(
      dir.path,
      "(exec 9<>/dev/udp/127.0.0.1/9) 2>/dev/null && echo open; grep NoNewPrivs /proc/$$/status",
      { denyNetwork: true },
      { free: true },
    );
    expect(output).toBe("NoNewPrivs:\t1\n");
  });

  test.skipIf(Bun.which("perl") === null)(
    "takes local sockets away without a ruleset as well, and leaves pairs and the network",
    async () => {
      await using dir = temp();
      const tries = [
        "socket(S, AF_UNIX, SOCK_STREAM, 0)",
        "socket(S, AF_UNIX, SOCK_DGRAM, 0)",
        "socketpair(A, B, AF_UNIX, SOCK_STREAM, 0)",
        "socket(S, AF_INET, SOCK_STREAM, 0)",
      ];
      const script = tries.map((it) => `print((${it}) ? "made" : "$!", "\\n");`).join(" ");
      const { output } = await confine(
        dir.path,
        `perl -MSocket -e '${script}'; grep NoNewPrivs /proc/$$/status`,
        { denyLocalSockets: true },
        { free: true },
      );
      expect(output).toBe("Permission denied\nPermission denied\nmade\nmade\nNoNewPrivs:\t1\n");
    },
  );

  test("starts no shell when its parent is not the Pod any more", async () => {
    await using dir = temp();
    const { code, spec } = await confine(dir.path, "touch never", { parent: 1 });
    expect([code, spec]).toEqual([126, "!the pod has ended"]);
    expect(existsSync(dir.join("never"))).toBe(false);
  });

  test("answers in the file of the order when the kernel refuses, and starts no shell", async () => {
    await using dir = temp();
    const ruleset = { fs: 2 ** 30, net: 0, scoped, rules: [READ] };
    const { code, spec } = await confine(dir.path, "touch never", { ruleset });
    expect([code, spec]).toEqual([126, "!landlock_create_ruleset failed (errno 22)"]);
    expect(existsSync(dir.join("never"))).toBe(false);
  });

  test("without rules may execute nothing: not even the shell", async () => {
    await using dir = temp();
    const { code, spec } = await confine(dir.path, "true", {
      ruleset: { fs, net: 0, scoped, rules: [] },
    });
    expect(code).toBe(126);
    expect(spec).toStartWith("!cannot execute /bin/bash (errno 13");
  });

  test("says which program cannot be executed", async () => {
    await using dir = temp();
    const { code, spec } = await confine(dir.path, "true", { program: "/bin/no-such-shell" });
    expect(code).toBe(126);
    expect(spec).toStartWith("!cannot execute /bin/no-such-shell (errno 2");
  });

  test("without an order ends with a message and no stack", async () => {
    const child = Bun.spawn([podBinary(), "__confine"], {
      env: { PATH: "/usr/bin:/bin" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [output, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(await child.exited).toBe(126);
    expect(output + complaint).toMatch(/^pod: [^\n]*\n$/);
  });
});
