import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { tryFlock } from "../../src/base/libc.ts";
import { podPaths } from "../../src/base/paths.ts";
import { identityOf } from "../../src/base/process.ts";
import { clearGroup, signalPod } from "../../src/spawn/group.ts";
import { type StopLimits, stopPod } from "../../src/spawn/stop.ts";
import { isRunning } from "../support/pod.ts";
import { temp, within } from "../support/temp.ts";

const FAST: StopLimits = { askMs: 50, termMs: 300, killMs: 2000 };
const SOCKET = "/tmp/no-such-directory/sock";
const BASH = Bun.which("bash");

/** Processes of a shell script that prints their pids; all in the script's session end with the test. */
async function processes(command: readonly string[], count: number, detached: boolean) {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", detached });
  const reader = child.stdout.getReader();
  let text = "";
  while (text.split("\n").length <= count) {
    const { value } = await within(reader.read(), 5000, "the pids of the processes");
    if (value === undefined) throw new Error(`${command.join(" ")} ended early: ${text}`);
    text += new TextDecoder().decode(value);
  }
  const pids = text.trim().split("\n").map(Number);
  return {
    child,
    pids,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const pid of [child.pid, ...pids]) if (isRunning(pid)) process.kill(pid, "SIGKILL");
      await within(child.exited, 5000, "the end of the processes");
    },
  };
}

const STUBBORN = 'trap "" TERM; echo $$; while :; do sleep 0.02; done';

describe("a pod that has to be forced", () => {
  test("is ended although it leads no group: a root that a script started", async () => {
    await using root = await processes(["sh", "-c", STUBBORN], 1, false);
    const target = { socket: SOCKET, owner: identityOf(root.child.pid) };
    expect(await stopPod(target, FAST)).toBe("forced");
    expect(isRunning(root.child.pid)).toBe(false);
  });

  test("is ended with everything in its session's group", async () => {
    const script = `sh -c '${STUBBORN}' & ${STUBBORN}`;
    await using pod = await processes(["sh", "-c", script], 2, true);
    const target = { socket: SOCKET, owner: identityOf(pod.child.pid), exited: pod.child.exited };
    expect(await stopPod(target, FAST)).toBe("forced");
    expect(pod.pids.map(isRunning)).toEqual([false, false]);
  });

  test("is ended alone when it shares its group with others: `pod run … | tee log`", async () => {
    if (BASH === null) return;
    const member = "{ echo $BASHPID >&3; exec sleep 60; }";
    const script = `set -m; exec 3>&1; ${member} | ${member} & wait`;
    await using job = await processes([BASH, "-c", script], 2, true);
    const leader = job.pids.find((pid) => groupOf(pid) === pid);
    const other = job.pids.find((pid) => pid !== leader);
    if (leader === undefined || other === undefined) throw new Error("no job of its own");
    expect(await stopPod({ socket: SOCKET, owner: identityOf(leader) }, FAST)).toBe("forced");
    expect([isRunning(leader), isRunning(other)]).toEqual([false, true]);
  });

  test("and is stopped by a signal hears SIGTERM all the same, and may end in order", async () => {
    const script = 'trap "exit 0" TERM; echo $$; while :; do sleep 0.02; done';
    await using pod = await processes(["sh", "-c", script], 1, true);
    process.kill(pod.child.pid, "SIGSTOP");
    const target = { socket: SOCKET, owner: identityOf(pod.child.pid), exited: pod.child.exited };
    expect(await stopPod(target, { ...FAST, termMs: 2000 })).toBe("forced");
    expect(pod.child.exitCode).toBe(0);
  });
});

describe("a stranger", () => {
  test("under a pid that was used again is taken for nobody and gets no signal (38)", async () => {
    await using stranger = await processes(["sh", "-c", STUBBORN], 1, true);
    const now = identityOf(stranger.child.pid);
    expect(await stopPod({ socket: SOCKET, owner: { ...now, start: "1" } }, FAST)).toBe("ended");
    expect(await stopPod({ socket: SOCKET, owner: { ...now, boot: "before" } }, FAST)).toBe(
      "ended",
    );
    expect(isRunning(stranger.child.pid)).toBe(true);
  });

  test("of another machine or pid namespace is not signalled, and not called dead (W6)", async () => {
    await using stranger = await processes(["sh", "-c", STUBBORN], 1, true);
    const now = identityOf(stranger.child.pid);
    for (const owner of [
      { ...now, machine: "elsewhere" },
      { ...now, pidNamespace: "pid:[1]" },
    ]) {
      expect(await stopPod({ socket: SOCKET, owner }, FAST)).toBe("alive");
    }
    expect(isRunning(stranger.child.pid)).toBe(true);
  });

  test("who leads a group under a dead pod's number keeps it", async () => {
    const script = `sh -c '${STUBBORN}' & ${STUBBORN}`;
    await using stranger = await processes(["sh", "-c", script], 2, true);
    expect(await clearGroup(stranger.child.pid, 100)).toBe(true);
    expect(stranger.pids.map(isRunning)).toEqual([true, true]);
  });
});

test("a dead pod whose command lives on is not called ended, so that its scope is kept (I1)", async () => {
  await using dir = temp();
  const { directory, shellLock, socket } = podPaths(dir.path, "kid");
  mkdirSync(directory, { mode: 0o700 });
  const child = Bun.spawn(["true"]);
  const target = { socket, owner: identityOf(child.pid) };
  await child.exited;
  expect(await stopPod(target, FAST)).toBe("ended");
  const command = openSync(shellLock, "w");
  try {
    expect(tryFlock(command)).toBe("taken");
    expect(await stopPod(target, FAST)).toBe("alive");
  } finally {
    closeSync(command);
  }
  expect(await stopPod(target, FAST)).toBe("ended");
});

test("numbers that mean everybody, or one's own group, are never signalled", async () => {
  for (const pid of [1, 0, -1]) {
    signalPod(pid, "SIGTERM");
    expect(await clearGroup(pid, 10)).toBe(true);
  }
});

function groupOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
}
