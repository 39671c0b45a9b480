/**
 * The compiled program for end-to-end tests: `dist/pod`, built when it is missing, or another build
 * named by `POD_TEST_BINARY`. A stale one is not rebuilt: `bun run verify` builds before it tests.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const BUILD_LIMIT_MS = 120_000;

/** Absolute path of the program. Throws what the build said when it fails. */
export function podBinary(): string {
  const named = process.env.POD_TEST_BINARY;
  if (named !== undefined && named !== "") return named;
  const path = join(ROOT, "dist/pod");
  if (existsSync(path)) return path;
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, "run", "build.ts"], {
    cwd: ROOT,
    stdout: "ignore",
    timeout: BUILD_LIMIT_MS,
  });
  if (exitCode !== 0) throw new Error(`building ${path} failed: ${stderr.toString().trim()}`);
  return path;
}
