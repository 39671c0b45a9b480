/** Rooms for the temporary files of commands: who owns them, and what becomes of those nobody owns. */
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { makeRoom, removeAbandonedRooms, roomsBelow } from "../../src/tools/shell/room.ts";
import { eventually } from "../support/pod.ts";
import { temp } from "../support/temp.ts";

/** A room as a removal that was cut off leaves it: files, and no lock. */
function lockless(base: string, age: number): string {
  const name = crypto.randomUUID();
  mkdirSync(join(base, name, "tmp"), { recursive: true });
  writeFileSync(join(base, name, "tmp/file"), "x");
  const then = Date.now() / 1000 - age;
  utimesSync(join(base, name), then, then);
  return name;
}

test("rooms are told apart by their locks, and only those of nobody go", async () => {
  await using dir = temp();
  const base = dir.join("rooms");
  const room = makeRoom(base);
  const [own = ""] = readdirSync(base);
  const killed = crypto.randomUUID();
  mkdirSync(join(base, killed, "tmp"), { recursive: true });
  writeFileSync(join(base, killed, "lock"), "");
  const old = lockless(base, 3600);
  const young = lockless(base, 0);
  mkdirSync(join(base, "notes"));
  for (const name of ["lock", "thesis.md"]) writeFileSync(join(base, "notes", name), "");
  mkdirSync(dir.join("elsewhere"));
  symlinkSync(dir.join("elsewhere"), join(base, crypto.randomUUID()));
  const { owned, abandoned, strange } = roomsBelow(base);
  expect(new Set(owned)).toEqual(new Set([own, young]));
  expect(new Set(abandoned)).toEqual(new Set([killed, old]));
  expect(strange).toHaveLength(2);
  expect(new Set((await removeAbandonedRooms(base)).removed)).toEqual(new Set([killed, old]));
  expect(new Set(readdirSync(base))).toEqual(new Set([own, young, ...strange]));
  expect(await removeAbandonedRooms(base)).toEqual({ removed: [], failed: [] });
  expect(readdirSync(join(base, "notes"))).toContain("thesis.md");
  await room.close();
  expect(readdirSync(base)).not.toContain(own);
});

test("a room whose removal was cut off goes when the next one is made", async () => {
  await using dir = temp();
  const old = lockless(dir.path, 3600);
  const room = makeRoom(dir.path);
  await eventually(() => !readdirSync(dir.path).includes(old), "the end of what was left");
  await room.close();
});

test("a removal that was cut off again and again comes to its end", async () => {
  await using dir = temp();
  const name = crypto.randomUUID();
  for (const path of ["tmp/a/b", "tmp/c/d/e", ".moved-1/x", ".moved-2/y/z"]) {
    mkdirSync(join(dir.path, name, path), { recursive: true });
    writeFileSync(join(dir.path, name, path, "f"), "");
  }
  writeFileSync(join(dir.path, name, "lock"), "");
  expect(await removeAbandonedRooms(dir.path)).toEqual({ removed: [name], failed: [] });
});

test("what a command left is removed whatever it is, and the event loop goes on meanwhile", async () => {
  await using dir = temp();
  const room = makeRoom(dir.path);
  const program =
    'import os\nfor name in ("closed", "wide", b"bad\\xff"): os.mkdir(name)\n' +
    'open("closed/f", "w").close(); os.symlink("/", "closed/root"); os.chmod("closed", 0)\n' +
    "for i in range(3000): open(f'wide/{i}', 'w').close()\n" +
    'for _ in range(3000): os.mkdir("d"); os.chdir("d")\n';
  const made = Bun.spawnSync(["python3", "-c", program], { cwd: room.temporary });
  expect(made.stderr.toString()).toBe("");
  let turns = 0;
  const beat = setInterval(() => (turns += 1), 1);
  await room.close();
  clearInterval(beat);
  expect(readdirSync(dir.path)).toEqual([]);
  expect(turns).toBeGreaterThan(2);
  expect(existsSync("/etc")).toBe(true);
});

test("the end of a Pod does not wait for the rooms of others", async () => {
  await using dir = temp();
  const left = crypto.randomUUID();
  mkdirSync(join(dir.path, left, "tmp"), { recursive: true });
  for (let file = 0; file < 3000; file += 1) writeFileSync(join(dir.path, left, `tmp/${file}`), "");
  writeFileSync(join(dir.path, left, "lock"), "");
  const room = makeRoom(dir.path);
  await room.close();
  // It goes on where that one was cut off.
  expect(readdirSync(dir.path)).toEqual([left]);
  expect((await removeAbandonedRooms(dir.path)).removed).toEqual([left]);
});
