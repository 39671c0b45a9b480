import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { identityOf } from "../../src/base/process.ts";
import { type Allocation, allocationSchema, isComplete } from "../../src/registry/allocation.ts";
import { Registry } from "../../src/registry/registry.ts";
import { peekTable, tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { entry, names, reads, refusal, rule } from "./entries.ts";
import { json, load, save } from "./stored.ts";

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
    save(dir.path, a, b);
    const text = readFileSync(tablePaths(dir.path).file, "utf8");
    const parsed = JSON.parse(text) as { allocations: Record<string, unknown>[] };
    expect(text).toBe(JSON.stringify(parsed, null, 2));
    expect(text).toMatch(
      /^\{\n {2}"version": 1,\n {2}"checksum": "[0-9a-f]+",\n {2}"allocations": \[\n {4}\{\n {6}"pod_name": "root",/,
    );
    expect(parsed).toMatchObject({ version: 1, allocations: [a, b] });
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
        lineage: [],
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
          expect(allocationSchema().parse(value)).toEqual(value);
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
    save(dir.path, entry("a", []));
    expect(names(peekTable(dir.path))).toEqual(["a"]);
    writeFileSync(tablePaths(dir.path).file, "{");
    expect(peekTable(dir.path)).toEqual([]);
  });
});

describe("a table that is saved", () => {
  test("leaves the one before as the backup", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, entry("a", []));
    expect(existsSync(backup)).toBe(false);
    const first = readFileSync(file, "utf8");
    save(dir.path, entry("a", []), entry("b", []));
    expect(readFileSync(backup, "utf8")).toBe(first);
    const second = readFileSync(file, "utf8");
    save(dir.path);
    expect(readFileSync(backup, "utf8")).toBe(second);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
  });

  test("goes over what a killed predecessor left: half-written files, the backup linked but nothing replaced", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, entry("a", []));
    linkSync(file, backup);
    writeFileSync(`${file}.tmp`, '{"version": 1, "allo');
    writeFileSync(`${backup}.tmp`, "half");
    save(dir.path, entry("b", []));
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
    expect(names(load(dir.path).allocations)).toEqual(["b"]);
    expect(names((json(backup) as { allocations: Allocation[] }).allocations)).toEqual(["a"]);
    save(dir.path, entry("c", []));
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak"]);
  });

  test("and cannot be written leaves the old one, and the error names the file (14)", async () => {
    await using dir = temp();
    const { file } = tablePaths(dir.path);
    save(dir.path, entry("a", []));
    const before = readFileSync(file, "utf8");
    mkdirSync(`${file}.tmp`); // stands where the new content is written
    const error = refusal(() => save(dir.path, entry("b", [])));
    expect(error.code).toBe("io");
    expect(error.message).toStartWith("I/O error on pods.json: ");
    expect(error.message).toContain(file);
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  test("and cannot be written does not cost the last good copy", async () => {
    await using dir = temp();
    const { file, backup } = tablePaths(dir.path);
    save(dir.path, entry("a", []));
    save(dir.path, entry("a", []), entry("b", []));
    writeFileSync(file, "{");
    const { allocations } = load(dir.path); // moves the bad file aside
    expect(names(allocations)).toEqual(["a"]);
    mkdirSync(`${file}.tmp`);
    expect(refusal(() => save(dir.path, ...allocations)).code).toBe("io");
    expect(names((json(backup) as { allocations: Allocation[] }).allocations)).toEqual(["a"]);
    expect(names(load(dir.path).allocations)).toEqual(["a"]);
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
