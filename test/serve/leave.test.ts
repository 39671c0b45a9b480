import { describe, expect, test } from "bun:test";
import { leaveInOrder, type LeavingSteps } from "../../src/serve/leave.ts";

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
    endCommands: async () => {
      await act("commands")();
      return true;
    },
    record: act("record"),
    tell: act("tell"),
    close: act("close"),
    release: act("release"),
  };
  return { log, all };
}

const ORDER = ["children", "commands", "record", "tell", "close", "release"];

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
    // Without knowing that its commands have ended it gives nothing back.
    const expected = ORDER.filter((other) => name !== "commands" || other !== "release");
    expect(log.filter((entry) => ORDER.includes(entry))).toEqual(expected);
  });

  test.each([
    ["do not end", () => new Promise<boolean>(() => undefined)],
    ["cannot be ended", () => Promise.resolve(false)],
  ])("whose commands %s goes, and gives nothing back (I5)", async (_, endCommands) => {
    const { log, all } = steps();
    await leaveInOrder({ ...all, endCommands }, { commandsMs: 20, recordMs: 20 });
    expect(log.slice(0, 2)).toEqual(["children", "record"]);
    expect(log.at(-1)).toBe("close done");
  });

  test("does not wait for ever for what is to be recorded", async () => {
    const { log, all } = steps();
    const never = () => new Promise<void>(() => undefined);
    await leaveInOrder(
      { ...all, endCommands: () => Promise.resolve(true), record: never, close: never },
      { commandsMs: 20, recordMs: 20 },
    );
    expect(log).toEqual(["children", "tell", "tell done", "release", "release done"]);
  });
});
