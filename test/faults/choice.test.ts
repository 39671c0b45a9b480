import { describe, expect, test } from "bun:test";
import { callTable, errorsOf, makesThread, mayCreate } from "../support/tracer/calls.ts";
import { startTracer, tracerRefusal } from "../support/tracer/client.ts";
import type { Call } from "../support/tracer/protocol.ts";
import { allChoices, choose, describe as named, FUZZ, tryAll } from "./choice.ts";
import { startSubject } from "./subject.ts";

const call = (name: string): Call => ({ name, path: "/f" });
const RECORDED = new Map([
  ["a", [call("open"), call("write"), call("rename")]],
  ["b", [call("unlink")]],
  ["c", Array.from({ length: 20 }, () => call("write"))],
]);
const ALL = allChoices(RECORDED, () => ["before", "after"]);
const keys = (choices: readonly (typeof ALL)[number][]): string[] => choices.map(named);

describe.skipIf(process.env.POD_FAULT !== undefined)("the choice of faults", () => {
  test("knows every call of every operation before and after", () => {
    expect(new Set(keys(ALL)).size).toBe(48);
    expect(keys(ALL)[0]).toBe("POD_FAULT=a:0:before (open /f)");
  });

  test("is the same for the same seed", () => {
    expect(keys(choose(ALL, 10, 60))).toEqual(keys(choose(ALL, 10, 60)));
  });

  test.skipIf(FUZZ)("touches every operation when it is small", () => {
    const chosen = choose(ALL, 6, 0);
    expect(chosen.length).toBe(6);
    expect(new Set(chosen.map(({ operation }) => operation)).size).toBe(3);
    expect(choose(ALL, 1000, 0).length).toBe(48);
  });

  test.skipIf(!FUZZ)("covers everything and goes on to its number when it is full", () => {
    const chosen = choose(ALL, 6, 60);
    expect(chosen.length).toBe(60);
    expect(new Set(keys(chosen)).size).toBe(48);
  });
});

test("every fault is tried, and what fails is told with what replays it", async () => {
  const tried: string[] = [];
  const lane = () => ({ [Symbol.asyncDispose]: async () => {} });
  const trying = tryAll(ALL.slice(0, 5), lane, async (choice) => {
    tried.push(named(choice));
    if (choice.fault.index === 1) throw new Error("lost");
  });
  await expect(trying).rejects.toThrow(/^2 failed:\nPOD_SEED=\d+ POD_FAULT=a:1:before \(write/);
  expect(tried.toSorted()).toEqual(keys(ALL.slice(0, 5)).toSorted());
});

describe("the table of calls", () => {
  test.each(["x64", "arm64"])(
    "of %s has each call once, and the ones that files live by",
    (arch) => {
      const names = [...(callTable(arch)?.values() ?? [])].map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
      for (const name of ["openat", "write", "fsync", "renameat2", "unlinkat", "flock", "execve"]) {
        expect(names).toContain(name);
      }
    },
  );

  test("is unknown for other machines", () => expect(callTable("mips")).toBeUndefined());

  test("counts only opens that may create, and clones that make a process", () => {
    expect([mayCreate(0o100), mayCreate(0o2000000)]).toEqual([true, false]);
    expect([makesThread(0x10000), makesThread(0x4100)]).toEqual([true, false]);
  });

  test("knows which errors a call can meet", () => {
    expect(errorsOf("write")).not.toContain("EACCES");
    expect(errorsOf("openat")).toContain("EMFILE");
    expect(errorsOf("vfork")).toEqual(["EAGAIN"]);
    expect(errorsOf("execve")).toEqual([]);
  });
});

test("a process that may not be traced, or is gone, is refused, and the next is followed", async () => {
  if ((await tracerRefusal()) !== undefined) return;
  await using tracer = startTracer();
  const nobody = { pid: 4_194_303, whose: "own", root: "/" } as const;
  await expect(tracer.follow(nobody)).rejects.toThrow("ptrace is refused");
  await using lane = await startSubject();
  const { done } = await tracer.follow({ ...nobody, pid: lane.pid });
  await lane.kill();
  expect(await done).toMatchObject({ calls: [], hit: false });
});
