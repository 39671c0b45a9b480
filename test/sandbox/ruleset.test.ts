/** Scope to Landlock rules, on file systems that exist in memory only. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RIGHTS, supportOf } from "../../src/sandbox/landlock.ts";
import { type FileView, MAX_RULES, planRuleset, type Ruleset } from "../../src/sandbox/ruleset.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { accessTo, type Scope } from "../../src/scope/set.ts";

/** A tree written as paths: what ends in `/` is a directory, what ends in `@` a link. */
function tree(...paths: string[]): FileView {
  const kinds = new Map<string, "file" | "directory" | "link">([["/", "directory"]]);
  for (const path of paths) {
    const names = path.replace(/[/@]$/, "").split("/").slice(1);
    names.forEach((_, index) => {
      const at = `/${names.slice(0, index + 1).join("/")}`;
      const last = index === names.length - 1;
      const kind = !last || path.endsWith("/") ? "directory" : path.endsWith("@") ? "link" : "file";
      if (!kinds.has(at) || kind === "directory") kinds.set(at, kind);
    });
  }
  const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
  return {
    kind: (path) => kinds.get(path) ?? "missing",
    list: (path) =>
      [...kinds]
        .filter(([at]) => at !== "/" && parentOf(at) === path)
        .map(([at, kind]) => ({ name: at.slice(at.lastIndexOf("/") + 1), kind })),
  };
}

const allow = (target: string, recursive = true): ScopeRule => ({
  target,
  permission: "write",
  recursive,
});
const hide = (target: string): ScopeRule => ({ target, permission: "read", recursive: true });

function plan(scope: Scope, view: FileView, more: Partial<Parameters<typeof planRuleset>[0]> = {}) {
  return planRuleset(
    { scope, extra: [], foreign: [], guarded: [], own: [], handled: supportOf(9).fs, ...more },
    view,
  );
}

/** What the kernel would allow at `path`: rights of rules for it and for directories above it. */
function rightsAt({ rules }: Ruleset, path: string, self = true): number {
  let rights = 0;
  for (const [target, granted] of rules) {
    const above = target === "/" || path.startsWith(`${target}/`);
    if (above || (self && target === path)) rights |= granted;
  }
  return rights;
}

/** The ways in which something at `path` could be written. */
function writesAt(ruleset: Ruleset, view: FileView, path: string): boolean {
  const entry =
    RIGHTS.makeReg |
    RIGHTS.makeSym |
    RIGHTS.makeDir |
    RIGHTS.removeFile |
    RIGHTS.removeDir |
    RIGHTS.makeFifo |
    RIGHTS.makeSock;
  const content = RIGHTS.writeFile | RIGHTS.truncate;
  const isFile = view.kind(path) === "file";
  const mayChange = isFile && (rightsAt(ruleset, path) & content) !== 0;
  // To make, remove or rename an entry takes a right on a directory above it, and that directory.
  return (
    mayChange || (hasParent(ruleset, view, path) && (rightsAt(ruleset, path, false) & entry) !== 0)
  );
}

/** True when the directory that `path` is in exists, or could be made. */
function hasParent(ruleset: Ruleset, view: FileView, path: string): boolean {
  const parent = path.slice(0, path.lastIndexOf("/")) || "/";
  if (view.kind(parent) === "directory") return true;
  const mayMake = (rightsAt(ruleset, parent, false) & RIGHTS.makeDir) !== 0;
  return mayMake && hasParent(ruleset, view, parent);
}

describe("a ruleset", () => {
  test("grants a whole directory when nothing below it is denied", () => {
    const view = tree("/w/a/x", "/w/b");
    const { rules, writable, partial } = plan({ allow: [allow("/w")], deny: [] }, view);
    expect(writable).toEqual(["/w"]);
    expect(partial).toEqual([]);
    expect(rules.filter(([path]) => path.startsWith("/w")).map(([path]) => path)).toEqual(["/w"]);
  });

  test("grants the siblings of a denied path, one by one, and says where nothing can be made", () => {
    const view = tree("/w/a/x/1", "/w/a/y/", "/w/b", "/w/c@");
    const scope = { allow: [allow("/w")], deny: [allow("/w/a/x")] };
    const ruleset = plan(scope, view);
    expect(ruleset.writable).toEqual(["/w/b", "/w/a/y"]);
    expect(ruleset.partial).toEqual(["/w", "/w/a"]);
    expect(rightsAt(ruleset, "/w/a/x/1") & RIGHTS.writeFile).toBe(0);
  });

  test("never grants a parent of a denied path that does not exist yet", () => {
    const ruleset = plan({ allow: [allow("/w")], deny: [allow("/w/new/deep")] }, tree("/w/a/"));
    expect(ruleset.writable).toEqual(["/w/a"]);
    expect(ruleset.partial).toEqual(["/w"]);
  });

  test("says which writable targets are missing", () => {
    const ruleset = plan({ allow: [allow("/w/new")], deny: [] }, tree("/w/"));
    expect(ruleset.missing).toEqual(["/w/new"]);
    expect(ruleset.writable).toEqual([]);
  });

  test("lets a flat rule make files only where no directory is below", () => {
    const flat = plan({ allow: [allow("/w", false)], deny: [] }, tree("/w/a", "/w/b"));
    expect(rightsAt(flat, "/w/new", false) & RIGHTS.makeReg).not.toBe(0);
    expect(rightsAt(flat, "/w/new", false) & (RIGHTS.makeDir | RIGHTS.refer)).toBe(0);
    const deep = plan({ allow: [allow("/w", false)], deny: [] }, tree("/w/a", "/w/d/x"));
    expect(deep.writable).toEqual(["/w/a"]);
    expect(deep.partial).toEqual(["/w"]);
  });

  test("never lets device nodes be made", () => {
    const ruleset = plan({ allow: [allow("/")], deny: [] }, tree("/w/a"), {
      extra: ["/w"],
      own: ["/t"],
    });
    for (const [, rights] of ruleset.rules) {
      expect(rights & (RIGHTS.makeBlock | RIGHTS.makeChar)).toBe(0);
    }
  });

  test("keeps the program's own directories from being written, whatever the scope contains", () => {
    const view = tree("/home/run/pods.json", "/home/w/a");
    const ruleset = plan({ allow: [allow("/home")], deny: [] }, view, { guarded: ["/home/run"] });
    expect(ruleset.writable).toEqual(["/home/w"]);
  });

  test("takes what others may write out of extra paths, and only of those", () => {
    const view = tree("/cache/a/x", "/cache/b", "/w/");
    const ruleset = plan({ allow: [allow("/w")], deny: [] }, view, {
      extra: ["/cache"],
      foreign: [allow("/cache/a"), allow("/w")],
    });
    expect(ruleset.writable).toEqual(["/w", "/cache/b"]);
  });

  test("lets everything be read but what a deny rule hides", () => {
    const view = tree("/w/secret/key", "/w/open", "/etc/passwd");
    const ruleset = plan({ allow: [allow("/w")], deny: [hide("/w/secret")] }, view);
    expect(rightsAt(ruleset, "/w/open") & RIGHTS.readFile).not.toBe(0);
    expect(rightsAt(ruleset, "/etc/passwd") & RIGHTS.readFile).not.toBe(0);
    expect(rightsAt(ruleset, "/w/secret/key") & (RIGHTS.readFile | RIGHTS.execute)).toBe(0);
    expect(rightsAt(ruleset, "/w/new") & RIGHTS.readFile).toBe(0);
  });

  test("keeps the sockets of Pods from being reached where the kernel can", () => {
    const view = tree("/run/pods/a/sock", "/run/other", "/w/");
    const ruleset = plan({ allow: [allow("/w")], deny: [] }, view, { guarded: ["/run/pods"] });
    expect(rightsAt(ruleset, "/run/pods/a/sock") & RIGHTS.resolveUnix).toBe(0);
    expect(rightsAt(ruleset, "/run/other") & RIGHTS.resolveUnix).not.toBe(0);
  });

  test("has no rules for rights that the kernel does not know", () => {
    const view = tree("/run/pods/a/sock", "/run/other", "/w/");
    const scope = { allow: [allow("/w")], deny: [] };
    const { rules } = plan(scope, view, { guarded: ["/run/pods"], handled: supportOf(7).fs });
    expect(rules.map(([path]) => path).filter((path) => path.startsWith("/run"))).toEqual([]);
  });

  test("has a bound, and says when it was met", () => {
    const names = Array.from({ length: MAX_RULES + 10 }, (_, index) => `/w/f${index}`);
    const ruleset = plan({ allow: [allow("/w")], deny: [allow("/w/none")] }, tree(...names));
    expect(ruleset.rules.length).toBeLessThanOrEqual(2 * MAX_RULES);
    expect([ruleset.cut, ruleset.readsCut]).toEqual([true, false]);
    expect(rightsAt(ruleset, "/etc/passwd") & RIGHTS.execute).not.toBe(0);
    expect(rightsAt(ruleset, "/dev/null") & RIGHTS.writeFile).not.toBe(0);
  });

  test("cuts off nothing but siblings, for reading as well", () => {
    const names = Array.from({ length: MAX_RULES + 10 }, (_, index) => `/a/w/f${index}`);
    const scope = { allow: [allow("/a/w")], deny: [hide("/a/w/none")] };
    const ruleset = plan(scope, tree(...names, "/z/sh"), { own: ["/tmp/own"] });
    // The siblings that may be read may be written, too.
    expect([ruleset.cut, ruleset.readsCut]).toEqual([false, true]);
    expect(rightsAt(ruleset, "/z/sh") & RIGHTS.execute).not.toBe(0);
    expect(rightsAt(ruleset, "/tmp/own/x") & RIGHTS.makeReg).not.toBe(0);
    expect(rightsAt(ruleset, "/a/w/f0") & RIGHTS.readFile).not.toBe(0);
  });
});

describe("on a small universe", () => {
  const names = ["a", "b", "c"];
  const paths = names.flatMap((first) => [
    `/${first}`,
    ...names.flatMap((second) => [
      `/${first}/${second}`,
      ...names.map((third) => `/${first}/${second}/${third}`),
    ]),
  ]);
  const target = fc.constantFrom("/", ...paths);
  const rules = fc.array(
    fc.record({
      target,
      permission: fc.constantFrom("read" as const, "write" as const),
      recursive: fc.boolean(),
    }),
    { maxLength: 4 },
  );
  const worlds = fc
    .array(fc.tuple(fc.constantFrom(...paths), fc.constantFrom("", "/", "@")), { maxLength: 14 })
    .map((entries) => tree(...entries.map(([path, mark]) => path + mark)));

  test("what the rules let write, the scope lets write", () => {
    let granted = 0;
    fc.assert(
      fc.property(rules, rules, worlds, (allowed, deny, view) => {
        const scope = { allow: allowed, deny };
        const ruleset = plan(scope, view);
        for (const path of paths) {
          if (!writesAt(ruleset, view, path)) continue;
          granted += 1;
          expect([path, accessTo(scope, path)]).toEqual([path, "write"]);
        }
      }),
      { numRuns: 2000 },
    );
    expect(granted).toBeGreaterThan(100); // or the property says nothing
  });

  test("what a rule lets read, no deny rule hides, and nothing else is hidden that exists", () => {
    fc.assert(
      fc.property(rules, worlds, (deny, view) => {
        const scope = { allow: [allow("/a")], deny };
        const readable = { allow: [hide("/")], deny: deny.filter((r) => r.permission === "read") };
        const ruleset = plan(scope, view);
        for (const path of paths.filter((at) => view.kind(at) === "file")) {
          const may = (rightsAt(ruleset, path) & RIGHTS.readFile) !== 0;
          expect([path, may]).toEqual([path, accessTo(readable, path) !== "none"]);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("what exists and is writable stays writable, or lies in a directory that is said to be partial", () => {
    fc.assert(
      fc.property(rules, rules, worlds, (allowed, deny, view) => {
        const scope = { allow: allowed, deny };
        const ruleset = plan(scope, view);
        for (const path of paths.filter((at) => view.kind(at) === "file")) {
          if (accessTo(scope, path) !== "write") continue;
          expect([path, rightsAt(ruleset, path) & RIGHTS.writeFile]).not.toEqual([path, 0]);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
