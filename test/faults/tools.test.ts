/**
 * `Write` and `Edit` fail once at every call with each error of a sick disk, and die at every call:
 * the file is whole, old or new, keeps its mode, and an error leaves nothing beside it (14, 56).
 */
import { beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { temp } from "../support/temp.ts";
import { ERRNO, type Errno, errorsOf } from "../support/tracer/calls.ts";
import { startTracer, tracerRefusal } from "../support/tracer/client.ts";
import type { Call } from "../support/tracer/protocol.ts";
import { allChoices, choose, FUZZ, SEED, tryAll } from "./choice.ts";
import { outcomeOf } from "./spawn-stage.ts";
import { runTraced, startLane, startSubject } from "./subject.ts";

const refusal = await tracerRefusal();
if (refusal !== undefined) console.warn(`faults are not injected: ${refusal}`);
const traced = test.skipIf(refusal !== undefined);
// Calls are only made to fail on x86_64.
const failing = test.skipIf(refusal !== undefined || process.arch !== "x64");

const OPERATIONS = ["create", "create-below", "overwrite", "edit"].map((name) => `tools/${name}`);
const recorded = new Map<string, readonly Call[]>();

beforeAll(async () => {
  if (refusal !== undefined) return;
  await using lane = startLane();
  for (const operation of OPERATIONS) {
    await using dir = temp();
    const plan = { operation, directory: dir.path };
    const { traced, reply } = await runTraced(await lane.subject(), lane.tracer, plan);
    expect(outcomeOf(reply).isError).toBe(false);
    recorded.set(operation, traced.calls);
  }
}, 60_000);

/** All files below a directory with their content; `old.txt` must have kept its mode. */
function filesOf(root: string): Record<string, string> {
  expect(statSync(`${root}/old.txt`).mode & 0o777).toBe(0o750);
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [
      `${parentPath}/${name}`.slice(root.length + 1),
      readFileSync(`${parentPath}/${name}`, "utf8"),
    ]),
  );
}

const BEFORE = { "old.txt": "old content\n" };
const AFTER: Readonly<Record<string, Record<string, string>>> = {
  "tools/create": { ...BEFORE, "new.txt": "new content\n" },
  "tools/create-below": { ...BEFORE, "a/b/new.txt": "new content\n" },
  "tools/overwrite": { "old.txt": "new content\n" },
  "tools/edit": { "old.txt": "new content\n" },
};

failing(
  `a write whose call fails says why and leaves the old content and nothing else (14), seed ${SEED}`,
  async () => {
    const choices = choose(
      allChoices(recorded, ({ name }) => errorsOf(name)),
      60,
      0,
    );
    const seen = { told: 0, done: 0 };
    await tryAll(choices, startLane, async ({ operation, fault }, lane) => {
      await using dir = temp();
      const plan = { operation, directory: dir.path, fault };
      const run = await runTraced(await lane.subject(), lane.tracer, plan);
      expect(run.traced.hit).toBe(true);
      const { isError, summary } = outcomeOf(run.reply);
      expect(filesOf(dir.join("work"))).toEqual(isError ? BEFORE : (AFTER[operation] ?? {}));
      if (isError) {
        seen.told += 1;
        const number = fault.how in ERRNO ? ERRNO[fault.how as Errno] : 0;
        expect(summary).toContain(`(os error ${number})`);
        expect(summary).not.toContain("Unknown");
        expect(summary).toContain(dir.path);
      } else seen.done += 1;
    });
    if (process.env.POD_FAULT === undefined) {
      expect(seen.told).toBeGreaterThan(0);
      // The flush of the directory after the rename.
      expect(seen.done).toBeGreaterThan(0);
    }
    if (FUZZ) console.log(`tools: ${JSON.stringify(seen)}`);
  },
  FUZZ ? 300_000 : 60_000,
);

traced(
  `a write that dies at a call leaves the old content or the new, whole (14), seed ${SEED}`,
  async () => {
    const choices = choose(
      allChoices(recorded, () => ["before", "after"]),
      16,
      0,
    );
    await tryAll(choices, startTracer, async ({ operation, fault }, tracer) => {
      await using dir = temp();
      await using subject = await startSubject();
      const run = await runTraced(subject, tracer, { operation, directory: dir.path, fault });
      expect(run.reply).toBeUndefined();
      const files = filesOf(dir.join("work"));
      // A sibling on its way in may stay: nobody is left to remove it, and its name says what it is.
      const whole = Object.entries(files).filter(([name]) => !/(^|\/)\.pod-[^/]*\.tmp$/.test(name));
      expect([BEFORE, AFTER[operation]]).toContainEqual(Object.fromEntries(whole));
      expect(existsSync(dir.join("work", "old.txt"))).toBe(true);
    });
  },
  FUZZ ? 300_000 : 60_000,
);
