import { expect, test } from "bun:test";
import { drawTree } from "../../src/cli/ls.ts";
import { listeningEntry, SETTLE_MS, settledStatus, stateWord, treeOf } from "../../src/cli/tree.ts";
import type { PodStatus } from "../../src/spawn/status.ts";
import { entry, rule } from "../registry/entries.ts";

const pod = (name: string, parent: string | null = null) =>
  entry(name, [rule(`/w/${name}`)], { delegated_from: parent });

test("a tree is drawn root by root, each child below its parent", () => {
  const nodes = treeOf([pod("a"), pod("b"), pod("kid", "a"), pod("deep", "kid")]);
  expect(drawTree(nodes)).toEqual(["a", "└─ kid", "   └─ deep", "b"]);
});

test("Pods whose parents are gone, or are each other's, are shown all the same", () => {
  const nodes = treeOf([pod("a"), pod("orphan", "gone"), pod("x", "y"), pod("y", "x")]);
  expect(drawTree(nodes)).toEqual(["a", "orphan", "x", "y"]);
});

const IDLE: PodStatus = {
  state: "idle",
  pod_name: "a",
  instance: "i",
  pid: 1,
  runs: 0,
  pending: 0,
};

/** An answer, and the milliseconds after which it comes. */
type Answer = readonly [afterMs: number, status: PodStatus | undefined];

/** What is listed of a Pod whose answers are these, how often it was asked, and the time it took. */
async function listed(entry: ReturnType<typeof pod>, ...answers: Answer[]) {
  let [asked, ms] = [0, 0];
  const pass = async (more: number): Promise<void> => {
    ms += more;
    await Promise.resolve();
  };
  const ask = async (): Promise<PodStatus | undefined> => {
    const [afterMs, status] = answers[asked++] ?? [0, undefined];
    await pass(afterMs);
    return status;
  };
  const status = await settledStatus(entry, ask, { now: () => ms, sleep: pass });
  return { word: stateWord(entry, status), asked, ms };
}

test("a Pod that does not listen yet is asked once more before it is called unresponsive", async () => {
  const refusal: Answer = [1, undefined];
  const answer: Answer = [2, IDLE];
  expect(await listed(pod("a"), answer)).toEqual({ word: "idle", asked: 1, ms: 2 });
  const twice = { asked: 2, ms: 1 + SETTLE_MS + 2 };
  expect(await listed(pod("a"), refusal, answer)).toEqual({ word: "idle", ...twice });
  expect(await listed(pod("a"), refusal, [2, undefined])).toEqual({
    word: "unresponsive",
    ...twice,
  });
});

test("a Pod that was silent for its whole time is not asked twice", async () => {
  const silent = SETTLE_MS + 1;
  expect(await listed(pod("a"), [silent, undefined], [1, IDLE])).toEqual({
    word: "unresponsive",
    asked: 1,
    ms: silent,
  });
});

test("a reservation is starting, and nobody's to talk to", async () => {
  const kid = { ...pod("kid", "a"), session_id: null };
  expect(await listed(kid)).toEqual({ word: "starting", asked: 0, ms: 0 });
  expect(() => listeningEntry([kid], "kid")).toThrow(
    "pod `kid` is just being started by pod `a`; retry in a moment",
  );
  expect(() => listeningEntry([kid], "other")).toThrow("no live pod named `other` (live: kid)");
  expect(listeningEntry([pod("a")], "a").pod_name).toBe("a");
});
