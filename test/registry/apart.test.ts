/** Roots that were children: who is the child again of a Pod that comes back, and of whom it stays out. */
import { expect, test } from "bun:test";
import { MountTree } from "../../src/base/mounts.ts";
import { describeApart, standingApart, withoutThem } from "../../src/registry/apart.ts";
import { delegate } from "../../src/registry/delegation.ts";
import { register } from "../../src/registry/operations.ts";
import { type Names, PLAIN_NAMES } from "../../src/scope/aliases.ts";
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
const { mounts: PLAIN } = PLAIN_NAMES;
const ROOT = [rule("/p")];

test("one that fits into the scope of a former parent is its child again and not apart", () => {
  const table = [alone("/p/a/b")];
  expect(standingApart(table, "root", ROOT, PLAIN)).toEqual([]);
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
  const apart = standingApart(table, "root", ROOT, PLAIN);
  expect(apart).toEqual(table);
  const { allow, deny } = withoutThem({ allow: ROOT, deny: [] }, apart, PLAIN);
  const after = register(table, entry("root", [...allow], { scope_deny: [...deny] }));
  expect(one(after, "leaf").delegated_from).toBeNull();
});

/** One file system at `/` with a part of it shown at another place as well. */
const showing = (root: string, point: string): Names => ({
  ...PLAIN_NAMES,
  mounts: new MountTree([
    { id: 1, parent: 0, device: "8:1", root: "/", point: "/" },
    { id: 2, parent: 1, device: "8:1", root, point },
  ]),
});

test.each([
  ["its own directory", ["/p/a/b", "/q"], "/p/a/b", "/p/x", "/p/x"],
  ["one above it", ["/p/a/b", "/q"], "/p/a", "/p/x", "/p/x/b"],
  ["one below it", ["/p/a", "/q"], "/p/a/b", "/p/x", "/p/x"],
  ["one outside that shows what is inside", ["/p/c", "/mnt"], "/p/a", "/mnt", "/p/a"],
  ["one by which alone they meet", ["/mnt/x", "/q"], "/p/a", "/mnt", "/p/a/x"],
])(
  "the scope without one is granted when a mount shows %s: it is left under every name (W31)",
  (_, held, root, point, other) => {
    const names = showing(root, point);
    const table = [alone(...held)];
    const apart = standingApart(table, "root", ROOT, names.mounts);
    expect(apart).toEqual(table);
    const { allow, deny } = withoutThem({ allow: ROOT, deny: [] }, apart, names.mounts);
    expect(deny.map(({ target }) => target)).toContain(other);
    const after = register(table, entry("root", [...allow], { scope_deny: [...deny] }), names);
    expect(one(after, "leaf").delegated_from).toBeNull();
  },
);

test("people are told of one with the name of the pod that stays out of it", () => {
  expect(describeApart(alone("/p/a", "/q"), "root")).toBe(
    "Pod `leaf`, once spawned below pod `root`, lives on its own and keeps write:/p/a, write:/q, " +
      "which reaches beyond the scope of `root`: `root` cannot write there before it is brought back " +
      "again without that one (to end it: pod stop leaf).",
  );
});

test("strangers, children of somebody, and those that write elsewhere do not stand apart", () => {
  expect(standingApart([entry("leaf", [rule("/p/a"), rule("/q")])], "root", ROOT, PLAIN)).toEqual(
    [],
  );
  expect(standingApart([alone("/q")], "root", ROOT, PLAIN)).toEqual([]);
  const parent = entry("other", [rule("/")]);
  const child = { ...alone("/p/a", "/q"), delegated_from: "other" };
  expect(standingApart([parent, child], "root", ROOT, PLAIN)).toEqual([]);
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
