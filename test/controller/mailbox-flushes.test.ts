/** Mailboxes whose flushes wait: no descriptor is closed under one, and nothing is missed. */
import { describe, expect, spyOn, test } from "bun:test";
import { fstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import * as files from "../../src/base/files.ts";
import { event, notice, post } from "./post.ts";

/** Flushes that wait, as those of a busy thread pool do, until `go`; `flushed` has the files they reached. */
function slowFlushes() {
  const real = files.fsyncAsync;
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const flushed: number[] = [];
  const spy = spyOn(files, "fsyncAsync").mockImplementation(async (fd) => {
    begun.resolve();
    await gate.promise;
    await real(fd);
    flushed.push(fstatSync(fd).ino);
  });
  return {
    begun: begun.promise,
    flushed,
    go: gate.resolve,
    [Symbol.dispose]: () => spy.mockRestore(),
  };
}

/** Descriptors of this process whose files lie in `directory`, removed ones too. */
function openIn(directory: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(`${directory}/`) ? [path] : [];
    } catch {
      return [];
    }
  });
}

describe("a mailbox", () => {
  test("of a killed process is flushed before what it has is acknowledged again", async () => {
    await using box = post();
    const killed = box.open();
    killed.receive(notice("n1"));
    // The kernel has the line, and nobody knows whether the disk does.
    const again = box.open();
    expect(again.hasSeen("n1")).toBe(true);
    using flushes = slowFlushes();
    const synced = again.synced();
    await flushes.begun;
    flushes.go();
    await synced;
    expect(flushes.flushed).toEqual([statSync(box.path()).ino]);
    await again.synced();
    await again.close();
    await killed.close();
  });

  test("is written anew while a flush waits: that one reaches its own file and is no trouble", async () => {
    await using dir = post();
    using flushes = slowFlushes();
    const box = dir.open();
    box.receive(notice("first"));
    const before = statSync(dir.path()).ino;
    const waiting = box.synced();
    await flushes.begun;
    for (let n = 0; statSync(dir.path()).ino === before; n += 1) {
      box.report({ id: `o${n}`, event: event("x".repeat(10_000)) });
      box.sent(`o${n}`);
    }
    const after = statSync(dir.path()).ino;
    box.see("later");
    const later = box.synced();
    flushes.go();
    await Promise.all([waiting, later]);
    expect(flushes.flushed).toEqual([before, after]);
    expect(dir.troubles).toEqual([]);
    expect(openIn(dir.directory)).toEqual([dir.path()]);
    await box.close();
    expect(openIn(dir.directory)).toEqual([]);
    expect(dir.open().incoming).toEqual([notice("first")]);
    expect(dir.open().hasSeen("later")).toBe(true);
  });

  test("has missed nothing when the flush of a file fails that was replaced meanwhile", async () => {
    await using dir = post();
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const flush = spyOn(files, "fsyncAsync").mockImplementationOnce(() => {
      begun.resolve();
      return gate.promise;
    });
    const replaced = spyOn(files, "replaceFile");
    try {
      const box = dir.open();
      box.receive(notice("first"));
      const waiting = box.synced();
      await begun.promise;
      for (let n = 0; replaced.mock.calls.length === 0; n += 1) {
        box.report({ id: `o${n}`, event: event("x".repeat(10_000)) });
        box.sent(`o${n}`);
      }
      gate.reject(new Error("EIO"));
      await waiting;
      box.see("later");
      await box.close();
      expect(replaced).toHaveBeenCalledTimes(1);
      expect(replaced.mock.calls[0]?.[2]).toEqual({ durable: true });
      expect(dir.troubles).toEqual([]);
      expect(dir.open().incoming).toEqual([notice("first")]);
    } finally {
      replaced.mockRestore();
      flush.mockRestore();
    }
  });

  test("closes its file when the last flush that was asked for has ended", async () => {
    await using dir = post();
    using flushes = slowFlushes();
    const box = dir.open();
    box.see("s1");
    const first = box.synced();
    await flushes.begun;
    const closed = box.close();
    box.see("s2");
    const second = box.synced();
    flushes.go();
    await first;
    box.see("s3");
    const third = box.synced();
    await Promise.all([closed, second, third]);
    expect(dir.troubles).toEqual([]);
    expect(openIn(dir.directory)).toEqual([]);
    const after = dir.open();
    expect(["s1", "s2", "s3"].map((id) => after.hasSeen(id))).toEqual([true, true, true]);
  });
});
