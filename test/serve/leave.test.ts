import { describe, expect, test } from "bun:test";
import { leaveInOrder, type LeavingSteps, NO_SHELLS } from "../../src/serve/leave.ts";

/** Steps that note when they begin and end; `broken` ones throw. */
function steps(broken: readonly string[] = []) {
  const log: string[] = [];
  const act = (name: string) => async (): Promise<void> => {
    log.push(name);
    await new Promise((resolve) => setImmediate(resolve));
    if (broken.includes(name)) throw new Error(`no ${name}`);
    log.push(`${name} done`);
  };
  const all: LeavingSteps = {
    ignoreChildren: () => {
      log.push("children");
      if (broken.includes("children")) throw new Error("no children");
    },
    shells: { end: act("shells"), kill: () => log.push("kill") },
    record: act("record"),
    tell: act("tell"),
    close: act("close"),
    release: act("release"),
  };
  return { log, all };
}

const ORDER = ["children", "shells", "record", "tell", "close", "release"];

describe("a pod that leaves", () => {
  test("does one thing after the other and gives its paths back last (I5, W50)", async () => {
    const { log, all } = steps();
    await leaveInOrder(all);
    expect(log).toEqual(
      ORDER.flatMap((name) => (name === "children" ? [name] : [name, `${name} done`])),
    );
  });

  test.each(ORDER)("does all the rest when %s goes wrong", async (name) => {
    const { log, all } = steps([name]);
    await leaveInOrder(all);
    expect(log.filter((entry) => ORDER.includes(entry))).toEqual(ORDER);
  });

  test("kills shells that do not end, and goes on", async () => {
    const { log, all } = steps();
    const shells = { ...all.shells, end: () => new Promise<void>(() => undefined) };
    await leaveInOrder({ ...all, shells }, { shellsMs: 20, recordMs: 20 });
    expect(log.slice(0, 3)).toEqual(["children", "kill", "record"]);
    expect(log.at(-1)).toBe("release done");
  });

  test("does not wait for ever for what is to be recorded", async () => {
    const { log, all } = steps();
    const never = () => new Promise<void>(() => undefined);
    await leaveInOrder(
      { ...all, shells: NO_SHELLS, record: never, close: never },
      { shellsMs: 20, recordMs: 20 },
    );
    expect(log).toEqual(["children", "tell", "tell done", "release", "release done"]);
  });
});
