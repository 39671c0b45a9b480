/**
 * Events upward that are never lost, with the compiled binary and real crashes: a report that finds its
 * parent dead waits on disk and is told once when the parent is resumed; one that its own process could not
 * deliver is delivered by the next process of the session; one that was told is not told again.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { eventually, type RootPod, startWorld, type World } from "../support/pod.ts";
import type { RootOptions, ScenarioRule } from "../support/root-pod.ts";

const command = [podBinary()];
const DEADLINE_MS = 20_000;

/** Everything that the logs of a session directory say was put into conversations about children. */
function notices(world: World): string[] {
  const directory = join(world.home, ".insomnia/sessions");
  return readdirSync(directory)
    .filter((name) => name.endsWith(".jsonl"))
    .flatMap((name) => readFileSync(join(directory, name), "utf8").split("\n"))
    .filter((line) => line.includes('"hook_injected_items"') && line.includes("[Notification]"));
}

/** Lines of a Pod's mailbox that are there now. */
function mail(world: World, session: string): string {
  try {
    return readFileSync(join(world.home, ".insomnia/sessions", `${session}.mail`), "utf8");
  } catch {
    return "";
  }
}

/** A root that has spawned `kid` and waits; `first` rules come before its own. */
async function startFamily(
  world: World,
  first: readonly ScenarioRule[],
  env: RootOptions["env"] = {},
): Promise<RootPod> {
  const target = join(world.work, "kid");
  mkdirSync(target);
  const scope = [{ target, permission: "write" }];
  const root = await world.start({
    command,
    env,
    rules: [
      ...first,
      { match: "^go$", calls: [{ tool: "SpawnPod", input: { name: "kid", task: "t", scope } }] },
      { text: "I wait." },
    ],
  });
  await root.runToEnd("go");
  return root;
}

const atRest = (world: World): Promise<void> =>
  eventually(async () => (await world.cli("ls")).stdout.match(/root +idle/) !== null, "the end");

const finishedOf = (name: string, lines: readonly string[]): number =>
  lines.filter((line) => line.includes(`Pod \`${name}\` finished a turn.`)).length;

test("what a child ends while its parent is dead is told when the parent is resumed, once (W52, W56)", async () => {
  await using world = startWorld();
  const root = await startFamily(world, [{ pod: "kid", text: "kid is done", delay_ms: 1500 }]);
  const session = world.allocation("kid")?.session_id ?? "";
  await root.kill("SIGKILL");
  // The child finishes with nobody to tell: the report waits on its disk.
  await eventually(() => mail(world, session).includes('"turn_ended"'), "the report on disk");
  expect(mail(world, session)).not.toContain('"sent"');
  expect(finishedOf("kid", notices(world))).toBe(0);
  const resumed = await world.cli("resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  await eventually(() => finishedOf("kid", notices(world)) > 0, "the report to be told");
  // Acknowledged: nothing waits in the child any more, and it is not sent again.
  await eventually(() => mail(world, session).includes('"sent"'), "the acknowledgement");
  await world.cli("send", "root", "go on");
  await atRest(world);
  expect(finishedOf("kid", notices(world))).toBe(1);
}, 60_000);

test("a report that its own process could not deliver is delivered by the next one of the session", async () => {
  await using world = startWorld();
  const root = await startFamily(world, [{ pod: "kid", text: "kid is done", delay_ms: 700 }]);
  const kid = world.allocation("kid");
  const session = kid?.session_id ?? "";
  // A parent that is stopped takes nothing: the report is written, and its process dies with it unsent.
  process.kill(root.pid, "SIGSTOP");
  await eventually(() => mail(world, session).includes('"turn_ended"'), "the report on disk");
  process.kill(kid?.pid ?? 0, "SIGKILL");
  process.kill(root.pid, "SIGCONT");
  await root.waitFor((event) => event.event === "run_end", DEADLINE_MS);
  // It may have been in the socket already; then it was heard, and is not heard again below.
  const back = await world.cli("resume", "kid");
  expect([back.stderr, back.code]).toEqual(["", 0]);
  await eventually(() => finishedOf("kid", notices(world)) > 0, "the report to be told");
  await eventually(() => mail(world, session).includes('"sent"'), "the acknowledgement");
  await atRest(world);
  expect(finishedOf("kid", notices(world))).toBe(1);
}, 60_000);

test("what a child does that was brought back alone is told to its parent when that one is back", async () => {
  await using world = startWorld();
  await startFamily(world, []);
  const session = world.allocation("kid")?.session_id ?? "";
  await eventually(() => finishedOf("kid", notices(world)) === 1, "the first report to be told");
  await eventually(() => mail(world, session).includes('"sent"'), "its acknowledgement");
  // One that is killed at work comes back paused, and keeps what it is told for later.
  await atRest(world);
  for (const pid of world.processes()) process.kill(pid, "SIGKILL");
  await eventually(() => world.processes().length === 0, "the end of all");
  const alone = await world.cli("resume", "kid");
  expect([alone.stderr, alone.code]).toEqual(["", 0]);
  expect(world.allocation("kid")?.delegated_from).toBeNull();
  expect((await world.cli("send", "kid", "more")).code).toBe(0);
  const lastOf = () => mail(world, session).trimEnd().split("\n").at(-1) ?? "";
  await eventually(() => lastOf().includes('"turn_ended"'), "the report that waits");
  process.kill(world.allocation("kid")?.pid ?? 0, "SIGKILL");
  await eventually(() => world.processes().length === 0, "its end");
  const tree = await world.cli("resume", "root", "--tree");
  expect([tree.stderr, tree.code]).toEqual(["", 0]);
  expect(world.allocation("kid")?.delegated_from).toBe("root");
  await eventually(() => finishedOf("kid", notices(world)) > 1, "the report to be told");
  await eventually(() => lastOf().includes('"sent"'), "the acknowledgement");
  await atRest(world);
  expect(finishedOf("kid", notices(world))).toBe(2);
}, 60_000);

test.each([
  ["finished a turn", { pod: "kid", text: "kid is done" }],
  ["reported an error", { pod: "kid", error: "no more" }],
])(
  "the end of a run that was logged and not yet reported when its process died is told, once: %s",
  async (words, rule) => {
    await using world = startWorld();
    const dying = join(import.meta.dir, "fixtures/dies-unreported");
    const root = await startFamily(world, [rule], { INSOMNIA_POD_COMMAND: dying });
    const told = () =>
      notices(world).filter((line) => line.includes(`Pod \`kid\` ${words}`)).length;
    const died = () => notices(world).filter((line) => line.includes("`kid` died")).length;
    await eventually(() => died() === 1, "the end of the child to be told");
    await atRest(world);
    expect(told()).toBe(0);
    await root.kill("SIGKILL");
    const first = await world.cli("resume", "root", "--tree");
    expect([first.stderr, first.code]).toEqual(["", 0]);
    await eventually(() => told() > 0, "the report to be told");
    await atRest(world);
    // Whatever is killed from now on: it was told.
    for (const pid of world.processes()) process.kill(pid, "SIGKILL");
    await eventually(() => world.processes().length === 0, "the end of all");
    const again = await world.cli("resume", "root", "--tree");
    expect([again.stderr, again.code]).toEqual(["", 0]);
    expect((await world.cli("send", "root", "go on")).code).toBe(0);
    await atRest(world);
    expect(told()).toBe(1);
  },
  60_000,
);
