import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { lifeState, sweepGone, takeLife, takeLifeIfPresent } from "../../src/registry/life.ts";
import { joinAsRoot } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { temp, within } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, refusal, rejection, rule } from "./entries.ts";
import { saveTable } from "../../src/registry/table.ts";

const taken = (base: string, name: string) => {
  const life = takeLife(base, name);
  if (life === undefined) throw new Error(`${name} is held`);
  return life;
};

describe("a life lock", () => {
  test("is held while its process lives, and free once it was killed", async () => {
    await using dir = temp();
    await using pod = await actor();
    expect(lifeState(dir.path, "a")).toBe("absent");
    expect(await pod.tell({ op: "takeLife", base: dir.path, name: "a" })).toBe(true);
    expect(lifeState(dir.path, "a")).toBe("held");
    expect(takeLife(dir.path, "a")).toBeUndefined();
    expect(takeLifeIfPresent(dir.path, "a")).toBeUndefined();
    await pod.kill();
    expect(lifeState(dir.path, "a")).toBe("free");
    taken(dir.path, "a").release();
  });

  test("is not kept by a process that its holder started", async () => {
    await using dir = temp();
    const life = taken(dir.path, "a");
    const child = Bun.spawn(["sleep", "1000"], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
    try {
      life.release();
      // The kernel wakes the parent an instant before it closes the descriptors in the child.
      const deadline = performance.now() + 5000;
      while (lifeState(dir.path, "a") !== "free" && performance.now() < deadline) {
        await new Promise(setImmediate);
      }
      expect(lifeState(dir.path, "a")).toBe("free");
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  });

  test("excludes a second one of the same process", async () => {
    await using dir = temp();
    const life = taken(dir.path, "a");
    expect(takeLife(dir.path, "a")).toBeUndefined();
    expect(lifeState(dir.path, "a")).toBe("held");
    life.release();
    life.release(); // once more does no harm
    taken(dir.path, "a").release();
  });

  test("is private, in a private directory", async () => {
    await using dir = temp();
    const before = process.umask(0);
    const life = taken(dir.path, "a");
    process.umask(before);
    expect(statSync(dir.join("a")).mode & 0o777).toBe(0o700);
    expect(statSync(dir.join("a", "lock")).mode & 0o777).toBe(0o600);
    life.release();
  });

  test("is not made by looking", async () => {
    await using dir = temp();
    mkdirSync(dir.join("a"));
    expect(lifeState(dir.path, "a")).toBe("absent");
    expect(takeLifeIfPresent(dir.path, "b")).toBeUndefined();
    expect(readdirSync(dir.path)).toEqual(["a"]);
    expect(readdirSync(dir.join("a"))).toEqual([]);
  });

  test.each(["", ".", "..", "../x", "/abs", "a/b", "pods.json", "x".repeat(65)])(
    "has no directory for the name %p (W34)",
    async (name) => {
      await using dir = temp();
      for (const attempt of [takeLife, takeLifeIfPresent, lifeState]) {
        expect(refusal(() => attempt(dir.join("run"), name)).code).toBe("invalid_argument");
      }
      expect(readdirSync(dir.path)).toEqual([]);
    },
  );
});

describe("a Pod directory", () => {
  test("is cleared of what a dead Pod left, but not of what is to be kept", async () => {
    await using dir = temp();
    await using pod = await actor();
    await pod.tell({ op: "takeLife", base: dir.path, name: "a" });
    mkdirSync(dir.join("a", "bash-output", "deep"), { recursive: true });
    for (const name of ["sock", "history.json", "stderr.log", "bash-output/deep/x"]) {
      writeFileSync(dir.join("a", name), "old");
    }
    await pod.kill();
    const life = taken(dir.path, "a");
    life.clear(["stderr.log"]);
    expect(readdirSync(dir.join("a")).toSorted()).toEqual(["lock", "stderr.log"]);
    life.release();
  });

  test("is removed whole by its owner, and the name is free at once", async () => {
    await using dir = temp();
    const life = taken(dir.path, "a");
    mkdirSync(dir.join("a", "bash-output"));
    writeFileSync(dir.join("a", "bash-output", "x"), "");
    life.removeDirectory();
    expect(readdirSync(dir.path)).toEqual([]);
    life.removeDirectory(); // nothing left to do
    taken(dir.path, "a").removeDirectory();
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("is not removed by one who has given the lock up", async () => {
    await using dir = temp();
    const life = taken(dir.path, "a");
    life.release();
    const successor = taken(dir.path, "a");
    life.removeDirectory();
    expect(existsSync(dir.join("a", "lock"))).toBe(true);
    successor.removeDirectory();
  });

  test("of a successor is not touched by the late clean-up of its predecessor (46)", async () => {
    await using dir = temp();
    await using old = await actor();
    await using young = await actor();
    await old.tell({ op: "takeLife", base: dir.path, name: "coder" });
    rmSync(dir.join("coder"), { recursive: true }); // somebody took it away by force
    expect(await young.tell({ op: "takeLife", base: dir.path, name: "coder" })).toBe(true);
    writeFileSync(dir.join("coder", "sock"), "young");
    await old.tell({ op: "removeLife", base: dir.path, name: "coder" });
    expect(readFileSync(dir.join("coder", "sock"), "utf8")).toBe("young");
    expect(lifeState(dir.path, "coder")).toBe("held");
  });

  test("is not cleared through a link", async () => {
    await using dir = temp();
    mkdirSync(dir.join("work"));
    writeFileSync(dir.join("work", "lock"), "precious");
    symlinkSync(dir.join("work"), dir.join("a"));
    for (const attempt of [takeLife, takeLifeIfPresent]) {
      expect(refusal(() => attempt(dir.path, "a")).message).toContain("is not a directory");
    }
    expect(readFileSync(dir.join("work", "lock"), "utf8")).toBe("precious");
  });

  test("with links in it is removed without what they lead to", async () => {
    await using dir = temp();
    mkdirSync(dir.join("work"));
    writeFileSync(dir.join("work", "file"), "precious");
    const life = taken(dir.path, "a");
    symlinkSync(dir.join("work"), dir.join("a", "to-directory"));
    symlinkSync(dir.join("work", "file"), dir.join("a", "to-file"));
    life.clear();
    symlinkSync(dir.join("work"), dir.join("a", "to-directory"));
    life.removeDirectory();
    expect(readFileSync(dir.join("work", "file"), "utf8")).toBe("precious");
  });

  test("is only one that a Pod made: a person's work under that name stays, and that is said (W34)", async () => {
    await using dir = temp();
    mkdirSync(dir.join("thesis"));
    writeFileSync(dir.join("thesis", "chapter-1"), "precious");
    const self = { name: "thesis", instance: "i" };
    const scope = { allow: [rule("/p")], deny: [] };
    const error = await rejection(joinAsRoot(new Registry(dir.path), self, scope, "S"));
    expect(error.code).toBe("io");
    expect(error.message).toContain(`${dir.join("thesis")} was not made by a pod`);
    expect(readdirSync(dir.join("thesis"))).toEqual(["chapter-1"]);
  });

  test("may not be a file", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a"), "");
    expect(refusal(() => takeLife(dir.path, "a")).message).toContain("is in the way");
    expect(lifeState(dir.path, "a")).toBe("absent");
  });

  test("that was moved aside by somebody who died is swept by the next", async () => {
    await using dir = temp();
    mkdirSync(dir.join(".gone-1", "bash-output"), { recursive: true });
    const life = taken(dir.path, "a");
    renameSync(dir.join("a"), dir.join(".gone-2"));
    life.release();
    saveTable(dir.path, {
      allocations: [entry("x", [], { owner: await deadOwner() })],
      rest: {},
    });
    await new Registry(dir.path).reclaim();
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak", "pods.lock"]);
    await sweepGone(dir.join("nowhere"));
  });
});

describe("processes that race for one directory", () => {
  test("never touch it while another owns it, whoever takes, marks and removes it when", async () => {
    await using dir = temp();
    await using first = await actor();
    await using second = await actor();
    const rounds = 400;
    const race = { op: "lifeRace", base: dir.path, name: "a", rounds } as const;
    const tallies = (await within(
      Promise.all([first.tell(race), second.tell(race)]),
      20_000,
      "the race",
    )) as { had: number; busy: number; violated: number }[];
    for (const { had, busy, violated } of tallies) {
      expect(violated).toBe(0);
      expect(had + busy).toBe(rounds);
      expect(had).toBeGreaterThan(0);
    }
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("come up one after the other under one name, with joins and leaves, and leave nothing", async () => {
    await using dir = temp();
    await using first = await actor();
    await using second = await actor();
    const cycle = async (pod: typeof first, instance: string): Promise<number> => {
      let joined = 0;
      for (let round = 0; round < 25; round += 1) {
        const reply = await pod.ask({
          op: "join",
          base: dir.path,
          name: "a",
          instance: `${instance}-${round}`,
          allow: [rule("/p")],
        });
        if (!reply.ok) {
          expect(reply.code).toBe("duplicate_name");
          continue;
        }
        joined += 1;
        const record = JSON.parse(readFileSync(dir.join("a", "allocation.json"), "utf8")) as {
          instance: string;
        };
        expect(record.instance).toBe(`${instance}-${round}`);
        await pod.tell({ op: "leave", base: dir.path, name: "a" });
      }
      return joined;
    };
    const joined = await Promise.all([cycle(first, "x"), cycle(second, "y")]);
    expect(Math.min(...joined)).toBeGreaterThan(0);
    expect(names(new Registry(dir.path).peek())).toEqual([]);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak", "pods.lock"]);
  });

  test("can start at once under the name of a Pod whose remains a third one clears (W11)", async () => {
    await using dir = temp();
    await using cleaner = await actor();
    for (let round = 0; round < 15; round += 1) {
      const dead = await actor();
      await dead.tell({
        op: "join",
        base: dir.path,
        name: "a",
        instance: `d${round}`,
        allow: [rule("/p")],
      });
      await dead.kill();
      const registry = new Registry(dir.path);
      const self = { name: "a", instance: `n${round}` };
      const [membership] = await Promise.all([
        joinAsRoot(registry, self, { allow: [rule("/p")], deny: [] }, "S"),
        cleaner.tell({ op: "release", base: dir.path, name: "nobody" }),
      ]);
      expect(lifeState(dir.path, "a")).toBe("held");
      await membership.leave();
    }
  });
});

test("a start waits for one who only looks at the directory, but not for long", async () => {
  await using dir = temp();
  await using looker = await actor();
  const scope = { allow: [rule("/p")], deny: [] };
  const self = { name: "a", instance: "i" };
  const registry = new Registry(dir.path);
  await looker.tell({ op: "takeLife", base: dir.path, name: "a" });
  const error = await rejection(joinAsRoot(registry, self, scope, "S"));
  expect(error.code).toBe("duplicate_name");
  expect(error.message).toBe("pod name `a` is already registered; it is just starting or ending");
  const joining = joinAsRoot(registry, self, scope, "S");
  await looker.tell({ op: "releaseLife", base: dir.path, name: "a" });
  const membership = await within(joining, 5000, "the start");
  await membership.leave();
});
