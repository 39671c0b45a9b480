/**
 * `bun run fuzz`: the tests that break things on purpose, with their full counts. `POD_SEED` gives
 * the seed (printed when it is chosen here), `POD_FAULT` one fault to replay. Arguments are passed on
 * to `bun test`; files among them replace the usual ones.
 */
import { resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const PATTERNS = [
  "test/faults/*.test.ts",
  "test/registry/kill.test.ts",
  "test/races/*.test.ts",
  "test/many/*.test.ts",
  "test/e2e/kill-*.test.ts",
  "test/e2e/raw-peer.test.ts",
];
/** Kills at random moments, beside those at chosen calls (test/registry/kill.test.ts). */
const RANDOM_KILLS = "300";

const given = process.argv.slice(2);
const files = given.some((argument) => argument.endsWith(".ts"))
  ? []
  : PATTERNS.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(ROOT)]).toSorted();
const seed = process.env.POD_SEED ?? String(Math.floor(Math.random() * 2 ** 31));
console.log(`fuzz: POD_SEED=${seed}`);
const child = Bun.spawn([process.execPath, "test", "--timeout", "3000000", ...files, ...given], {
  cwd: ROOT,
  env: { POD_KILLS: RANDOM_KILLS, ...process.env, POD_FUZZ: "1", POD_SEED: seed },
  stdio: ["inherit", "inherit", "inherit"],
});
process.exitCode = await child.exited;
