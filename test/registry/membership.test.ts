import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { joinAsRoot } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { temp, within } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { names, rejection, rule } from "./entries.ts";
import { household, id, writing } from "./household.ts";

describe("a Pod that joins", () => {
  test("finds its directory empty but for the lock and its own record, whatever was there", async () => {
    await using dir = temp();
    await using dead = await actor();
    await dead.tell({ op: "join", base: dir.path, name: "a", allow: [rule("/old")] });
    for (const file of ["sock", "history.json", "stderr.log"])
      writeFileSync(dir.join("a", file), "old");
    await dead.kill();
    const pod = await joinAsRoot(new Registry(dir.path), id("a", "a-2"), writing("/p"), "S");
    expect(readdirSync(dir.join("a")).toSorted()).toEqual(["allocation.json", "lock"]);
    const record = JSON.parse(readFileSync(pod.paths.allocation, "utf8")) as unknown;
    expect(record).toEqual({ ...pod.allocation });
    expect(statSync(pod.paths.allocation).mode & 0o777).toBe(0o600);
  });

  test("under a name that is reserved is refused and leaves what the spawner put there", async () => {
    await using dir = temp();
    const { give } = await household(dir.path);
    await give("/src/core", "c");
    mkdirSync(dir.join("c"), { mode: 0o700 });
    for (const file of ["lock", "launch.json"]) writeFileSync(dir.join("c", file), "x");
    const joining = joinAsRoot(new Registry(dir.path), id("c", "other"), writing("/p"), "S");
    await expect(joining).rejects.toThrow("pod name `c` is already registered");
    expect(readdirSync(dir.join("c")).toSorted()).toEqual(["launch.json", "lock"]);
  });

  test("as a child keeps what its spawner put there, and notes its parents", async () => {
    await using dir = temp();
    const { give } = await household(dir.path);
    await give("/src/core", "c");
    mkdirSync(dir.join("c"));
    writeFileSync(dir.join("c", "lock"), "");
    for (const file of ["launch.json", "stderr.log", "sock"])
      writeFileSync(dir.join("c", file), "x");
    await using pod = await actor();
    await pod.tell({ op: "joinChild", base: dir.path, name: "c" });
    expect(readdirSync(dir.join("c")).toSorted()).toEqual([
      "allocation.json",
      "launch.json",
      "lock",
      "stderr.log",
    ]);
    const record = JSON.parse(readFileSync(dir.join("c", "allocation.json"), "utf8")) as {
      lineage: unknown;
    };
    expect(record.lineage).toEqual([{ pod_name: "a", instance: "a-1" }]);
  });

  test("and is refused leaves nothing, not even a directory", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const error = await rejection(joinAsRoot(registry, id("b"), writing("/src/x"), "B"));
    expect(error.code).toBe("write_conflict");
    expect(existsSync(dir.join("b"))).toBe(false);
  });

  test("under a living Pod's name learns its pid, its socket and how to end it", async () => {
    await using dir = temp();
    await household(dir.path);
    const error = await rejection(
      joinAsRoot(new Registry(dir.path), id("a", "a-2"), writing("/q"), "B"),
    );
    expect(error.code).toBe("duplicate_name");
    expect(error.message).toBe(
      `pod name \`a\` is already registered (pid ${process.pid}, socket ${dir.join("a", "sock")}; ` +
        "to end it: pod stop a)",
    );
  });

  test("where a socket path is too long is refused before anything is made (62)", async () => {
    await using dir = temp();
    const base = dir.join("b".repeat(90));
    const registry = new Registry(base);
    const error = await rejection(joinAsRoot(registry, id("n".repeat(20)), writing("/p"), "S"));
    expect(error.code).toBe("path_too_long");
    expect(readdirSync(base)).toEqual([]);
  });

  test("and leaves again is gone from table and directory, once and twice", async () => {
    await using dir = temp();
    const { registry, a } = await household(dir.path);
    await a.leave();
    await a.leave();
    expect(names(registry.peek())).toEqual([]);
    expect(existsSync(dir.join("a"))).toBe(false);
  });

  test("and cannot reach the registry when it leaves takes its directory away all the same", async () => {
    await using dir = temp();
    await using holder = await actor();
    const registry = new Registry(dir.path, 50);
    const pod = await joinAsRoot(registry, id("a"), writing("/p"), "S");
    await holder.tell({ op: "grab", path: tablePaths(dir.path).lock });
    expect((await rejection(pod.leave())).code).toBe("registry_locked");
    expect(existsSync(dir.join("a"))).toBe(false);
    await holder.kill();
    expect(names(registry.peek())).toEqual(["a"]); // the process lives, so the entry does
    await within(pod.leave(), 5000, "the second try");
    expect(names(registry.peek())).toEqual([]);
  });

  test("where the disk takes no more files is refused and leaves neither entry nor directory", async () => {
    if (process.getuid?.() !== 0) return;
    for (const inodes of [4, 5, 6]) {
      await using dir = temp();
      const base = dir.join("disk");
      mkdirSync(base);
      const options = `size=64k,mode=700,nr_inodes=${inodes}`;
      const mounted = await Bun.$`mount -t tmpfs -o ${options} tmpfs ${base}`.quiet().nothrow();
      if (mounted.exitCode !== 0) return; // no right to mount here
      try {
        const registry = new Registry(base);
        const outcome = await joinAsRoot(registry, id("a"), writing("/p"), "S").then(
          () => "joined",
          (error: { code?: string }) => error.code,
        );
        const there = [
          names(registry.peek()).length === 1,
          existsSync(`${base}/a/allocation.json`),
        ];
        expect([outcome, ...there]).toEqual(
          outcome === "joined" ? ["joined", true, true] : ["io", false, false],
        );
        expect(existsSync(`${base}/a`)).toBe(outcome === "joined");
      } finally {
        await Bun.$`umount -l ${base}`.quiet();
      }
    }
  });
});
