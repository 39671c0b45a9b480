import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import * as processes from "../../src/base/process.ts";
import type { ProcessIdentity } from "../../src/base/process.ts";
import { within } from "../support/temp.ts";

const { identityOf, stateOf } = processes;
const LINUX = process.platform === "linux";

/** A process that sleeps, in a group of its own, killed with its group at the end of the test. */
function sleeper(command = ["sleep", "1000"]) {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", detached: true });
  const reader = child.stdout.getReader();
  return {
    pid: child.pid,
    exited: child.exited,
    kill: () => child.kill("SIGKILL"),
    /** The next output, or undefined at its end; fails after five seconds. */
    async output(what: string): Promise<string | undefined> {
      const { value } = await within(reader.read(), 5000, what);
      return value === undefined ? undefined : new TextDecoder().decode(value);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      processes.signalGroup(child.pid, "SIGKILL");
      await within(child.exited, 5000, "the sleeper's end");
    },
  };
}

describe("a recorded process", () => {
  test("is alive while it runs, our own included", async () => {
    expect(stateOf(identityOf(process.pid))).toBe("alive");
    await using child = sleeper();
    expect(stateOf(identityOf(child.pid))).toBe("alive");
  });

  test("is dead once it was killed (40)", async () => {
    await using child = sleeper();
    const identity = identityOf(child.pid);
    child.kill();
    await child.exited;
    expect(stateOf(identity)).toBe("dead");
  });

  test.skipIf(!LINUX)("is dead while nobody has reaped it (39)", async () => {
    // The shell becomes a `sleep` that never waits for the child it inherits.
    const script = "sleep 1000 & echo $!; exec sleep 1000 >&-";
    await using parent = sleeper(["sh", "-c", script]);
    const pid = Number(await parent.output("the pid of the grandchild"));
    const identity = identityOf(pid);
    expect(stateOf(identity)).toBe("alive");
    // Killed before that, it would still be the shell's to reap.
    await within(untilNamed(parent.pid, "sleep"), 5000, "the shell to become sleep");
    process.kill(pid, "SIGKILL");
    // Its standard output closes while it dies, an instant before it is a zombie.
    expect(await parent.output("the end of its output")).toBeUndefined();
    await within(untilDead(identity), 5000, "the zombie to count as dead");
    expect(existsSync(`/proc/${pid}`)).toBe(true); // still there, not reaped
  });

  test.skipIf(!LINUX)(
    "is dead when its pid now belongs to a process that started later (38)",
    () => {
      expect(stateOf({ ...identityOf(process.pid), start: "1" })).toBe("dead");
    },
  );

  test("is dead after another boot of this machine, and with a pid that cannot be (40)", () => {
    const own = identityOf(process.pid);
    expect(stateOf({ ...own, boot: "00000000-0000-0000-0000-000000000000" })).toBe("dead");
    expect(stateOf({ ...own, pid: 0 })).toBe("dead");
    expect(stateOf({ ...own, pid: -1 })).toBe("dead");
  });

  test("cannot be judged from another machine or pid namespace (40)", () => {
    const own = identityOf(process.pid);
    expect(stateOf({ ...own, machine: "elsewhere", boot: "other" })).toBe("unknown");
    expect(stateOf({ ...own, pidNamespace: "pid:[1]" })).toBe("unknown");
  });

  test("is judged by its pid alone when no start time was recorded", async () => {
    await using child = sleeper();
    const identity: ProcessIdentity = { ...identityOf(child.pid), start: null };
    expect(stateOf(identity)).toBe("alive");
    child.kill();
    await child.exited;
    expect(stateOf(identity)).toBe("dead");
  });

  test.skipIf(!LINUX)("has its start time read right whatever its name is", async () => {
    // The name stands unescaped in /proc/<pid>/stat, before the fields that are counted.
    const script = "printf 'x) S 1 (' > /proc/self/comm; echo; sleep 1000; true";
    await using child = sleeper(["sh", "-c", script]);
    await child.output("the new name");
    const [own, theirs] = [identityOf(process.pid).start, identityOf(child.pid).start];
    expect(Number(theirs)).toBeGreaterThanOrEqual(Number(own));
  });
});

/** Resolves when the process has become the program of this name (proc(5), `comm`). */
async function untilNamed(pid: number, name: string): Promise<void> {
  while (readFileSync(`/proc/${pid}/comm`, "utf8").trim() !== name) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function untilDead(identity: ProcessIdentity): Promise<void> {
  while (stateOf(identity) !== "dead") await new Promise((resolve) => setImmediate(resolve));
}

describe("signals to a group", () => {
  test("reach the children of its leader", async () => {
    await using leader = sleeper(["sh", "-c", "sleep 1000 & echo $!; wait"]);
    const grandchild = identityOf(Number(await leader.output("the pid of the grandchild")));
    processes.signalGroup(leader.pid, "SIGKILL");
    await within(leader.exited, 5000, "the leader's end");
    await within(untilDead(grandchild), 5000, "the grandchild's end");
  });

  test("to nobody, to everybody and to a group that is gone are harmless", async () => {
    await using child = sleeper(["true"]);
    await child.exited;
    for (const leader of [0, 1, -1, child.pid]) {
      expect(() => processes.signalGroup(leader, "SIGTERM")).not.toThrow();
    }
  });
});

describe("a bounded wait", () => {
  test("says whether the promise settled, however it did", async () => {
    expect(await processes.settlesWithin(Promise.resolve(), 5000)).toBe(true);
    expect(await processes.settlesWithin(Promise.reject(new Error("x")), 5000)).toBe(true);
    expect(await processes.settlesWithin(new Promise<never>(() => {}), 1)).toBe(false);
  });

  test("looks again until the answer is yes, and once when there is no time", async () => {
    let looks = 0;
    expect(await processes.looksUntil(() => (looks += 1) === 3, 60_000)).toBe(true);
    expect(looks).toBe(3);
    expect(await processes.looksUntil(() => (looks += 1) === 4, 0)).toBe(true);
    expect(await processes.looksUntil(() => (looks += 1) < 0, 0)).toBe(false);
    expect(looks).toBe(5);
  });

  test("keeps no process alive that it is told not to keep", async () => {
    const module = JSON.stringify(Bun.resolveSync("../../src/base/process.ts", import.meta.dir));
    const waiting = `void (await import(${module})).looksUntil(() => false, 1e9, { keepsAlive: false })`;
    await using child = Bun.spawn([process.execPath, "-e", waiting], { stderr: "inherit" });
    expect(await within(child.exited, 10_000, "the end of the process")).toBe(0);
  });
});

describe("what a child is started with", () => {
  test("from source, the command is Bun with our entry file", () => {
    const [program = "", ...args] = processes.selfCommand();
    expect(realpathSync(program)).toBe(realpathSync(process.execPath));
    expect(args.at(-1)).toBe(Bun.main);
  });

  test("the environment has no switches of Bun and nothing undefined", () => {
    const env = { PATH: "/bin", BUN_OPTIONS: "--inspect", BUN_BE_BUN: "1", NOTHING: undefined };
    expect(processes.childEnvironment(env)).toEqual({ PATH: "/bin" });
  });
});
