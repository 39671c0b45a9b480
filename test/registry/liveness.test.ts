import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { tryFlock } from "../../src/base/libc.ts";
import { podPaths } from "../../src/base/paths.ts";
import { identityOf, type ProcessIdentity } from "../../src/base/process.ts";
import type { Allocation } from "../../src/registry/allocation.ts";
import { lifeState, takeLife } from "../../src/registry/life.ts";
import { isDead, isPlainlyDead } from "../../src/registry/liveness.ts";
import { temp, within } from "../support/temp.ts";
import { actor, fixture, linesOf } from "./actor.ts";
import { deadOwner, entry, untilZombie, zombie } from "./entries.ts";

const NOW = 1_700_000_000_000;
const HERE = identityOf(process.pid);
const LINUX = process.platform === "linux";
const owned = (owner: ProcessIdentity, more: Partial<Allocation> = {}): Allocation =>
  entry("a", [], { owner, ...more });
const reservation = (expires_at: number | null, owner = HERE): Allocation =>
  owned(owner, { session_id: null, expires_at });

describe("an allocation", () => {
  test("lives as long as its process, its own included", async () => {
    await using dir = temp();
    await using pod = await actor();
    const held = owned(identityOf(pod.pid));
    expect(isDead(dir.path, held, NOW)).toBe(false);
    expect(isDead(dir.path, owned(HERE), NOW)).toBe(false);
    await pod.kill();
    expect(isDead(dir.path, held, NOW)).toBe(true);
  });

  test("lives as long as a shell command of its killed process holds its lock", async () => {
    await using dir = temp();
    const owner = await deadOwner();
    const gone = owned(owner);
    const { directory, shellLock } = podPaths(dir.path, "a");
    mkdirSync(directory);
    writeFileSync(shellLock, "");
    const dead = (): boolean[] => [
      isDead(dir.path, gone, NOW),
      isPlainlyDead(dir.path, gone, NOW, HERE),
    ];
    expect(dead()).toEqual([true, true]); // it had run some, which are over
    const fd = openSync(shellLock, "r+");
    expect(tryFlock(fd)).toBe("taken");
    expect(dead()).toEqual([false, false]);
    // A reservation has no process of its own, so no command either.
    expect(isDead(dir.path, reservation(NOW + 1, owner), NOW)).toBe(true);
    closeSync(fd);
    expect(dead()).toEqual([true, true]);
  });

  test("lives although its directory is free: the process is what counts", async () => {
    await using dir = temp();
    takeLife(dir.path, "a")?.release();
    expect(isDead(dir.path, owned(HERE), NOW)).toBe(false);
  });

  test.skipIf(!LINUX)("is dead when its pid went to another process (38)", async () => {
    await using dir = temp();
    await using stranger = await actor();
    const stale = owned({ ...identityOf(stranger.pid), start: "1" });
    expect(isDead(dir.path, stale, NOW)).toBe(true);
    // The stranger was looked at and nothing else.
    expect(await stranger.tell({ op: "lifeState", base: dir.path, name: "a" })).toBe("absent");
  });

  test.skipIf(!LINUX)("is dead when its process is a zombie (39)", async () => {
    await using dir = temp();
    await using gone = await zombie();
    expect(isDead(dir.path, owned(gone.identity), NOW)).toBe(true);
  });

  test.skipIf(!LINUX)(
    "lives until the last thread of its killed process is gone, although the first is a zombie",
    async () => {
      await using dir = temp();
      const child = Bun.spawn(fixture("headless.ts", dir.path, "a"), {
        stdin: "ignore",
        stdout: "pipe",
      });
      const identity = identityOf(child.pid);
      try {
        const { value } = await within(
          linesOf(child.stdout).next(),
          5000,
          "the fixture to be ready",
        );
        expect(value).toBe("ready");
        await untilZombie(child.pid);
        expect(lifeState(dir.path, "a")).toBe("held"); // its threads have the lock, and may still write
        expect(isDead(dir.path, owned(identity), NOW)).toBe(false);
      } finally {
        child.kill("SIGKILL");
        await within(child.exited, 5000, "the fixture's end");
      }
      expect(isDead(dir.path, owned(identity), NOW)).toBe(true);
    },
  );

  test.skipIf(!LINUX)("of an earlier boot of this machine is dead (40)", async () => {
    await using dir = temp();
    expect(isDead(dir.path, owned({ ...HERE, boot: "earlier" }), NOW)).toBe(true);
  });

  test.each([
    ["another machine", { machine: "other", boot: "other" }],
    ["another machine of this kernel, as a container is", { machine: "other" }],
    ["another pid namespace", { pidNamespace: "pid:[1]" }],
  ])("of %s is not judged by its pid (40)", async (_, foreign) => {
    await using dir = temp();
    const dead = await deadOwner();
    expect(isDead(dir.path, owned({ ...dead, ...foreign }), NOW)).toBe(false);
    expect(isDead(dir.path, owned({ ...HERE, ...foreign }), NOW)).toBe(false);
  });

  test("of another namespace of this kernel is judged by its life lock (W6)", async () => {
    await using dir = temp();
    const held = owned({ ...HERE, pidNamespace: "pid:[1]" });
    const life = takeLife(dir.path, "a");
    expect(isDead(dir.path, held, NOW)).toBe(false);
    life?.release();
    expect(isDead(dir.path, held, NOW)).toBe(true);
  });

  test("of another kernel lives, even with a free life lock: locks may not reach that far (W6)", async () => {
    await using dir = temp();
    takeLife(dir.path, "a")?.release();
    expect(isDead(dir.path, owned({ ...HERE, machine: "other", boot: "other" }), NOW)).toBe(false);
  });

  test("whose start time is not known is judged by its life lock, and lives without one", async () => {
    await using dir = temp();
    const held = owned({ ...HERE, start: null });
    expect(isDead(dir.path, held, NOW)).toBe(false);
    const life = takeLife(dir.path, "a");
    expect(isDead(dir.path, held, NOW)).toBe(false);
    life?.release();
    expect(isDead(dir.path, held, NOW)).toBe(true);
  });

  test("lives when its life lock cannot be looked at, whatever the reason", async () => {
    await using dir = temp();
    mkdirSync(dir.join("a", "lock"), { recursive: true });
    const foreign = { ...HERE, pidNamespace: "pid:[1]" };
    expect(isDead(dir.path, owned(foreign), NOW)).toBe(false);
    expect(isDead(dir.path, owned(foreign, { pod_name: "../../etc" }), NOW)).toBe(false);
    writeFileSync(dir.join("b"), "");
    expect(isDead(dir.path, owned(foreign, { pod_name: "b" }), NOW)).toBe(false);
  });

  test("without a process is dead", async () => {
    await using dir = temp();
    expect(isDead(dir.path, owned({ ...HERE, pid: 0 }), NOW)).toBe(true);
  });
});

describe("a reservation", () => {
  test("lives until its time is over, and not a millisecond longer (W38)", async () => {
    await using dir = temp();
    expect(isDead(dir.path, reservation(NOW), NOW)).toBe(false);
    expect(isDead(dir.path, reservation(NOW - 1), NOW)).toBe(true);
    expect(isDead(dir.path, reservation(null), NOW)).toBe(false);
  });

  test("has no time limit once it is adopted", async () => {
    await using dir = temp();
    expect(isDead(dir.path, owned(HERE, { expires_at: NOW - 1 }), NOW)).toBe(false);
  });

  test("is dead with its spawner, whose process stands for the child (104)", async () => {
    await using dir = temp();
    expect(isDead(dir.path, reservation(NOW + 1, await deadOwner()), NOW)).toBe(true);
  });

  test("lives although nobody holds the directory: its child may not have started", async () => {
    await using dir = temp();
    takeLife(dir.path, "a")?.release();
    const elsewhere = { ...HERE, pidNamespace: "pid:[1]" };
    expect(isDead(dir.path, reservation(NOW, elsewhere), NOW)).toBe(false);
  });
});

describe("the cheap half of the proof", () => {
  const plainly = (base: string, held: Allocation): boolean => isPlainlyDead(base, held, NOW, HERE);

  test("sees that there is no such process and that a reservation is over", async () => {
    await using dir = temp();
    expect(plainly(dir.path, owned(await deadOwner()))).toBe(true);
    expect(plainly(dir.path, reservation(NOW - 1))).toBe(true);
    expect(plainly(dir.path, owned(HERE))).toBe(false);
  });

  test("never calls dead what the whole proof calls alive", async () => {
    await using dir = temp();
    await using gone = await zombie();
    takeLife(dir.path, "a")?.release();
    const dead = await deadOwner();
    const owners = [HERE, dead, gone.identity].flatMap((owner) => [
      owner,
      { ...owner, start: "1" },
      { ...owner, start: null },
      { ...owner, boot: "other" },
      { ...owner, machine: "other" },
      { ...owner, machine: "other", boot: "other" },
      { ...owner, pidNamespace: "pid:[1]" },
      { ...owner, pid: 0 },
    ]);
    for (const owner of owners) {
      for (const held of [owned(owner), reservation(NOW + 1, owner), reservation(NOW - 1, owner)]) {
        if (plainly(dir.path, held)) expect(isDead(dir.path, held, NOW)).toBe(true);
      }
    }
  });
});
