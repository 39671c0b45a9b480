/**
 * I1, I3 and the shape of the tree under random sequences of operations, judged by brute force: who
 * may write is asked for every path of a small universe, not computed with the algebra under test.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { isPodError } from "../../src/base/errors.ts";
import type { Allocation } from "../../src/registry/allocation.ts";
import { delegate } from "../../src/registry/delegation.ts";
import { type Allocations } from "../../src/registry/kinship.ts";
import { adopt, reclaim, register, release } from "../../src/registry/operations.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { entry, one, rule } from "./entries.ts";

const TARGETS = ["/", "/p", "/p/a", "/p/a/x", "/p/a/x/k", "/p/b", "/p/b/z", "/q", "/q/c"];
/** Every target, plus a file in each of them and one two levels below. */
const PATHS = TARGETS.flatMap((target) => {
  const inside = target === "/" ? "" : target;
  return [target, `${inside}/f`, `${inside}/g/h`];
});
const NAMES = ["n0", "n1", "n2", "n3", "n4", "n5", "n6"];

// The judge: rules as sets of paths, spelled out without the functions under test.
const matches = ({ target, recursive }: ScopeRule, path: string): boolean => {
  const below = path.startsWith(target === "/" ? "/" : `${target}/`);
  if (path === target) return true;
  if (!below) return false;
  const depth = (text: string): number => text.split("/").filter(Boolean).length;
  return recursive || depth(path) === depth(target) + 1;
};

type Level = 0 | 1 | 2;

/** What a Pod was given on a path: 0 nothing, 1 read, 2 write. */
function given({ scope_allow, scope_deny }: Allocation, path: string): Level {
  const here = (rules: readonly ScopeRule[]): ScopeRule[] =>
    rules.filter((held) => matches(held, path));
  const allowed = here(scope_allow);
  const denied = here(scope_deny);
  if (allowed.length === 0 || denied.some((held) => held.permission === "read")) return 0;
  const write = allowed.some((held) => held.permission === "write");
  return write && denied.length === 0 ? 2 : 1;
}

/** What a Pod may do now: what it was given, without writing where a direct child holds a write rule. */
function effective(table: Allocations, pod: Allocation, path: string): Level {
  const level = given(pod, path);
  if (level < 2) return level;
  const lent = table.some(
    (child) =>
      child.delegated_from === pod.pod_name &&
      child.scope_allow.some((held) => held.permission === "write" && matches(held, path)),
  );
  return lent ? 1 : 2;
}

const levels = (table: Allocations, pod: Allocation): Level[] =>
  PATHS.map((path) => effective(table, pod, path));

const ruleArbitrary: fc.Arbitrary<ScopeRule> = fc.record({
  target: fc.constantFrom(...TARGETS),
  permission: fc.constantFrom("write", "write", "read"),
  recursive: fc.constantFrom(true, true, false),
});

const allow = fc.array(ruleArbitrary, { minLength: 1, maxLength: 2 });
const deny = fc.array(ruleArbitrary, { maxLength: 2 });
/** Chooses one of however many there are at that moment. */
const choice = fc.nat(1000);

/** A rule to ask a spawner for: below one of its own rules, or anything at all. */
const request = fc.oneof(
  { weight: 5, arbitrary: fc.record({ own: choice, below: choice, like: ruleArbitrary }) },
  { weight: 1, arbitrary: ruleArbitrary },
);
type RuleRequest = typeof request extends fc.Arbitrary<infer Value> ? Value : never;

type Command =
  | { readonly kind: "register"; readonly allow: ScopeRule[]; readonly deny: ScopeRule[] }
  | { readonly kind: "delegate"; readonly from: number; readonly rules: readonly RuleRequest[] }
  | { readonly kind: "adopt" | "release" | "comeback"; readonly pod: number }
  | { readonly kind: "reclaim"; readonly dead: readonly number[] };

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("register" as const), allow, deny }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("delegate" as const),
      from: choice,
      rules: fc.array(request, { minLength: 1, maxLength: 2 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("adopt" as const, "release" as const, "comeback" as const),
      pod: choice,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("reclaim" as const),
      dead: fc.array(choice, { maxLength: 2 }),
    }),
  },
);

const LIMITS = { maxDepth: 9, maxChildren: 9 };

/** A command with its choices made: which Pod, which name, which rules. */
type Step =
  | { readonly kind: "register"; readonly entry: Allocation }
  | { readonly kind: "delegate"; readonly from: Allocation; readonly entry: Allocation }
  | { readonly kind: "adopt" | "release" | "comeback"; readonly entry: Allocation }
  | { readonly kind: "reclaim"; readonly dead: readonly Allocation[] };

/** Undefined when there is nobody to do it with. */
function settle(table: Allocations, command: Command): Step | undefined {
  const pick = (number: number): Allocation | undefined => table[number % table.length];
  const free = NAMES.find((name) => table.every((pod) => pod.pod_name !== name));
  switch (command.kind) {
    case "register":
      if (free === undefined) return undefined;
      return { kind: "register", entry: entry(free, command.allow, { scope_deny: command.deny }) };
    case "delegate": {
      const from = pick(command.from);
      if (from === undefined || free === undefined) return undefined;
      const rules = command.rules.map((wanted) => ruleFor(from, wanted));
      return { kind: "delegate", from, entry: entry(free, rules) };
    }
    case "reclaim":
      return { kind: "reclaim", dead: command.dead.flatMap((number) => pick(number) ?? []) };
    default: {
      const pod = pick(command.pod);
      return pod === undefined ? undefined : { kind: command.kind, entry: pod };
    }
  }
}

function ruleFor(spawner: Allocation, wanted: RuleRequest): ScopeRule {
  if ("target" in wanted) return wanted;
  const own = spawner.scope_allow[wanted.own % spawner.scope_allow.length] ?? wanted.like;
  const below = TARGETS.filter((target) => matches({ ...own, recursive: true }, target));
  return { ...wanted.like, target: below[wanted.below % below.length] ?? own.target };
}

/** The table after a step; undefined when it was refused. */
function perform(table: Allocations, step: Step): Allocations | undefined {
  try {
    switch (step.kind) {
      case "register":
        return register(table, step.entry);
      case "delegate": {
        const spawner = { name: step.from.pod_name, instance: step.from.instance };
        return delegate(table, spawner, step.entry, LIMITS).table;
      }
      case "adopt": {
        const { pod_name, instance } = step.entry;
        return adopt(table, pod_name, instance, {}, crypto.randomUUID()).table;
      }
      case "release":
        return release(table, step.entry.pod_name, step.entry.instance);
      case "comeback": {
        // It dies, what it leaves behind moves on a little, and it is started again.
        const { pod_name, instance, scope_allow, scope_deny } = step.entry;
        if (step.entry.delegated_from !== null) return undefined;
        const left = release(table, pod_name, instance);
        const again = { scope_deny, instance: `${instance}+` };
        return register(left, entry(pod_name, scope_allow, again));
      }
      case "reclaim":
        return reclaim(table, (candidate) => step.dead.includes(candidate)).table;
    }
  } catch (error) {
    if (isPodError(error)) return undefined;
    throw error;
  }
}

/** How much of the universe the sequences reach; asserted, so that the test cannot become empty. */
const reached = { delegations: 0, depth: 0, reparented: 0, shared: 0, returned: 0 };

function check(commands: readonly Command[]): void {
  let table: Allocations = [];
  for (const command of commands) {
    const before = table;
    const step = settle(before, command);
    const after = step === undefined ? undefined : perform(before, step);
    if (step === undefined || after === undefined) continue;
    table = after;
    oneWriterPerPath(table);
    connectedAndAcyclic(table);
    if (step.kind === "delegate") childWithinSpawner(before, after, step.from, step.entry.pod_name);
    if (step.kind === "release") regionGoesToParent(before, after, step.entry);
    if (step.kind === "comeback") hasItsTreeAgain(before, after, step.entry);
  }
}

function oneWriterPerPath(table: Allocations): void {
  for (const path of PATHS) {
    const writers = table.filter((pod) => effective(table, pod, path) === 2);
    if (writers.length > 1) {
      throw new Error(
        `${path} can be written by ${writers.map((pod) => pod.pod_name).join(" and ")}`,
      );
    }
    if (table.filter((pod) => given(pod, path) === 2).length > 1) reached.shared += 1;
  }
}

function connectedAndAcyclic(table: Allocations): void {
  const parents = new Map(table.map((pod) => [pod.pod_name, pod.delegated_from]));
  expect(parents.size).toBe(table.length);
  for (const pod of table) {
    let depth = 0;
    for (let up = pod.delegated_from; up !== null; up = parents.get(up) ?? null) {
      if (!parents.has(up)) throw new Error(`${pod.pod_name} hangs below ${up}, which is gone`);
      depth += 1;
      if (depth > table.length) throw new Error(`${pod.pod_name} is its own ancestor`);
    }
    reached.depth = Math.max(reached.depth, depth);
  }
}

function childWithinSpawner(
  before: Allocations,
  after: Allocations,
  spawner: Allocation,
  name: string,
): void {
  reached.delegations += 1;
  const child = one(after, name);
  const had = levels(before, spawner);
  const got = levels(after, child);
  for (const [at, path] of PATHS.entries()) {
    if ((got[at] ?? 0) > (had[at] ?? 0)) {
      throw new Error(`${name} has ${got[at]} on ${path}, its spawner had ${had[at]}`);
    }
  }
}

function regionGoesToParent(before: Allocations, after: Allocations, old: Allocation): void {
  const children = before.filter((pod) => pod.delegated_from === old.pod_name);
  if (old.delegated_from !== null && children.length > 0) reached.reparented += 1;
  for (const pod of after) {
    const was = levels(before, pod);
    const is = levels(after, pod);
    if (pod.pod_name !== old.delegated_from) {
      expect(is).toEqual(was);
      continue;
    }
    // The parent gets exactly what the released Pod kept from it and nobody below still holds.
    const expected = PATHS.map((path, at) => {
      const level = was[at] ?? 0;
      const lent = old.scope_allow.some(
        (held) => held.permission === "write" && matches(held, path),
      );
      const still = [
        ...children,
        ...before.filter((other) => other.delegated_from === pod.pod_name),
      ].some(
        (other) =>
          other !== old &&
          other.scope_allow.some((held) => held.permission === "write" && matches(held, path)),
      );
      return lent && !still && given(pod, path) === 2 ? 2 : level;
    });
    expect(is).toEqual(expected);
  }
}

function hasItsTreeAgain(before: Allocations, after: Allocations, { pod_name }: Allocation): void {
  const below = (table: Allocations): string[] =>
    table.filter((pod) => pod.delegated_from === pod_name).map((pod) => pod.pod_name);
  expect(below(after)).toEqual(expect.arrayContaining(below(before)));
  if (below(after).length > 0) reached.returned += 1;
  for (const pod of before)
    expect(levels(after, one(after, pod.pod_name))).toEqual(levels(before, pod));
}

/** A root that has nearly everything, so that deep trees grow. */
const wideRoot: fc.Arbitrary<Command> = fc.record({
  kind: fc.constant("register" as const),
  allow: fc.constant([{ target: "/", permission: "write" as const, recursive: true }]),
  deny: fc.array(ruleArbitrary, { maxLength: 1 }),
});
const sequence = fc
  .tuple(fc.array(wideRoot, { maxLength: 1 }), fc.array(command, { minLength: 5, maxLength: 30 }))
  .map(([first, rest]) => [...first, ...rest]);

test("no sequence of operations lets two Pods write one path, widens a child, or breaks the tree (I1, I3)", () => {
  fc.assert(fc.property(sequence, check), { numRuns: 2000 });
  expect(reached.delegations).toBeGreaterThan(1500);
  expect(reached.depth).toBeGreaterThan(2);
  expect(reached.reparented).toBeGreaterThan(25);
  expect(reached.shared).toBeGreaterThan(1500);
  expect(reached.returned).toBeGreaterThan(100);
});

test("a spawner with one recursive rule and no denies can give away any path below it", () => {
  const table = register([], entry("a", [rule("/")]));
  const spawner = { name: "a", instance: "a-1" };
  for (const target of TARGETS) {
    for (const recursive of [true, false]) {
      const { table: next } = delegate(
        table,
        spawner,
        entry("b", [{ ...rule(target), recursive }]),
        LIMITS,
      );
      expect(next).toHaveLength(2);
    }
  }
});
