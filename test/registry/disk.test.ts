import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { names, rejection, rule } from "./entries.ts";

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
