/** A file system of a few pages, to be full. Only root can mount one. */
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** True where `smallDisk` works; other tests are skipped. */
export const canMount = process.geteuid?.() === 0 && process.platform === "linux";

/** A tmpfs of `kilobytes` at `path`; undone by disposing. */
export function smallDisk(path: string, kilobytes: number): Disposable {
  mkdirSync(path, { mode: 0o700 });
  const options = `size=${kilobytes}k,mode=0700`;
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]);
  if (mounted.exitCode !== 0) throw new Error(`mount: ${mounted.stderr.toString()}`);
  return { [Symbol.dispose]: () => void Bun.spawnSync(["umount", "-l", path]) };
}

/** Takes all room but `keep` bytes; returns what gives it back. */
export function fillUp(path: string, keep: number): () => void {
  const { bavail, bsize } = statfsSync(path);
  const ballast = join(path, "ballast");
  writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - keep)));
  return () => rmSync(ballast);
}
