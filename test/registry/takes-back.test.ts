/** A child that comes back takes back what an earlier run of its name had spawned (W52). */
import { expect, test } from "bun:test";
import { delegate } from "../../src/registry/delegation.ts";
import { entry, names, one, refusal, rule } from "./entries.ts";

const LIMITS = { maxDepth: 4, maxChildren: 16, takesBack: true };
const ROOT = { name: "root", instance: "root-1" };

/** Root, and a grandchild that it inherited when `mid` died; `deeper` is below that. */
const inherited = [
  entry("root", [rule("/p")]),
  entry("leaf", [rule("/p/a/b")], {
    delegated_from: "root",
    lineage: [
      { pod_name: "mid", instance: "mid-0" },
      { pod_name: "root", instance: "root-1" },
    ],
  }),
  entry("deeper", [rule("/p/a/b/c")], {
    delegated_from: "leaf",
    lineage: [
      { pod_name: "leaf", instance: "leaf-1" },
      { pod_name: "mid", instance: "mid-0" },
      { pod_name: "root", instance: "root-1" },
    ],
  }),
];

test("its heirs are below it again, whole branches, and stand in nobody's way", () => {
  const { table } = delegate(inherited, ROOT, entry("mid", [rule("/p/a")]), LIMITS);
  expect(names(table)).toEqual(["root", "leaf", "deeper", "mid"]);
  expect(one(table, "leaf").delegated_from).toBe("mid");
  expect(one(table, "deeper").delegated_from).toBe("leaf");
  expect(one(table, "leaf").lineage[0]).toEqual({ pod_name: "mid", instance: "mid-1" });
  expect(one(table, "deeper").lineage[1]).toEqual({ pod_name: "mid", instance: "mid-1" });
  expect(one(table, "mid").delegated_from).toBe("root");
});

test("a new child of the same name takes nothing: it is refused as any other", () => {
  const limits = { ...LIMITS, takesBack: false };
  expect(refusal(() => delegate(inherited, ROOT, entry("mid", [rule("/p/a")]), limits)).code).toBe(
    "not_subset",
  );
});

test("what writes outside its scope, or never was its, stays where it is", () => {
  expect(
    refusal(() => delegate(inherited, ROOT, entry("mid", [rule("/p/a/b/c/d")]), LIMITS)).code,
  ).toBe("not_subset");
  expect(
    refusal(() => delegate(inherited, ROOT, entry("other", [rule("/p/a")]), LIMITS)).code,
  ).toBe("not_subset");
  const { table } = delegate(inherited, ROOT, entry("mid", [rule("/p/z")]), LIMITS);
  expect(one(table, "leaf").delegated_from).toBe("root");
});
