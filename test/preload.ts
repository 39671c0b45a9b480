/**
 * Runs before every test file: a private HOME, no provider keys, no `INSOMNIA_*` of the developer,
 * so that a test sees only what it sets up itself.
 */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const home = mkdtempSync(join(tmpdir(), "pod-home-"));
process.env.HOME = home;
for (const name of Object.keys(process.env)) {
  if (/^(INSOMNIA_|XDG_|ANTHROPIC_|OPENAI_|GOOGLE_|BUN_)/.test(name)) delete process.env[name];
}
// Not `process.on("exit")`: the test runner does not let it run.
afterAll(() => rmSync(home, { recursive: true, force: true }));
