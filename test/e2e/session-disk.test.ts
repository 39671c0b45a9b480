/**
 * A session directory whose disk is full: nothing is done that was not recorded, clients and model are
 * told, and the conversation goes on when there is room again. Needs root, for a file system of a few
 * pages. Also what another program does to a log behind the Pod's back.
 */
import { expect, test } from "bun:test";
import { appendFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runMethod } from "../../src/protocol/method.ts";
import { Replay } from "../../src/session/replay.ts";
import { scanLog, withLog } from "../../src/session/scan.ts";
import { startWorld, type RootPod, type World } from "../support/pod.ts";
import { canMount, fillUp, smallDisk } from "../support/small-disk.ts";

const logOf = (world: World, store: string): string =>
  join(store, `${world.allocation("root")?.session_id}.jsonl`);

function replayed(path: string) {
  return withLog(path, "it", (fd) => {
    const replay = new Replay();
    const end = scanLog(fd, ({ entry }) => replay.add(entry));
    return { end: end.kind, ...replay.state() };
  });
}

function errors(pod: RootPod): string[] {
  return pod.events.flatMap((event) => (event.event === "error" ? [event.data.message] : []));
}

test.skipIf(!canMount)(
  "on a full disk no tool runs and no request is made; with room again the conversation goes on",
  async () => {
    await using world = startWorld();
    const store = join(world.home, "sessions");
    using _disk = smallDisk(store, 128);
    const file = join(world.work, "made");
    const root = await world.start({
      args: ["--store", store],
      rules: [
        { match: "could not be written[^]*^and now", text: "I see, there was no room." },
        {
          match: "^write",
          calls: [{ tool: "Write", input: { file_path: file, content: "x".repeat(9000) } }],
        },
        { text: "ok" },
      ],
    });
    await root.runToEnd("hello");
    const path = logOf(world, store);
    const before = readFileSync(path);
    // Room for a few small entries, not for the call with its 9,000 characters.
    let free = fillUp(store, 4096);
    await expect(root.run(`write ${"y".repeat(6000)}`)).rejects.toThrow("cannot be written");
    await root.waitFor("run_end");
    expect(errors(root).at(-1)).toMatch(/session log .* cannot be written: .*(ENOSPC|space)/);
    expect(root.events.filter(({ event }) => event === "turn_start")).toHaveLength(1);
    await root.runToEnd("write");
    expect(errors(root)).toHaveLength(2);
    expect(existsSync(file)).toBe(false);
    // The log is whole: what did not fit was taken back.
    expect(readFileSync(path).subarray(0, before.length).equals(before)).toBe(true);
    expect(replayed(path).end).toBe("whole");
    free();
    await root.runToEnd("and now?");
    const texts = JSON.stringify(replayed(path).items);
    expect(texts).toContain("The session log could not be written");
    expect(texts).toContain("I see, there was no room.");
    free = fillUp(store, 0);
    // What is not recorded is not acknowledged, and may be sent again under its key.
    const keyed = runMethod("z".repeat(9000), "k1");
    await expect(root.request(keyed)).rejects.toThrow("cannot be written");
    await root.waitFor("run_end");
    expect(errors(root)).toHaveLength(3);
    free();
    await root.request(keyed);
    await root.waitFor("run_end");
    expect(JSON.stringify(replayed(path).items)).toContain("zzz");
    await root.kill();
    const again = await world.start({
      args: ["--store", store, "--session", path.slice(-42, -6)],
      rules: [{ text: "ok" }],
    });
    await again.runToEnd("back?");
    expect(errors(again)).toEqual([]);
  },
);

test("a log that somebody else has changed stays as it is, and the conversation forks (worker 98)", async () => {
  await using world = startWorld();
  const root = await world.start({ rules: [{ text: "ok" }] });
  await root.runToEnd("first");
  const store = join(world.home, ".insomnia/sessions");
  const old = logOf(world, store);
  appendFileSync(old, '{"foreign":1}\n');
  const changed = readFileSync(old);
  await root.runToEnd("second");
  const fork = logOf(world, store);
  expect(fork).not.toBe(old);
  expect(readFileSync(old).equals(changed)).toBe(true);
  const status = JSON.parse(readFileSync(join(world.runtime, "root/status.json"), "utf8")) as {
    session_id: string;
  };
  expect(fork).toContain(status.session_id);
  const state = replayed(fork);
  expect(state.forkedFrom?.session_id).toBe(old.slice(-42, -6));
  expect(state.items).toHaveLength(4);
  expect(root.events).toContainEqual(
    expect.objectContaining({
      event: "alert",
      data: expect.objectContaining({
        message: expect.stringContaining("was changed by another program"),
      }) as object,
    }),
  );
});

test("a log that was removed is made anew with all of the conversation", async () => {
  await using world = startWorld();
  const root = await world.start({ rules: [{ text: "ok" }] });
  await root.runToEnd("first");
  const store = join(world.home, ".insomnia/sessions");
  rmSync(logOf(world, store));
  await root.runToEnd("second");
  expect(replayed(logOf(world, store)).items).toHaveLength(4);
});
