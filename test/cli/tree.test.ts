import { expect, test } from "bun:test";
import { drawTree } from "../../src/cli/ls.ts";
import { listeningEntry, settledStatus, stateWord, treeOf } from "../../src/cli/tree.ts";
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

/** What is listed of a Pod whose answers are these, and how often it was asked. */
async function listed(entry: ReturnType<typeof pod>, ...answers: (PodStatus | undefined)[]) {
  let asked = 0;
  const status = await settledStatus(entry, async () => await Promise.resolve(answers[asked++]));
  return { word: stateWord(entry, status), asked };
}

test("a Pod that does not listen yet is asked once more before it is called unresponsive", async () => {
  expect(await listed(pod("a"), IDLE)).toEqual({ word: "idle", asked: 1 });
  expect(await listed(pod("a"), undefined, IDLE)).toEqual({ word: "idle", asked: 2 });
  expect(await listed(pod("a"))).toEqual({ word: "unresponsive", asked: 2 });
});

test("a Pod that was silent for its whole time is not asked twice", async () => {
  let asked = 0;
  const status = await settledStatus(pod("a"), async () => {
    asked += 1;
    await Bun.sleep(400); // longer than the time it would be given
    return undefined;
  });
  expect([status, asked]).toEqual([undefined, 1]);
});

test("a reservation is starting, and nobody's to talk to", async () => {
  const kid = { ...pod("kid", "a"), session_id: null };
  expect(await listed(kid)).toEqual({ word: "starting", asked: 0 });
  expect(() => listeningEntry([kid], "kid")).toThrow(
    "pod `kid` is just being started by pod `a`; retry in a moment",
  );
  expect(() => listeningEntry([kid], "other")).toThrow("no live pod named `other` (live: kid)");
  expect(listeningEntry([pod("a")], "a").pod_name).toBe("a");
});
