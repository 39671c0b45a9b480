/**
 * `SpawnPod` and `pod run` with the runtime directory on a disk that is full, or has room for the
 * first few files only (14): a clear error with all undone, or success. For root, who may mount one;
 * for others the injected errors of `spawn-errors.test.ts` stand in.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { grant, startSpawner } from "../spawn/spawner.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, startWorld, type World } from "../support/pod.ts";
import { temp } from "../support/temp.ts";

const PAGE_BYTES = 4096;
/** More than a Pod and its child need to come up. */
const MOST_PAGES = 12;
const refusal = mountRefusal();
if (refusal !== undefined) console.warn(`no disk is filled: ${refusal}`);

function mountRefusal(): string | undefined {
  if (process.platform !== "linux") return "tmpfs is for Linux";
  if (process.getuid?.() !== 0) return "only root may mount";
  const at = temp();
  try {
    const { exitCode, stderr } = Bun.spawnSync(["mount", "-t", "tmpfs", "tmpfs", at.path]);
    if (exitCode !== 0) return stderr.toString().trim();
    Bun.spawnSync(["umount", at.path]);
    return undefined;
  } finally {
    rmSync(at.path, { recursive: true, force: true });
  }
}

/** A world whose runtime directory is a file system of its own of 256 KiB. */
function smallWorld(): World {
  const dir = temp();
  const run = dir.join("run");
  mkdirSync(run, { mode: 0o700 });
  const options = "size=256k,mode=700";
  const { exitCode } = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", run]);
  if (exitCode !== 0) throw new Error("cannot mount");
  return startWorld("run", {
    ...dir,
    async [Symbol.asyncDispose]() {
      Bun.spawnSync(["umount", "-l", run]);
      await dir[Symbol.asyncDispose]();
    },
  });
}

/** Fills the disk up to so many free pages; the result gives it back. */
function fill({ runtime }: World, pages: number): Disposable {
  const filler = join(runtime, ".filler");
  const { bavail, bsize } = statfsSync(runtime);
  writeFileSync(filler, Buffer.alloc(bavail * bsize - pages * PAGE_BYTES));
  expect(statfsSync(runtime).bavail).toBe(pages);
  return { [Symbol.dispose]: () => rmSync(filler) };
}

describe.skipIf(refusal !== undefined)("on a disk with little room", () => {
  test("SpawnPod says so and undoes all, or succeeds, and then StopPod does (14)", async () => {
    await using world = smallWorld();
    await using own = await startSpawner({ world });
    const target = own.directory("src");
    const input = { name: "child", task: "go", scope: [grant(target)] };
    const before = own.snapshot();
    const seen = { refused: 0, done: 0 };
    for (let pages = 0; pages <= MOST_PAGES; pages += 1) {
      const full = fill(world, pages);
      const spawned = await own.call(spawnPodTool(own.context), input);
      if (spawned.isError === true) {
        seen.refused += 1;
        expect(spawned.summary).toMatch(/ENOSPC|[Nn]o space left/);
        expect(spawned.summary).not.toMatch(/^\s+at /m);
      } else {
        seen.done += 1;
        const stopped = await own.call(stopPodTool(own.context), { name: "child" });
        expect(stopped).toMatchObject({ isError: false });
      }
      full[Symbol.dispose]();
      expect(own.snapshot(), `${pages} pages: ${spawned.summary}`).toEqual(before);
      expect(own.access(target)).toBe("write");
    }
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.done).toBeGreaterThan(0);
  }, 120_000);

  test("pod run says so in one line and leaves nothing, or does its work (14)", async () => {
    await using world = smallWorld();
    const script = world.scenario([{ text: "all done" }]);
    const command = [podBinary(), "run", "say it", "--model", `script:${script}`, "--name", "one"];
    // Makes the registry's files, so that each round meets the same disk.
    await world.registry.reclaim();
    const seen = { refused: 0, done: 0 };
    for (let pages = 0; pages <= MOST_PAGES; pages += 1) {
      const full = fill(world, pages);
      const child = Bun.spawn(command, {
        cwd: world.work,
        env: { ...world.env },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      const [out, err, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ]);
      full[Symbol.dispose]();
      expect(err).not.toMatch(/^\s+at /m);
      if (code === 0) {
        seen.done += 1;
        expect(out).toBe("all done\n");
      } else {
        seen.refused += 1;
        expect(code).toBe(1);
        expect(err).toMatch(/ENOSPC|[Nn]o space left/);
        expect(out).toBe("");
      }
      await eventually(() => world.processes().length === 0, "the Pod to be gone");
      await world.registry.reclaim();
      expect(world.directories(), `${pages} pages: ${err}`).toEqual([]);
      expect(readdirSync(world.runtime).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    }
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.done).toBeGreaterThan(0);
  }, 120_000);
});
