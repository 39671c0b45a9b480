import { expect, test } from "bun:test";
import { drawTree } from "../../src/cli/ls.ts";
import { treeOf } from "../../src/cli/tree.ts";
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
