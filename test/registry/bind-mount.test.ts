/** A directory that has two names by a bind mount: nobody else gets it under the second one (W31). */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, realpathSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readMounts } from "../../src/base/mounts.ts";
import { rootScope } from "../../src/serve/root-scope.ts";
import { accessTo } from "../../src/scope/set.ts";
import { parseResolvedManifest } from "../../src/manifest/render.ts";
import { standingApart, withoutThem } from "../../src/registry/apart.ts";
import { Registry } from "../../src/registry/registry.ts";
import { Children } from "../../src/spawn/children.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { temp } from "../support/temp.ts";
import { names, rejection, rule } from "./entries.ts";
import { id, LIMITS } from "./household.ts";

/** Mounts `from` at `to` until disposed; undefined where this process may not mount. */
function bind(from: string, to: string): Disposable | undefined {
  if (Bun.which("mount") === null) return undefined;
  const done = Bun.spawnSync(["mount", "--bind", from, to], { stderr: "ignore" });
  if (done.exitCode !== 0) return undefined;
  return { [Symbol.dispose]: () => void Bun.spawnSync(["umount", to]) };
}

/** Root in a container often may not mount. */
function mayMount(): boolean {
  if (process.platform !== "linux" || process.geteuid?.() !== 0) return false;
  const probe = realpathSync(mkdtempSync(join(tmpdir(), "pod-mount-")));
  try {
    using mounted = bind(probe, probe);
    return mounted !== undefined;
  } finally {
    rmdirSync(probe);
  }
}

test.skipIf(!mayMount())(
  "a bind mount is refused to a second root, and closed to the spawner that lent its source",
  async () => {
    await using dir = temp();
    for (const path of ["run", "proj", "proj/src", "mnt"])
      mkdirSync(dir.join(path), { mode: 0o700 });
    const source = dir.join("proj/src");
    using mounted = bind(source, dir.join("mnt"));
    if (mounted === undefined) throw new Error("root may not mount here");
    const registry = new Registry(dir.join("run"));
    const scope = { allow: [rule(dir.path)], deny: [] };
    const { value: holder } = await registry.register(id("a"), scope, "A");
    await registry.release(id("a"));
    await registry.register(id("b"), { allow: [rule(dir.join("proj"))], deny: [] }, "B");
    const second = { allow: [rule(dir.join("mnt"))], deny: [] };
    const error = await rejection(registry.register(id("c"), second, "C"));
    expect(error.code).toBe("write_conflict");
    expect(error.message).toContain("two names of the same files");
    await registry.release(id("b"));

    await registry.register(id("a"), scope, holder.session_id ?? "");
    const { table } = await registry.delegate(id("a"), id("kid"), [rule(source)], LIMITS);
    const live = new LiveScope(scope);
    new Children({ ...id("a"), socket: "/s" }, dir.join("children.json"), live).apply(table);
    expect(live.accessTo(dir.join("proj/src/f"))).toBe("read");
    expect(live.accessTo(dir.join("mnt/f"))).toBe("read");
    expect(live.accessTo(dir.join("proj/g"))).toBe("write");
  },
);

test.skipIf(!mayMount())(
  "a root's denies, and the program's own directories, are closed under every name",
  async () => {
    await using dir = temp();
    for (const path of ["p", "p/sub", "p/x", "run", "p/rx"]) mkdirSync(dir.join(path));
    using denied = bind(dir.join("p/sub"), dir.join("p/x"));
    using own = bind(dir.join("run"), dir.join("p/rx"));
    if (denied === undefined || own === undefined) throw new Error("root may not mount here");
    const deny = [{ ...rule(dir.join("p/sub")), permission: "read" as const }];
    const scope = rootScope({
      manifest: parseResolvedManifest({
        pod: { name: "r" },
        model: { scheme: "script", script: "/none" },
        scope: { allow: [rule(dir.join("p"))], deny },
      }),
      cwd: dir.join("p"),
      guarded: [dir.join("run")],
    });
    expect(accessTo(scope, dir.join("p/sub/secret"))).toBe("none");
    expect(accessTo(scope, dir.join("p/x/secret"))).toBe("none");
    expect(accessTo(scope, dir.join("p/rx/pods.json"))).toBe("read");
    expect(accessTo(scope, dir.join("p/else"))).toBe("write");
  },
);

test.skipIf(!mayMount())(
  "a root that comes back is granted its scope without one that stands apart, mounts of its paths included",
  async () => {
    await using dir = temp();
    for (const path of ["p", "p/a", "p/a/b", "p/x", "q", "run"]) {
      mkdirSync(dir.join(path), { mode: 0o700 });
    }
    using mounted = bind(dir.join("p/a"), dir.join("p/x"));
    if (mounted === undefined) throw new Error("root may not mount here");
    const registry = new Registry(dir.join("run"));
    const lineage = [{ pod_name: "root", instance: "root-0" }];
    const held = { allow: [rule(dir.join("p/a/b")), rule(dir.join("q"))], deny: [] };
    await registry.register(id("leaf"), held, "L", lineage);
    const scope = { allow: [rule(dir.join("p"))], deny: [] };
    const error = await rejection(registry.register(id("root"), scope, "R"));
    expect(error.code).toBe("write_conflict");
    const apart = standingApart(registry.peek(), "root", scope.allow, readMounts());
    expect(names(apart)).toEqual(["leaf"]);
    const free = withoutThem(scope, apart, readMounts());
    const { value } = await registry.register(id("root"), free, "R");
    const own = { allow: value.scope_allow, deny: value.scope_deny };
    expect(accessTo(own, dir.join("p/x/b/f"))).toBe("read");
    expect(accessTo(own, dir.join("p/a/b/f"))).toBe("read");
    expect(accessTo(own, dir.join("p/x/f"))).toBe("write");
  },
);
