/** What stands beside and behind a session when its Pod comes back: its mailbox, forks, copies, old logs. */
import { expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { connectPod } from "../../src/transport/client.ts";
import { startWorld, type World } from "../support/pod.ts";
import { DEADLINE_MS } from "../support/root-pod.ts";
import {
  command,
  conversation,
  killAll,
  runToEnd,
  sessions,
  startTree,
  textOf,
} from "./returning.ts";

const mailOf = (path: string): string => path.replace(/\.jsonl$/, ".mail");
const NOTICE = { in: "exit:kid-1", text: "the kid is done", wake: false };

/** Hash of the last entry of a log. */
function lastHash(path: string): string {
  const line = readFileSync(path, "utf8").trimEnd().split("\n").at(-1) ?? "";
  return (JSON.parse(line) as { hash: string }).hash;
}

/** The session of a root that was told something and killed. */
async function killedRoot(world: World): Promise<{ session: string; path: string }> {
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  const [row] = await sessions(world);
  await root.kill();
  return row ?? { session: "", path: "" };
}

test("an unreadable line in a mailbox is skipped and said, and the session comes back", async () => {
  await using world = startWorld();
  const mail = mailOf((await killedRoot(world)).path);
  appendFileSync(mail, '{"in":5}\n');
  const resumed = await world.cli("resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(await conversation(world, "root")).toHaveLength(2);
  const socket = world.allocation("root")?.socket ?? "";
  await using client = await connectPod(socket, { timeoutMs: DEADLINE_MS });
  const told = await client.next(DEADLINE_MS);
  expect(told).toMatchObject({
    event: "alert",
    data: { level: "error", message: `1 unreadable line(s) in ${mail} were skipped` },
  });
  expect(existsSync(mail)).toBe(true);
});

test("a copy of an earlier state does not take what waits for the session it was made from", async () => {
  await using world = startWorld();
  const { session, path } = await killedRoot(world);
  writeFileSync(mailOf(path), `${JSON.stringify(NOTICE)}\n`);
  const copied = await world.cli("resume", session, "--at", lastHash(path));
  expect([copied.stderr, copied.code]).toEqual(["", 0]);
  await runToEnd(world, "root", "second");
  const texts = (await conversation(world, "root")).map(textOf);
  expect(texts.filter((text) => text.includes(NOTICE.text))).toEqual([]);
  expect(readFileSync(mailOf(path), "utf8")).toBe(`${JSON.stringify(NOTICE)}\n`);
  await killAll(world);
  // By its name the conversation itself comes back, not the copy, which is newer.
  const resumed = await world.cli("resume", "root");
  expect(resumed.stdout).toContain(`(session ${session})`);
  await runToEnd(world, "root", "third");
  expect((await conversation(world, "root")).map(textOf)).toContain(NOTICE.text);
});

test("what waits for a damaged session goes along with what is saved of it", async () => {
  await using world = startWorld();
  const { session, path } = await killedRoot(world);
  const lines = readFileSync(path, "utf8").split("\n");
  lines[3] = (lines[3] ?? "").replace("noted", "noteD");
  writeFileSync(path, lines.join("\n"));
  writeFileSync(mailOf(path), `${JSON.stringify(NOTICE)}\n`);
  expect((await world.cli("resume", "--salvage", session)).code).toBe(0);
  await runToEnd(world, "root", "second");
  expect((await conversation(world, "root")).map(textOf)).toContain(NOTICE.text);
  expect(existsSync(mailOf(path))).toBe(false);
});

test("a directory and a pipe among the sessions are named, and everybody else comes back", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  const store = join(world.home, ".insomnia/sessions");
  const [folder, pipe] = [Bun.randomUUIDv7(), Bun.randomUUIDv7()].map((id) =>
    join(store, `${id}.jsonl`),
  );
  mkdirSync(folder ?? "");
  expect(Bun.spawnSync(["mkfifo", pipe ?? ""]).exitCode).toBe(0);
  const listed = await world.cli("sessions");
  for (const path of [folder, pipe]) {
    expect(listed.stdout).toContain(`${path} cannot be read: not a regular file`);
  }
  expect((await sessions(world)).map(({ state }) => state).sort()).toEqual([
    "damaged",
    "damaged",
    "killed",
    "killed",
    "killed",
  ]);
  const resumed = await world.cli("resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  // The live Pod looks through the sessions as well.
  const tree = await world.cli("resume", "root", "--tree");
  expect([tree.stderr, tree.code]).toEqual(["", 0]);
  await runToEnd(world, "leaf", "more");
}, 60_000);

test("a copy that cannot be started is refused and leaves no session behind", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  const [row] = await sessions(world);
  const { session, path } = row ?? { session: "", path: "" };
  const hash = lastHash(path);
  const named = await world.cli("resume", session, "--at", hash);
  expect(named.code).toBe(1);
  expect(named.stderr).toContain("pod name `root` is already registered");
  expect(named.stderr).toContain("pod stop root");
  await root.kill();
  await using _other = await world.start({ command, name: "other", rules: [{ text: "ok" }] });
  const scoped = await world.cli("resume", session, "--at", hash);
  expect(scoped.code).toBe(1);
  expect(scoped.stderr).toContain("other");
  expect((await sessions(world)).map((other) => other.session)).toEqual([session]);
});

test("a session that goes on in another one is not resumed: the newer one is named", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  const [old] = await sessions(world);
  appendFileSync(old?.path ?? "", '{"foreign":1}\n');
  await root.runToEnd("second");
  const [newer] = await sessions(world);
  expect(newer?.session).not.toBe(old?.session ?? "");
  await root.kill();
  for (const more of [[], ["--salvage"], ["--tree"]]) {
    const refused = await world.cli("resume", old?.session ?? "", ...more);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`goes on as session ${newer?.session}`);
  }
  expect(existsSync(old?.path ?? "")).toBe(true);
  const resumed = await world.cli("resume", newer?.session ?? "");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(await conversation(world, "root")).toHaveLength(4);
});

test("a log that was moved aside and replaced by a copy is noticed: the conversation goes on in a new one", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  const [old] = await sessions(world);
  const path = old?.path ?? "";
  mkdirSync(join(world.home, "backup"));
  renameSync(path, join(world.home, "backup/log"));
  copyFileSync(join(world.home, "backup/log"), path);
  await root.runToEnd("second");
  await root.kill();
  const [newer] = await sessions(world);
  expect(newer?.session).not.toBe(old?.session ?? "");
  expect((await world.cli("resume", "root")).code).toBe(0);
  expect((await conversation(world, "root")).map(textOf)).toContain("second");
});

test("a long conversation whose log was changed comes back by its name from the new log (worker 98)", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  // More than a beginning of a log holds, in more entries than a list looks at.
  for (let n = 0; n < 10; n += 1) await root.runToEnd(`${n} ${"x".repeat(n < 5 ? 900_000 : 1)}`);
  const [old] = await sessions(world);
  appendFileSync(old?.path ?? "", '{"foreign":1}\n');
  // And a list does not look so far back from its end.
  await root.runToEnd(`last ${"y".repeat(100_000)}`);
  await root.kill();
  expect(readFileSync(old?.path ?? "", "utf8")).toEndWith('{"foreign":1}\n');
  const [newer] = await sessions(world);
  expect(newer).toMatchObject({ name: "root", state: "killed", parent: null });
  const resumed = await world.cli("resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(resumed.stdout).not.toContain(old?.session ?? "");
  const texts = (await conversation(world, "root")).map(textOf);
  expect(texts).toHaveLength(22);
  expect(texts.slice(-2)).toEqual([expect.stringMatching(/^last y+$/), "noted"]);
});
