/** `pod demo` as a person starts it: what it shows, how it ends, and that nothing is left of it. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { podBinary } from "../support/binary.ts";
import { temp, within } from "../support/temp.ts";

/** Far beyond what the demonstration takes; only a failure meets it. */
const DEADLINE_MS = 60_000;
const TEST_TIMEOUT_MS = 90_000;

/** Processes that carry `directory` in their environment or command line. */
function processesWith(directory: string): string[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const about = ["environ", "cmdline"].map((file) =>
        readFileSync(`/proc/${name}/${file}`, "utf8"),
      );
      return about.some((text) => text.includes(directory)) ? [`${name}: ${about[1]}`] : [];
    } catch {
      return []; // ended meanwhile
    }
  });
}

/** A started program whose surroundings are all below a directory of its own. */
interface Started extends AsyncDisposable {
  readonly exited: Promise<number>;
  readonly signal: (name: NodeJS.Signals) => void;
  /** Standard output so far. */
  readonly output: () => string;
  /** Resolves when standard output contains `text`. */
  readonly shows: (text: string) => Promise<void>;
  readonly errors: Promise<string>;
  /** What is left in its directory, and of its processes. */
  readonly left: () => string[];
}

function start(command: readonly string[], env: Record<string, string> = {}): Started {
  const dir = temp();
  const child = Bun.spawn([...command], {
    cwd: dir.path,
    env: { PATH: "/usr/bin:/bin", HOME: dir.path, TMPDIR: dir.path, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let output = "";
  let changed = Promise.withResolvers<void>();
  const read = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      output += decoder.decode(chunk, { stream: true });
      changed.resolve();
      changed = Promise.withResolvers<void>();
    }
  })();
  return {
    exited: within(
      Promise.all([child.exited, read]).then(([code]) => code),
      DEADLINE_MS,
      "the program to end",
    ),
    signal: (name) => child.kill(name),
    output: () => output,
    shows: async (text) => {
      const look = async (): Promise<void> => {
        while (!output.includes(text)) await changed.promise;
      };
      await within(look(), DEADLINE_MS, `standard output to contain: ${text}`);
    },
    errors: new Response(child.stderr).text(),
    left: () => [...readdirSync(dir.path), ...processesWith(dir.path)],
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM"); // after a failed test: it stops its Pods itself
      await child.exited;
      await dir[Symbol.asyncDispose]();
    },
  };
}

describe("pod demo", () => {
  test(
    "shows a refusal, a death, a replacement and the files, and leaves nothing",
    async () => {
      await using demo = start([podBinary(), "demo"]);
      expect(await demo.exited).toBe(0);
      expect(demo.left()).toEqual([]);
      expect(await demo.errors).toBe("");
      const output = demo.output();
      for (const fact of [
        /lead +spawned writer for docs\/ .*\(pid \d+\)/,
        /styler +refused: path is outside allowed scope: docs\/index\.md \(held by writer\)/,
        /lead +spawn of proofreader refused: .*lent out: docs to `writer`/,
        /tester +killed with SIGKILL \(by this demo\), its state was: running/,
        /lead +told: Pod `tester` died unexpectedly \(signal SIGKILL\)\. Its scope is yours again: write:checks\./,
        /lead +spawned tester-2 for checks\//,
        /lead +told: Pod `tester-2` finished a turn\./,
        /^└─ tester-2 +idle +\d+ +write:\/\S+\/checks$/m,
        /docs\/index\.md +\d+ bytes +# Paper boats/,
        /styles\/site\.css +\d+ bytes +body/,
        /checks\/links\.md +\d+ bytes +# Links to check/,
        /checks\/styles\.md +\d+ bytes +# Styles to check/,
        /lead was told \d+ ms after kill -9/,
        /pod run "/,
      ]) {
        expect(output).toMatch(fact);
      }
      expect(output.match(/✓/g)).toHaveLength(4);
      expect(output).not.toContain("✗");
      expect(output).not.toContain("\u001b");
    },
    TEST_TIMEOUT_MS,
  );

  test.each(["SIGINT", "SIGTERM"] as const)(
    "stops its Pods and removes its directory on %s in the middle",
    async (name) => {
      await using demo = start([podBinary(), "demo"]);
      await demo.shows("spawned tester for");
      expect(demo.left()).not.toEqual([]);
      demo.signal(name);
      expect(await demo.exited).toBe(name === "SIGINT" ? 130 : 143);
      expect(demo.left()).toEqual([]);
      expect(demo.output()).toEndWith("All are stopped and its directory is removed.\n");
      expect(await demo.errors).toBe("");
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "ends by force at the second signal, a stopped Pod included",
    async () => {
      await using demo = start([podBinary(), "demo"]);
      await demo.shows("spawned writer for");
      const pid = /spawned writer for .*\(pid (\d+)\)/.exec(demo.output())?.[1];
      process.kill(Number(pid), "SIGSTOP");
      demo.signal("SIGINT");
      await demo.shows("Interrupted");
      demo.signal("SIGINT");
      expect(await demo.exited).toBe(130);
      expect(demo.left()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "ends quietly when its reader goes away",
    async () => {
      const script = '{ "$0" demo; echo "exit code $?" >&2; } | head -1';
      await using demo = start(["sh", "-c", script, podBinary()]);
      expect(await demo.exited).toBe(0);
      expect(await demo.errors).toBe("exit code 0\n");
      expect(demo.output().split("\n")).toHaveLength(2);
      expect(demo.left()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "fails and says why when its root Pod is killed",
    async () => {
      await using demo = start([podBinary(), "demo"]);
      await demo.shows("three children, three processes");
      await demo.shows("SCOPE\nlead");
      const pid = /^lead +\S+ +(\d+) /m.exec(demo.output().split("SCOPE\n")[1] ?? "")?.[1];
      process.kill(Number(pid), "SIGKILL");
      expect(await demo.exited).toBe(1);
      expect(await demo.errors).toMatch(/^error: the demo failed: the root Pod ended/);
      expect(demo.left()).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "fits a terminal of 80 columns, in colour unless NO_COLOR is set",
    async () => {
      const [coloured, plain] = await Promise.all([onTerminal({}), onTerminal({ NO_COLOR: "1" })]);
      const withoutTables = plain.replace(/\u001b\[\?7l.*?\u001b\[\?7h/gs, "");
      expect(withoutTables).not.toContain("\u001b");
      const lines = withoutTables.split("\r\n");
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
      // A long refusal goes on below itself instead of at the left edge.
      expect(withoutTables).toMatch(/proofreader refused: .*\r\n {17}\S/);
      expect(coloured).toContain("\u001b[32mwriter");
      expect(coloured).toContain("\u001b[31mkilled with SIGKILL");
    },
    TEST_TIMEOUT_MS,
  );
});

/** What the demonstration writes to a terminal of 80 columns. */
async function onTerminal(env: Record<string, string>): Promise<string> {
  await using dir = temp();
  const decoder = new TextDecoder();
  let output = "";
  const child = Bun.spawn([podBinary(), "demo"], {
    cwd: dir.path,
    env: { PATH: "/usr/bin:/bin", HOME: dir.path, TERM: "xterm", ...env },
    terminal: {
      cols: 80,
      rows: 24,
      data: (_terminal, bytes) => {
        output += decoder.decode(bytes, { stream: true });
      },
    },
  });
  try {
    expect(await within(child.exited, DEADLINE_MS, "the demonstration to end")).toBe(0);
  } finally {
    child.kill("SIGTERM");
    await child.exited;
  }
  return output;
}
