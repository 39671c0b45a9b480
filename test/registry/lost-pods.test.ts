/** Live Pods that the table, or the whole runtime directory, has lost: nobody else gets their paths. */
import { expect, test } from "bun:test";
import {
  closeSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { heldFlocks } from "../../src/base/held-locks.ts";
import { joinAsRoot } from "../../src/registry/membership.ts";
import { podsWithoutDirectory } from "../../src/registry/recovery.ts";
import { Registry } from "../../src/registry/registry.ts";
import { inspectTable, tablePaths } from "../../src/registry/table.ts";
import type { Scope } from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, one, reads, rejection, rule } from "./entries.ts";
import { save } from "./stored.ts";
import { id, LIMITS, writing } from "./household.ts";

const isLinux = process.platform === "linux";

/** A base where actor `a` lives with /src. */
async function inhabited() {
  const dir = temp();
  const pod = await actor();
  await pod.tell({ op: "join", base: dir.path, name: "a", allow: [rule("/src")], session: "S" });
  return {
    base: dir.path,
    dir,
    pod,
    claim: (target: string) =>
      new Registry(dir.path).register(
        { name: "x", instance: "i" },
        { allow: [rule(target)], deny: [] },
        "X",
      ),
    async [Symbol.asyncDispose](): Promise<void> {
      await pod.kill();
      await dir[Symbol.asyncDispose]();
    },
  };
}

test("a live Pod whose entry was removed by hand keeps its paths, and its children their parent", async () => {
  await using home = await inhabited();
  await using kid = await actor();
  await home.pod.tell({
    op: "delegate",
    base: home.base,
    name: "a",
    allow: [rule("/src/kid")],
    child: { name: "kid", instance: "kid-1" },
  });
  await kid.tell({ op: "joinChild", base: home.base, name: "kid" });
  save(home.base);
  const error = await rejection(home.claim("/src/x"));
  expect(error.code).toBe("write_conflict");
  const { table } = await new Registry(home.base).reclaim();
  expect(names(table)).toEqual(["a", "kid"]);
  expect(one(table, "kid").delegated_from).toBe("a");
});

test.each(["lost", "older"])(
  "a root that holds what its former parent never had stays a root when the table was %s (I3)",
  async (what) => {
    await using dir = temp();
    const registry = new Registry(dir.path);
    await using pods = new AsyncDisposableStack();
    const join = async (name: string, scope: Scope, ...above: string[]) => {
      const lineage = above.map((other) => ({ pod_name: other, instance: `${other}-1` }));
      const pod = await joinAsRoot(registry, id(name), scope, name, lineage);
      pods.defer(() => pod.leave());
    };
    await join("root", writing("/p"));
    await join("mid", writing("/m"));
    await join("leaf", writing("/q"), "root");
    await join("wide", { allow: [reads("/m/w"), rule("/w")], deny: [] }, "mid", "root");
    const before = registry.peek();
    const { file, backup } = tablePaths(dir.path);
    if (what === "older") save(dir.path);
    else for (const path of [file, backup]) truncateSync(path);
    const { table } = await registry.reclaim();
    expect(table).toHaveLength(4);
    expect(table).toEqual(expect.arrayContaining([...before]));
  },
);

test("a Pod is linked to the nearest ancestor that had its paths when the table lacks some", async () => {
  await using dir = temp();
  const registry = new Registry(dir.path);
  const lineage = ["mid", "root"].map((name) => ({ pod_name: name, instance: `${name}-1` }));
  const other = await joinAsRoot(registry, id("other"), writing("/o"), "O");
  await using _other = { [Symbol.asyncDispose]: () => other.leave() };
  save(
    dir.path,
    entry("root", [rule("/p")]),
    entry("mid", [rule("/p/a")], { delegated_from: "root" }),
    entry("leaf", [rule("/p/b")], { delegated_from: "root", lineage }),
  );
  const { table } = await registry.reclaim();
  expect(names(table)).toEqual(["root", "mid", "leaf", "other"]);
  expect(one(table, "leaf").delegated_from).toBe("root");
});

test("a look brings a removed entry back, and nothing is written when none is missing", async () => {
  await using home = await inhabited();
  const { file } = tablePaths(home.base);
  save(home.base);
  const registry = new Registry(home.base);
  expect(names((await registry.reclaim()).table)).toEqual(["a"]);
  const before = readFileSync(file, "utf8");
  const identity = Bun.file(file).lastModified;
  await registry.reclaim();
  expect(readFileSync(file, "utf8")).toBe(before);
  expect(Bun.file(file).lastModified).toBe(identity);
});

test("a Pod that starts in the directory of a dead one is not taken for it", async () => {
  await using dir = temp();
  await using starting = await actor();
  await starting.tell({ op: "takeLife", base: dir.path, name: "a" });
  const dead = entry("a", [rule("/src")], { owner: await deadOwner() });
  writeFileSync(dir.join("a", "allocation.json"), JSON.stringify({ ...dead, ancestors: [] }));
  expect((await new Registry(dir.path).reclaim()).table).toEqual([]);
});

test("a live Pod that is in no table and has no record stops all who want paths, until it has ended", async () => {
  await using home = await inhabited();
  save(home.base);
  writeFileSync(home.dir.join("a", "allocation.json"), "garbage");
  const error = await rejection(home.claim("/elsewhere"));
  expect(error.code).toBe("registry_corrupt");
  expect(error.message).toContain("live pod `a` is not in pods.json and its own record");
  await home.pod.kill();
  expect(names((await home.claim("/elsewhere")).table)).toEqual(["x"]);
});

test("an older table with a dead run of a live Pod's name does not give that Pod's paths away", async () => {
  await using home = await inhabited();
  const dead = entry("a", [rule("/old")], { owner: await deadOwner(), instance: "a-0" });
  save(home.base, dead);
  expect((await rejection(home.claim("/src/x"))).code).toBe("write_conflict");
  expect(names(new Registry(home.base).peek())).toEqual(["a"]);
});

test("a lost Pod's paths are not given away while its name is wanted for a child", async () => {
  await using home = await inhabited();
  save(home.base);
  const registry = new Registry(home.base);
  await registry.register(id("s"), writing("/other"), "session of s");
  save(home.base, one(registry.peek(), "s"));
  const wanted = registry.delegate(id("s"), id("a", "a-9"), [rule("/other/a")], LIMITS);
  expect((await rejection(wanted)).code).toBe("duplicate_name");
  expect((await rejection(home.claim("/src/x"))).code).toBe("write_conflict");
});

test("a scope that was edited in pods.json is put right by the next operation, and said so", async () => {
  await using home = await inhabited();
  const { file } = tablePaths(home.base);
  writeFileSync(file, readFileSync(file, "utf8").replaceAll('"/src"', '"/elsewhere"'));
  expect((await rejection(home.claim("/src/x"))).code).toBe("write_conflict");
  expect(one(new Registry(home.base).peek(), "a").scope_allow).toEqual([rule("/src")]);
});

test.skipIf(!isLinux)(
  "a deleted runtime directory is not used again while a Pod of it lives, and its pid is told",
  async () => {
    await using home = await inhabited();
    rmSync(home.base, { recursive: true });
    const error = await rejection(home.claim("/elsewhere"));
    expect(error.code).toBe("registry_corrupt");
    expect(error.message).toContain(`\`a\` (pid ${home.pod.pid})`);
    expect(error.message).toContain(`kill ${home.pod.pid}`);
    expect(podsWithoutDirectory(home.base)).toEqual([{ name: "a", pid: home.pod.pid }]);
    await home.pod.kill();
    expect(names((await home.claim("/elsewhere")).table)).toEqual(["x"]);
  },
);

test.skipIf(!isLinux)(
  "a deleted Pod directory costs a Pod nothing while it is in the table",
  async () => {
    await using home = await inhabited();
    rmSync(home.dir.join("a"), { recursive: true });
    expect((await rejection(home.claim("/src/x"))).code).toBe("write_conflict");
    expect(names((await home.claim("/elsewhere")).table)).toEqual(["a", "x"]);
  },
);

test.skipIf(!isLinux)(
  "the kernel names who holds a lock, and nobody who only has the file open",
  async () => {
    await using dir = temp();
    await using holder = await actor();
    const path = dir.join("lock");
    await holder.tell({ op: "grab", path });
    const fd = openSync(path, "r"); // ours: open, not locked
    expect(heldFlocks(dir.path)).toEqual([{ pid: holder.pid, path, deleted: false }]);
    rmSync(path);
    expect(heldFlocks(dir.path)).toEqual([{ pid: holder.pid, path, deleted: true }]);
    closeSync(fd);
  },
);

test("a table of 100 MB is judged without being read, and moved aside", async () => {
  await using dir = temp();
  const { file } = tablePaths(dir.path);
  writeFileSync(file, "{");
  truncateSync(file, 100 * 1024 * 1024);
  expect(inspectTable(dir.path)).toMatchObject({ kind: "bad", allocations: [] });
  expect((await new Registry(dir.path).reclaim()).table).toEqual([]);
});

test.each(["mkfifo", "mkdir"])(
  "what is no file in place of the table is moved aside: %s",
  async (make) => {
    await using home = await inhabited();
    const { file } = tablePaths(home.base);
    rmSync(file);
    await Bun.$`${make} ${file}`.quiet();
    expect(inspectTable(home.base)).toMatchObject({ kind: "bad", why: "is not a regular file" });
    expect((await rejection(home.claim("/src/x"))).code).toBe("write_conflict");
    expect(inspectTable(home.base).kind).toBe("ours");
  },
);

test("a pipe in place of a Pod's record is not waited for", async () => {
  await using home = await inhabited();
  const record = home.dir.join("a", "allocation.json");
  rmSync(record);
  await Bun.$`mkfifo ${record}`.quiet();
  rmSync(tablePaths(home.base).file);
  expect((await rejection(home.claim("/elsewhere"))).code).toBe("registry_corrupt");
});

test("an inspection tells what a table is and never throws", async () => {
  await using dir = temp();
  const { file } = tablePaths(dir.path);
  const kindOf = (content: string): string => {
    writeFileSync(file, content);
    return inspectTable(dir.path).kind;
  };
  expect(inspectTable(dir.path).kind).toBe("missing");
  expect(kindOf(" \n")).toBe("empty");
  expect(kindOf("{")).toBe("bad");
  expect(kindOf('{"version":1,"allocations":[]}')).toBe("ours");
  expect(kindOf('{"version":2,"allocations":[1]}')).toBe("other version");
  expect(kindOf('{"allocations":[]}')).toBe("unversioned");
  rmSync(file);
  symlinkSync("pods.json", file);
  expect(inspectTable(dir.path)).toMatchObject({ kind: "unreadable" });
});
