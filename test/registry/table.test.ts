import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { identityOf } from "../../src/base/process.ts";
import { type Allocation, AllocationSchema, isComplete } from "../../src/registry/allocation.ts";
import { Registry } from "../../src/registry/registry.ts";
import { loadTable, peekTable, saveTable, tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, one, reads, refusal, rejection, rule } from "./entries.ts";

const NOW = 1_700_000_000_000;
const json = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
const load = (base: string) => loadTable(base, NOW);
const save = (base: string, allocations: readonly Allocation[]): void =>
  saveTable(base, { allocations, rest: {} });

describe("the registry's files", () => {
  test("are made private, in a private directory, with an empty table (7)", async () => {
    await using dir = temp();
    const base = dir.join("home", "run");
    const registry = new Registry(base);
    expect((await registry.reclaim()).table).toEqual([]);
    await registry.register({ name: "a", instance: "i" }, { allow: [rule("/p")], deny: [] }, "S");
    const mode = (path: string): number => statSync(path).mode & 0o777;
    expect([mode(dir.join("home")), mode(base)]).toEqual([0o700, 0o700]);
    const { file, lock } = tablePaths(base);
    expect([mode(file), mode(lock)]).toEqual([0o600, 0o600]);
    await registry.release({ name: "a", instance: "i" });
    expect(readdirSync(base).toSorted()).toEqual(["pods.json", "pods.json.bak", "pods.lock"]);
  });

  test("are refused in a directory that others can open", async () => {
    await using dir = temp();
    mkdirSync(dir.join("open"), { mode: 0o755 });
    chmodSync(dir.join("open"), 0o755);
    const error = refusal(() => new Registry(dir.join("open")));
    expect(error.code).toBe("insecure_directory");
    expect(error.message).toContain(`chmod 700 ${dir.join("open")}`);
  });
});

describe("the table on disk", () => {
  test("is JSON with two blanks, without a trailing line feed, with every key and null (11, 2.1)", async () => {
    await using dir = temp();
    const owner = { pid: 41210, start: "9", boot: "b", pidNamespace: "n", machine: "m" };
    const a = entry("root", [rule("/work/proj")], { owner, session_id: "S" });
    const b = entry("coder", [reads("/work/proj/src")], {
      owner,
      delegated_from: "root",
      session_id: null,
      expires_at: 5,
    });
    save(dir.path, [a, b]);
    const text = readFileSync(tablePaths(dir.path).file, "utf8");
    const parsed = JSON.parse(text) as { allocations: Record<string, unknown>[] };
    expect(text).toBe(JSON.stringify(parsed, null, 2));
    expect(text).toStartWith(
      '{\n  "version": 1,\n  "allocations": [\n    {\n      "pod_name": "root",',
    );
    expect(parsed).toEqual({ version: 1, allocations: [a, b] } as unknown as typeof parsed);
    expect(Object.keys(parsed.allocations[1] ?? {})).toEqual(
      expect.arrayContaining([
        "pod_name",
        "pid",
        "socket",
        "scope_allow",
        "delegated_from",
        "session_id",
      ]),
    );
    expect(text).toContain('"delegated_from": null');
    expect(text).toContain('"session_id": null');
    expect(text).toContain('"recursive": true');
    expect(load(dir.path)).toEqual({ allocations: [a, b], rest: {}, repairs: [], mended: false });
  });

  test("may lack what has a default: recursive, parent, session and our own keys", async () => {
    await using dir = temp();
    const bare = {
      pod_name: "a",
      pid: 5,
      socket: "/s",
      scope_allow: [{ target: "/p", permission: "write" }],
    };
    writeFileSync(tablePaths(dir.path).file, JSON.stringify({ version: 1, allocations: [bare] }));
    expect(load(dir.path).allocations).toEqual([
      {
        ...bare,
        scope_allow: [rule("/p")],
        scope_deny: [],
        delegated_from: null,
        session_id: null,
        instance: "",
        pid_start: null,
        boot_id: null,
        pid_namespace: null,
        machine_id: null,
        expires_at: null,
      } as unknown as Allocation,
    ]);
    writeFileSync(tablePaths(dir.path).file, JSON.stringify({ version: 1 }));
    expect(load(dir.path).allocations).toEqual([]);
  });

  test("keeps unknown keys of entries and of the top level through a change of another entry (12)", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    const strange = { ...entry("a", [rule("/a")]), colour: { deep: [1, null] } };
    writeFileSync(file, JSON.stringify({ future: { x: 1 }, version: 1, allocations: [strange] }));
    const registry = new Registry(dir.path);
    await registry.register({ name: "b", instance: "i" }, { allow: [rule("/b")], deny: [] }, "S");
    await registry.updateSession({ name: "a", instance: "a-1" }, "T");
    const after = json(file) as { future: unknown; allocations: Record<string, unknown>[] };
    expect(after.future).toEqual({ x: 1 });
    expect(after.allocations[0]).toEqual({ ...strange, session_id: "T" });
  });

  test.each([
    ["a missing key", (a: Record<string, unknown>) => delete a.socket],
    ["a wrong type", (a: Record<string, unknown>) => (a.pid = "5")],
    ["a negative pid", (a: Record<string, unknown>) => (a.pid = -1)],
    ["a wrong rule", (a: Record<string, unknown>) => (a.scope_allow = [{ target: "/p" }])],
    ["rules that are no list", (a: Record<string, unknown>) => (a.scope_deny = {})],
    [
      "a wrong permission",
      (a: Record<string, unknown>) => (a.scope_allow = [{ target: "/", permission: "own" }]),
    ],
    ["a parent that is no name", (a: Record<string, unknown>) => (a.delegated_from = 5)],
  ])("does not count as good with %s", async (_, spoil) => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    const spoilt: Record<string, unknown> = { ...entry("a", [rule("/a")]) };
    spoil(spoilt);
    writeFileSync(file, JSON.stringify({ version: 1, allocations: [entry("b", []), spoilt] }));
    const { allocations, repairs } = load(dir.path);
    expect(allocations).toEqual([]);
    expect(repairs.join()).toContain("has wrong content at allocations.1.");
  });

  test("is taken without its schema only where the schema would change nothing", () => {
    const junk = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom("read", 0, -1, 1.5, null, undefined),
    );
    const good: Record<string, unknown> = entry("a", [rule("/a"), reads("/b")]);
    const key = fc.constantFrom(...Object.keys(good), "unknown");
    const ruleKey = fc.constantFrom("target", "permission", "recursive", "unknown");
    let complete = 0;
    fc.assert(
      fc.property(
        fc.option(fc.tuple(key, junk)),
        fc.option(fc.tuple(ruleKey, junk)),
        (spoil, spoilRule) => {
          const spoilt = structuredClone(good);
          if (spoilRule !== null) {
            spoilt.scope_deny = [{ ...rule("/c"), [spoilRule[0]]: spoilRule[1] }];
          }
          if (spoil !== null) spoilt[spoil[0]] = spoil[1];
          const value: unknown = JSON.parse(JSON.stringify(spoilt));
          if (!isComplete(value)) return;
          complete += 1;
          expect(AllocationSchema.parse(value)).toEqual(value);
        },
      ),
      { numRuns: 500 },
    );
    expect(complete).toBeGreaterThan(20);
    expect(isComplete(good)).toBe(true);
  });

  test("is peeked at without a lock, and as empty when it cannot be read", async () => {
    await using dir = temp();
    expect(peekTable(dir.path)).toEqual([]);
    save(dir.path, [entry("a", [])]);
    expect(names(peekTable(dir.path))).toEqual(["a"]);
    writeFileSync(tablePaths(dir.path).file, "{");
    expect(peekTable(dir.path)).toEqual([]);
  });
});

describe("a table that is saved", () => {
  test("leaves the one before as the backup", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    expect(existsSync(backup)).toBe(false);
    const first = readFileSync(file, "utf8");
    save(dir.path, [entry("a", []), entry("b", [])]);
    expect(readFileSync(backup, "utf8")).toBe(first);
    const second = readFileSync(file, "utf8");
    save(dir.path, []);
    expect(readFileSync(backup, "utf8")).toBe(second);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
  });

  test("goes over what a killed predecessor left: half-written files, the backup linked but nothing replaced", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    linkSync(file, backup);
    writeFileSync(`${file}.tmp`, '{"version": 1, "allo');
    writeFileSync(`${backup}.tmp`, "half");
    save(dir.path, [entry("b", [])]);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
    expect(names(load(dir.path).allocations)).toEqual(["b"]);
    expect(names((json(backup) as { allocations: Allocation[] }).allocations)).toEqual(["a"]);
    save(dir.path, [entry("c", [])]);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
  });

  test("and cannot be written leaves the old one, and the error names the file (14)", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    const before = readFileSync(file, "utf8");
    mkdirSync(`${file}.tmp`); // stands where the new content is written
    const error = refusal(() => save(dir.path, [entry("b", [])]));
    expect(error.code).toBe("io");
    expect(error.message).toStartWith("I/O error on pods.json: ");
    expect(error.message).toContain(file);
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  test("and cannot be written does not cost the last good copy", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    save(dir.path, [entry("a", []), entry("b", [])]);
    writeFileSync(file, "{");
    const { allocations } = load(dir.path); // moves the bad file aside
    expect(names(allocations)).toEqual(["a"]);
    mkdirSync(`${file}.tmp`);
    expect(refusal(() => save(dir.path, allocations)).code).toBe("io");
    expect(names((json(backup) as { allocations: Allocation[] }).allocations)).toEqual(["a"]);
    expect(names(load(dir.path).allocations)).toEqual(["a"]);
  });
});

describe("a table file without content", () => {
  test.each(["", " \n\t\n "])(
    "counts as an empty table when no Pod lives: %p (8)",
    async (content) => {
      await using dir = temp();
      writeFileSync(tablePaths(dir.path).file, content);
      expect(load(dir.path).allocations).toEqual([]);
      expect(readdirSync(dir.path)).toEqual(["pods.json"]); // nothing worth moving aside
    },
  );

  test("does not hide the last good copy", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    save(dir.path, [entry("a", []), entry("b", [])]);
    truncateSync(file);
    const { allocations, repairs } = load(dir.path);
    expect(names(allocations)).toEqual(["a"]);
    expect(repairs.join()).toContain("pods.json.bak is used");
  });
});

describe("a damaged table", () => {
  test.each([
    ["half a file", "{"],
    ["a list", "[]"],
    ["invalid UTF-8", new Uint8Array([0x7b, 0xff, 0x7d])],
    ["zeros", new Uint8Array(64)],
  ])("is moved aside for the last good copy, and that is said: %s (9)", async (_, content) => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    save(dir.path, [entry("a", [])]);
    save(dir.path, [entry("a", []), entry("b", [])]);
    writeFileSync(file, content);
    const { allocations, repairs, mended } = load(dir.path);
    expect(names(allocations)).toEqual(["a"]);
    expect(mended).toBe(true);
    const aside = `${file}.corrupt-${NOW}`;
    expect(readFileSync(aside)).toEqual(Buffer.from(content));
    expect(repairs.join()).toContain(aside);
    expect(repairs.join()).toContain("pods.json.bak is used");
  });

  test("is mended on disk by the next operation, even one that is refused", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    save(dir.path, [entry("a", [rule("/a")])]);
    save(dir.path, [entry("a", [rule("/a")])]);
    writeFileSync(file, "{");
    const registry = new Registry(dir.path);
    const scope = { allow: [rule("/a/x")], deny: [] };
    const error = await rejection(registry.register({ name: "b", instance: "i" }, scope, "S"));
    expect(error.code).toBe("write_conflict");
    expect(names((json(file) as { allocations: Allocation[] }).allocations)).toEqual(["a"]);
  });

  test("of a newer version is refused as it is, whatever its shape", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    for (const shape of [
      { allocations: { a: 1 } },
      { allocations: [{ name: "a" }] },
      { pods: [] },
    ]) {
      const content = JSON.stringify({ version: 2, ...shape });
      writeFileSync(file, content);
      const error = refusal(() => load(dir.path));
      expect(error.code).toBe("registry_foreign");
      expect(error.message).toContain("version 2");
      expect(readFileSync(file, "utf8")).toBe(content);
    }
  });
});

describe("a table that is lost while a Pod lives", () => {
  /** A base where actor `a` lives as `name` with /src. */
  async function inhabited() {
    const dir = temp();
    const pod = await actor();
    await pod.tell({ op: "join", base: dir.path, name: "a", allow: [rule("/src")], session: "S" });
    const before = one(peekTable(dir.path), "a");
    return {
      base: dir.path,
      file: tablePaths(dir.path).file,
      backup: tablePaths(dir.path).backup,
      own: dir.join("a", "allocation.json"),
      pod,
      before,
      forget(): void {
        for (const name of readdirSync(dir.path)) {
          if (name.startsWith("pods.json")) truncateSync(join(dir.path, name));
        }
      },
      async [Symbol.asyncDispose](): Promise<void> {
        await pod.kill();
        await dir[Symbol.asyncDispose]();
      },
    };
  }
  const claim = (base: string, target: string) =>
    new Registry(base).register(
      { name: "x", instance: "i" },
      { allow: [rule(target)], deny: [] },
      "X",
    );

  test.each(["", "{", undefined])(
    "is read back from the Pod's directory: content %p (10)",
    async (content) => {
      await using home = await inhabited();
      home.forget();
      if (content === undefined) await Bun.$`rm ${home.file}`.quiet();
      else writeFileSync(home.file, content);
      const error = await rejection(claim(home.base, "/src/x"));
      expect(error.code).toBe("write_conflict");
      expect(error.message).toContain("conflicts with pod `a`");
      expect(json(home.file)).toEqual({ version: 1, allocations: [home.before] });
    },
  );

  test("is read back without the Pods that are dead", async () => {
    await using home = await inhabited();
    await using other = await actor();
    await other.tell({ op: "join", base: home.base, name: "b", allow: [rule("/b")] });
    await other.kill();
    home.forget();
    const { table } = await claim(home.base, "/b");
    expect(names(table)).toEqual(["a", "x"]);
  });

  test("has the Pod's present session", async () => {
    await using home = await inhabited();
    const a = { name: "a", instance: "a-1" };
    await new Registry(home.base).updateSession(a, "T");
    home.forget();
    expect((await new Registry(home.base).lookupSession("T"))?.pod_name).toBe("a");
  });

  test("has the adoption that came after the last good copy", async () => {
    await using home = await inhabited();
    await using child = await actor();
    const b = { name: "b", instance: "b-1" };
    await home.pod.tell({
      op: "delegate",
      base: home.base,
      name: "a",
      allow: [rule("/src/b")],
      child: b,
    });
    await child.tell({ op: "joinChild", base: home.base, name: "b", session: "T" });
    writeFileSync(home.file, "{"); // the backup still has the reservation
    const { table } = await new Registry(home.base).reclaim();
    expect(one(table, "b")).toMatchObject({
      pid: child.pid,
      session_id: "T",
      expires_at: null,
      delegated_from: "a",
    });
  });

  test("has the run that followed a dead one of the same name after the last good copy", async () => {
    await using home = await inhabited();
    const dead = entry("a", [rule("/old")], { owner: await deadOwner(), instance: "a-0" });
    const orphan = entry("d", [rule("/old/d")], { delegated_from: "a" });
    writeFileSync(home.backup, JSON.stringify({ version: 1, allocations: [dead, orphan] }));
    writeFileSync(home.file, "{");
    const { table } = await new Registry(home.base).reclaim();
    expect(one(table, "a")).toEqual(home.before);
    expect(one(table, "d").delegated_from).toBeNull(); // not the new `a`'s child
  });

  test("has a re-parented child below the nearest parent that lives", async () => {
    await using home = await inhabited();
    await using b = await actor();
    await using d = await actor();
    const { base, pod } = home;
    const give = { op: "delegate", base } as const;
    await pod.tell({
      ...give,
      name: "a",
      allow: [rule("/src/b")],
      child: { name: "b", instance: "b-1" },
    });
    await b.tell({ op: "joinChild", base, name: "b" });
    await b.tell({
      ...give,
      name: "b",
      allow: [rule("/src/b/d")],
      child: { name: "d", instance: "d-1" },
    });
    await d.tell({ op: "joinChild", base, name: "d" });
    await b.kill();
    await new Registry(base).reclaim();
    home.forget();
    const { table } = await new Registry(base).reclaim();
    expect(names(table).toSorted()).toEqual(["a", "d"]);
    expect(one(table, "d").delegated_from).toBe("a");
    expect(one(table, "d")).not.toHaveProperty("ancestors");
  });

  test.each(["garbage", "", "{}", '{"pod_name":"z","pid":1,"socket":"/s","scope_allow":[]}'])(
    "is refused when the Pod's own record is bad, saying which and what to do: %p",
    async (content) => {
      await using home = await inhabited();
      home.forget();
      writeFileSync(home.own, content);
      const error = await rejection(claim(home.base, "/elsewhere"));
      expect(error.code).toBe("registry_corrupt");
      expect(error.message).toContain(home.own);
      expect(error.message).toContain("live pod `a`");
      expect(error.message).toContain("; end it (");
    },
  );

  test("is refused when a Pod that listens has lost its own record", async () => {
    await using home = await inhabited();
    home.forget();
    await Bun.$`rm ${home.own}`.quiet();
    writeFileSync(join(home.base, "a", "sock"), "");
    expect((await rejection(claim(home.base, "/elsewhere"))).code).toBe("registry_corrupt");
  });

  test("does not wait for a Pod that holds its directory but is not registered yet", async () => {
    await using dir = temp();
    await using starting = await actor();
    await starting.tell({ op: "takeLife", base: dir.path, name: "a" });
    expect((await new Registry(dir.path).reclaim()).table).toEqual([]);
  });
});

describe("the table of another program", () => {
  const foreign = (base: string, pid: number): string => {
    const { file } = tablePaths(base);
    const old = {
      pod_name: "old",
      pid,
      socket: "/s",
      scope_allow: [rule("/p")],
      delegated_from: null,
    };
    writeFileSync(file, JSON.stringify({ allocations: [old] }, null, 2));
    return file;
  };
  const b = { name: "b", instance: "i" };
  const scope = { allow: [rule("/p")], deny: [] };

  test("is refused while one of its processes lives, and stays as it is", async () => {
    await using dir = temp();
    const file = foreign(dir.path, process.pid);
    const before = readFileSync(file, "utf8");
    const error = await rejection(new Registry(dir.path).register(b, scope, "S"));
    expect(error.code).toBe("registry_foreign");
    expect(error.message).toContain(file);
    expect(error.message).toContain(`pod \`old\` (pid ${process.pid})`);
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  test("is replaced when all of its processes are dead, and kept as the backup", async () => {
    await using dir = temp();
    const file = foreign(dir.path, (await deadOwner()).pid);
    const before = readFileSync(file, "utf8");
    const { table } = await new Registry(dir.path).register(b, scope, "S");
    expect(names(table)).toEqual(["b"]);
    expect(json(file).version).toBe(1);
    expect(readFileSync(tablePaths(dir.path).backup, "utf8")).toBe(before);
  });

  test("is not the last good copy of ours", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    foreign(dir.path, process.pid);
    linkSync(file, backup);
    await Bun.$`rm ${file}`.quiet();
    expect(load(dir.path).allocations).toEqual([]);
  });
});

/** A file system of its own of 64 KiB, for root only; gone at the end. */
async function smallDisk(base: string): Promise<AsyncDisposable | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  mkdirSync(base, { mode: 0o700 });
  const mounted = await Bun.$`mount -t tmpfs -o size=64k,mode=700 tmpfs ${base}`.quiet().nothrow();
  if (mounted.exitCode !== 0) return undefined;
  return {
    async [Symbol.asyncDispose]() {
      await Bun.$`umount -l ${base}`.quiet();
    },
  };
}

describe("on a disk that is", () => {
  const a = { name: "a", instance: "i" };

  test("full, an operation fails, names the file, and changes nothing (14)", async () => {
    await using dir = temp();
    const base = dir.join("disk");
    await using disk = await smallDisk(base);
    if (disk === undefined) return; // no right to mount here
    const registry = new Registry(base);
    await registry.register(a, { allow: [rule("/p")], deny: [] }, "S");
    const { file } = tablePaths(base);
    const before = readFileSync(file, "utf8");
    await Bun.$`dd if=/dev/zero of=${join(base, "filler")} bs=1k`.quiet().nothrow();
    for (const attempt of [
      () => registry.release(a),
      () => registry.updateSession(a, "T"),
      () => registry.register({ name: "b", instance: "j" }, { allow: [rule("/q")], deny: [] }, "U"),
    ]) {
      const error = await rejection(attempt());
      expect(error.code).toBe("io");
      expect(error.message).toStartWith("I/O error on pods.json: ENOSPC");
      expect(error.message).toContain(file);
      expect(error.data.errno).toBe("ENOSPC");
      expect(readFileSync(file, "utf8")).toBe(before);
    }
    await Bun.$`rm ${join(base, "filler")}`.quiet();
    expect((await registry.release(a)).table).toEqual([]);
  });

  test("read-only, an operation fails and names the file", async () => {
    await using dir = temp();
    const base = dir.join("disk");
    await using disk = await smallDisk(base);
    if (disk === undefined) return;
    const registry = new Registry(base);
    await registry.register(a, { allow: [rule("/p")], deny: [] }, "S");
    await Bun.$`mount -o remount,ro ${base}`.quiet();
    const error = await rejection(registry.release(a));
    expect(error.code).toBe("io");
    expect(error.message).toStartWith("I/O error on pods.json: ");
    expect(error.message).toContain(`${base}/pods.`);
    expect(names(registry.peek())).toEqual(["a"]); // reading goes on
  });

  test("read-only as a directory, an operation fails and names the file", async () => {
    if (process.getuid?.() === 0) return; // root writes anywhere
    await using dir = temp();
    const registry = new Registry(dir.path);
    await registry.register(a, { allow: [rule("/p")], deny: [] }, "S");
    chmodSync(dir.path, 0o500);
    const error = await rejection(registry.release(a));
    chmodSync(dir.path, 0o700);
    expect(error.code).toBe("io");
    expect(error.message).toContain("pods.json");
    expect(names(registry.peek())).toEqual(["a"]);
  });
});

test("the identity in an entry is that of the process that made it", async () => {
  await using dir = temp();
  const self = { name: "a", instance: "i" };
  const { value } = await new Registry(dir.path).register(self, { allow: [], deny: [] }, "S");
  const { pid, start, boot, pidNamespace, machine } = identityOf(process.pid);
  expect(value).toMatchObject({
    pid,
    pid_start: start,
    boot_id: boot,
    pid_namespace: pidNamespace,
    machine_id: machine,
    socket: join(dir.path, "a", "sock"),
  });
});
