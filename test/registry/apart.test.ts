/** Roots that were children: who is the child again of a Pod that comes back, and of whom it stays out. */
import { expect, test } from "bun:test";
import { standingApart, withoutThem } from "../../src/registry/apart.ts";
import { delegate } from "../../src/registry/delegation.ts";
import { register } from "../../src/registry/operations.ts";
import { entry, one, refusal, rule } from "./entries.ts";

const above = [
  { pod_name: "mid", instance: "mid-0" },
  { pod_name: "root", instance: "root-0" },
];
const alone = (...targets: string[]) =>
  entry(
    "leaf",
    targets.map((target) => rule(target)),
    { lineage: above },
  );
const ROOT = [rule("/p")];

test("one that fits into the scope of a former parent is its child again and not apart", () => {
  const table = [alone("/p/a/b")];
  expect(standingApart(table, "root", ROOT)).toEqual([]);
  const leaf = one(register(table, entry("root", ROOT)), "leaf");
  expect(leaf.delegated_from).toBe("root");
  expect(leaf.lineage).toEqual([
    { pod_name: "mid", instance: "mid-0" },
    { pod_name: "root", instance: "root-1" },
  ]);
});

test("one that reaches beyond it stands apart, and the scope without it is granted", () => {
  const table = [alone("/p/a/b", "/q")];
  expect(refusal(() => register(table, entry("root", ROOT))).code).toBe("write_conflict");
  const apart = standingApart(table, "root", ROOT);
  expect(apart).toEqual(table);
  const { allow, deny } = withoutThem({ allow: ROOT, deny: [] }, apart);
  const after = register(table, entry("root", [...allow], { scope_deny: [...deny] }));
  expect(one(after, "leaf").delegated_from).toBeNull();
});

test("strangers, children of somebody, and those that write elsewhere do not stand apart", () => {
  expect(standingApart([entry("leaf", [rule("/p/a"), rule("/q")])], "root", ROOT)).toEqual([]);
  expect(standingApart([alone("/q")], "root", ROOT)).toEqual([]);
  const parent = entry("other", [rule("/")]);
  const child = { ...alone("/p/a", "/q"), delegated_from: "other" };
  expect(standingApart([parent, child], "root", ROOT)).toEqual([]);
});

test("what one of them spawns descends from its former parents as well", () => {
  const { entry: spawned } = delegate(
    [alone("/p/a/b")],
    { name: "leaf", instance: "leaf-1" },
    entry("deep", [rule("/p/a/b/c")]),
    { maxDepth: 4, maxChildren: 16 },
  );
  expect(spawned.lineage).toEqual([{ pod_name: "leaf", instance: "leaf-1" }, ...above]);
});
