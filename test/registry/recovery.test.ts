import { describe, expect, test } from "bun:test";
import { linkSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Allocation } from "../../src/registry/allocation.ts";
import { Registry } from "../../src/registry/registry.ts";
import { peekTable, tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, one, refusal, rejection, rule } from "./entries.ts";
import { json, load, NOW, save } from "./stored.ts";

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
    save(dir.path, entry("a", []));
    save(dir.path, entry("a", []), entry("b", []));
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
    save(dir.path, entry("a", []));
    save(dir.path, entry("a", []), entry("b", []));
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
    save(dir.path, entry("a", [rule("/a")]));
    save(dir.path, entry("a", [rule("/a")]));
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
      expect(json(home.file)).toMatchObject({ version: 1, allocations: [home.before] });
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
  });

  test("has a child of an earlier run below the root that took its place (W52)", async () => {
    await using home = await inhabited();
    await using d = await actor();
    await using again = await actor();
    const { base, pod } = home;
    const child = { name: "d", instance: "d-1" };
    await pod.tell({ op: "delegate", base, name: "a", allow: [rule("/src/d")], child });
    await d.tell({ op: "joinChild", base, name: "d" });
    await pod.kill();
    const root = { name: "a", instance: "a-2", allow: [rule("/src")], session: "S2" } as const;
    await again.tell({ op: "join", base, ...root });
    expect(one(peekTable(base), "d").delegated_from).toBe("a");
    for (const lost of [[home.file], [home.file, home.backup]]) {
      for (const path of lost) writeFileSync(path, "{");
      const { table } = await new Registry(base).reclaim();
      expect(one(table, "a").instance).toBe("a-2");
      expect(one(table, "d").delegated_from).toBe("a");
    }
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
