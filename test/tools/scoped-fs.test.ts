import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { ScopedFiles } from "../../src/tools/scoped-fs.ts";
import { temp, within } from "../support/temp.ts";
import { scopeOf } from "./support.ts";

const never = new AbortController().signal;
const bytesOf = (text: string) => () => Buffer.from(text);

/** A granted directory with `dir/file` in it, and the same file outside with other content. */
function stage() {
  const directory = temp();
  const root = directory.join("work");
  const outside = directory.join("outside");
  for (const [base, content] of [
    [root, "ours"],
    [outside, "secret"],
  ]) {
    mkdirSync(`${base}/dir`, { recursive: true });
    writeFileSync(`${base}/dir/file`, content ?? "");
  }
  const swap = (): void => {
    renameSync(`${root}/dir`, `${root}/moved`);
    symlinkSync(`${outside}/dir`, `${root}/dir`);
  };
  const dispose = async (): Promise<void> => await directory[Symbol.asyncDispose]();
  return { root, outside, swap, [Symbol.asyncDispose]: dispose };
}

test("a directory swapped for a link after the check does not let a read escape", async () => {
  await using s = stage();
  let swapped = false;
  const files = new ScopedFiles(scopeOf(s.root), () => {
    if (!swapped) s.swap();
    swapped = true;
  });
  // The second look finds the link and refuses what it leads to.
  const path = `${s.root}/dir/file`;
  await expect(files.read(path)).rejects.toThrow(`path is outside allowed scope: ${path}`);
});

test("a file swapped for a link after the check is not read", async () => {
  await using s = stage();
  const path = `${s.root}/dir/file`;
  const files = new ScopedFiles(scopeOf(s.root), () => {
    rmSync(path);
    symlinkSync(`${s.outside}/dir/file`, path);
  });
  await expect(files.read(path)).rejects.toThrow("path is outside allowed scope");
});

test("a file swapped for a FIFO after the check does not block", async () => {
  await using s = stage();
  const path = `${s.root}/dir/file`;
  const files = new ScopedFiles(scopeOf(s.root), () => {
    rmSync(path);
    spawnSync("mkfifo", [path]);
  });
  await expect(files.read(path)).rejects.toThrow(`path is a FIFO, not a regular file: ${path}`);
});

test("a file replaced by another inside the scope after the check is read anew", async () => {
  await using s = stage();
  const path = `${s.root}/dir/file`;
  let once = true;
  const files = new ScopedFiles(scopeOf(s.root), () => {
    if (once) renameSync(`${s.root}/dir`, `${s.root}/other`);
    if (once) mkdirSync(`${s.root}/dir`);
    if (once) writeFileSync(path, "newer");
    once = false;
  });
  expect(Buffer.from((await files.read(path)).bytes).toString()).toBe("newer");
});

test("a directory swapped for a link after the check does not let a write escape (55, W27)", async () => {
  await using s = stage();
  const files = new ScopedFiles(scopeOf(s.root), s.swap);
  const path = `${s.root}/dir/new`;
  await expect(files.replace(path, bytesOf("x"), never)).rejects.toThrow(
    `path changed while it was being opened: ${path}`,
  );
  expect(readdirSync(`${s.outside}/dir`)).toEqual(["file"]);
  expect(readdirSync(`${s.root}/moved`)).toEqual(["file"]);
});

test("a directory moved away while the content is written gets nothing", async () => {
  await using s = stage();
  // The signal is asked at the start and again when the content is on disk: there the swap happens.
  let asked = 0;
  const signal = Object.defineProperty(new AbortController().signal, "aborted", {
    get: () => {
      asked += 1;
      if (asked === 2) s.swap();
      return false;
    },
  });
  const path = `${s.root}/dir/file`;
  const files = new ScopedFiles(scopeOf(s.root));
  await expect(files.replace(path, bytesOf("x"), signal)).rejects.toThrow("path changed");
  expect(readFileSync(`${s.root}/moved/file`, "utf8")).toBe("ours");
  expect(readdirSync(`${s.root}/moved`)).toEqual(["file"]);
  expect(readFileSync(`${s.outside}/dir/file`, "utf8")).toBe("secret");
});

test("a missing parent that becomes a link after the check does not let a write escape", async () => {
  await using s = stage();
  const files = new ScopedFiles(scopeOf(s.root), () => symlinkSync(s.outside, `${s.root}/a`));
  await expect(files.replace(`${s.root}/a/b/c`, bytesOf("x"), never)).rejects.toThrow();
  expect(readdirSync(s.outside)).toEqual(["dir"]);
});

test("a file created by someone else after the check is not overwritten", async () => {
  await using s = stage();
  const path = `${s.root}/dir/new`;
  const files = new ScopedFiles(scopeOf(s.root), () => writeFileSync(path, "theirs"));
  await expect(files.replace(path, bytesOf("x"), never)).rejects.toThrow("created by someone else");
  expect(readFileSync(path, "utf8")).toBe("theirs");
});

test("a file changed by someone else between read and rename is not overwritten", async () => {
  await using s = stage();
  const path = `${s.root}/dir/file`;
  let checks = 0;
  const files = new ScopedFiles(scopeOf(s.root), () => {
    checks += 1;
    if (checks === 2) writeFileSync(path, "theirs"); // the first check is that of the read
  });
  await expect(files.replace(path, bytesOf("x"), never)).rejects.toThrow("modified externally");
  expect(readFileSync(path, "utf8")).toBe("theirs");
  expect(readdirSync(`${s.root}/dir`)).toEqual(["file"]);
});

test("against a process that swaps the directory all the time nothing escapes", async () => {
  await using s = stage();
  // Alternates between the real directory and a link to the outside as fast as it can.
  const program = `
    const { renameSync, rmSync, symlinkSync } = require("node:fs");
    const [root, outside] = process.argv.slice(-2);
    // A write may have made the directory in the moment in which there was none.
    const place = (put) => {
      for (;;) {
        try { return put(); } catch { rmSync(root + "/dir", { recursive: true, force: true }); }
      }
    };
    console.log("ready");
    for (;;) {
      renameSync(root + "/dir", root + "/moved");
      place(() => symlinkSync(outside + "/dir", root + "/dir"));
      rmSync(root + "/dir");
      place(() => renameSync(root + "/moved", root + "/dir"));
    }`;
  await using swapper = Bun.spawn([process.execPath, "-e", program, s.root, s.outside], {
    stdout: "pipe",
    stderr: "inherit",
  });
  await within(swapper.stdout.getReader().read(), 10_000, "the swapper starts");
  const files = new ScopedFiles(scopeOf(s.root));
  let read = 0;
  let written = 0;
  let refusals = 0;
  const ends = performance.now() + 1500;
  for (let round = 0; round < 3000 && performance.now() < ends; round += 1) {
    const content = await files.read(`${s.root}/dir/file`).catch(() => undefined);
    if (content !== undefined) {
      read += 1;
      expect(Buffer.from(content.bytes).toString()).not.toBe("secret");
    }
    const path = `${s.root}/dir/new-${round}`;
    const done = await files.replace(path, bytesOf("x"), never).catch(() => undefined);
    if (done !== undefined) written += 1;
    if (content === undefined || done === undefined) refusals += 1;
  }
  swapper.kill("SIGKILL");
  await within(swapper.exited, 5000, "the swapper ends");
  expect(readdirSync(`${s.outside}/dir`)).toEqual(["file"]);
  expect(readFileSync(`${s.outside}/dir/file`, "utf8")).toBe("secret");
  // Both outcomes of the race were met, or the loop above showed nothing.
  expect(read + written).toBeGreaterThan(0);
  expect(refusals).toBeGreaterThan(0);
});

test("a write waits for the scope's mutex and sees what was decided under it", async () => {
  await using s = stage();
  const scope = scopeOf(s.root);
  const files = new ScopedFiles(scope);
  const gate = Promise.withResolvers<void>();
  const reserving = scope.exclusive(async () => {
    await gate.promise;
    scope.setDelegated([{ target: `${s.root}/dir`, permission: "write", recursive: true }]);
  });
  const writing = files.replace(`${s.root}/dir/new`, bytesOf("x"), never);
  gate.resolve();
  await within(reserving, 5000, "reserving");
  await expect(writing).rejects.toThrow("path is read-only in this scope");
  await within(
    writing.catch(() => {}),
    5000,
    "writing",
  );
  expect(readdirSync(`${s.root}/dir`)).toEqual(["file"]);
});

test("a cancel while the content is written leaves the old content and nothing else", async () => {
  await using s = stage();
  const controller = new AbortController();
  const files = new ScopedFiles(scopeOf(s.root), () => queueMicrotask(() => controller.abort()));
  const path = `${s.root}/dir/file`;
  await expect(files.replace(path, bytesOf("new"), controller.signal)).rejects.toThrow("cancelled");
  expect(readFileSync(path, "utf8")).toBe("ours");
  expect(readdirSync(`${s.root}/dir`)).toEqual(["file"]);
});

test("directories made for a file that is not written after all are removed, no others", async () => {
  await using s = stage();
  const after = (act: () => void) => {
    const controller = new AbortController();
    const files = new ScopedFiles(scopeOf(s.root), () =>
      queueMicrotask(() => {
        act();
        controller.abort();
      }),
    );
    return async (path: string) => await files.replace(path, bytesOf("x"), controller.signal);
  };
  mkdirSync(`${s.root}/empty`);
  await expect(after(() => {})(`${s.root}/a/b/c`)).rejects.toThrow("cancelled");
  await expect(after(() => {})(`${s.root}/empty/d/e`)).rejects.toThrow("cancelled");
  expect(readdirSync(s.root).sort()).toEqual(["dir", "empty"]);
  expect(readdirSync(`${s.root}/empty`)).toEqual([]);
  // What someone else put there meanwhile stays, and what holds it.
  const other = after(() => writeFileSync(`${s.root}/a/theirs`, ""));
  await expect(other(`${s.root}/a/b/c`)).rejects.toThrow("cancelled");
  expect(readdirSync(`${s.root}/a`)).toEqual(["theirs"]);
  // A name that cannot be made, below some that can.
  const files = new ScopedFiles(scopeOf(s.root));
  await expect(
    files.replace(`${s.root}/n/${"x".repeat(300)}/c`, bytesOf("x"), never),
  ).rejects.toThrow();
  await expect(
    files.replace(`${s.root}/n/${"x".repeat(300)}`, bytesOf("x"), never),
  ).rejects.toThrow();
  expect(readdirSync(s.root).sort()).toEqual(["a", "dir", "empty"]);
});

const root = process.getuid?.() === 0;

test.skipIf(root)("a file that its owner made read-only is not replaced", async () => {
  await using s = stage();
  const path = `${s.root}/dir/file`;
  chmodSync(path, 0o444);
  const files = new ScopedFiles(scopeOf(s.root));
  await expect(files.replace(path, bytesOf("x"), never)).rejects.toThrow("(os error 13)");
  expect(readFileSync(path, "utf8")).toBe("ours");
});

/** A file system of 64 KiB, or undefined where we may not mount one. */
function smallDisk(path: string): AsyncDisposable | undefined {
  if (!root || process.platform !== "linux") return undefined;
  mkdirSync(path);
  const made = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", path]);
  if (made.status !== 0) return undefined;
  return { [Symbol.asyncDispose]: async () => void spawnSync("umount", ["-l", path]) };
}

test("a full disk is said, the old content stays and no temporary file remains", async () => {
  await using directory = temp();
  const path = directory.join("disk");
  await using disk = smallDisk(path);
  if (disk === undefined) return;
  const file = `${path}/file`;
  writeFileSync(file, "old");
  const files = new ScopedFiles(scopeOf(path));
  const large = bytesOf("x".repeat(1024 * 1024));
  for (const target of [file, `${path}/new`]) {
    await expect(files.replace(target, large, never)).rejects.toThrow(
      `I/O error at ${target}: No space left on device (os error 28)`,
    );
    await files.replace(target, large, never).catch(() => {});
  }
  expect(readFileSync(file, "utf8")).toBe("old");
  expect(readdirSync(path)).toEqual(["file"]);
  // What fits is written.
  await files.replace(file, bytesOf("new"), never);
  expect(statSync(file).size).toBe(3);
});
