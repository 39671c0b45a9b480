import { describe, expect, spyOn, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import * as files from "../../src/base/files.ts";
import { Mailbox } from "../../src/controller/mailbox.ts";
import { canMount, fillUp, smallDisk } from "../support/small-disk.ts";
import { event, LATER, notice, post, SESSION } from "./post.ts";

describe("a mailbox", () => {
  test("makes no file before there is something to keep", async () => {
    await using dir = post();
    const box = dir.open();
    expect(existsSync(dir.path())).toBe(false);
    await box.close();
    expect(existsSync(dir.path())).toBe(false);
  });

  test("gives another process what is left: reports, notices and what was taken, in order", async () => {
    await using dir = post();
    const box = dir.open();
    for (const id of ["o1", "o2", "o3"]) box.report({ id, event: event(id) });
    box.sent("o2");
    for (const id of ["i1", "i2", "i3"]) box.receive(notice(id));
    box.told(["i1", "i3", "stranger"]);
    box.see("s1");
    await box.synced();
    // Nothing is closed: the process was killed.
    const after = dir.open();
    expect(after.outgoing).toEqual([
      { id: "o1", event: event("o1") },
      { id: "o3", event: event("o3") },
    ]);
    expect(after.incoming).toEqual([notice("i2")]);
    expect(["i1", "i2", "i3", "s1", "o1", "nobody"].map((id) => after.hasSeen(id))).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(dir.troubles).toEqual([]);
  });

  test("is private", async () => {
    await using dir = post();
    dir.open().see("s");
    expect(statSync(dir.path()).mode & 0o777).toBe(0o600);
  });

  test("survives a line that a crash has cut: the rest is there and new lines are whole", async () => {
    await using dir = post();
    const box = dir.open();
    box.receive(notice("i1"));
    box.receive(notice("i2"));
    const whole = readFileSync(dir.path(), "utf8");
    const second = whole.indexOf("\n") + 1;
    for (let cut = second + 1; cut < whole.length; cut += 7) {
      writeFileSync(dir.path(), whole.slice(0, cut));
      const after = dir.open();
      expect(after.incoming).toEqual([notice("i1")]);
      after.receive(notice("i3"));
      expect(dir.open().incoming).toEqual([notice("i1"), notice("i3")]);
    }
    expect(dir.troubles).toEqual([]);
  });

  test("skips lines that make no sense and says how many", async () => {
    await using dir = post();
    const box = dir.open();
    box.receive(notice("i1"));
    appendFileSync(
      dir.path(),
      '{"in":5}\nnonsense\n\n{"in":"i2","text":"text of i2","wake":true}\n',
    );
    expect(dir.open().incoming).toEqual([notice("i1"), notice("i2")]);
    expect(dir.troubles).toEqual([`2 unreadable line(s) in ${dir.path()} were skipped`]);
  });

  test("goes when its pod ends in order and nothing waits, and stays when something does", async () => {
    await using dir = post();
    const box = dir.open();
    box.report({ id: "o1", event: event("o1") });
    box.sent("o1");
    await box.close();
    expect(existsSync(dir.path())).toBe(false);
    const other = dir.open();
    other.report({ id: "o1", event: event("o1") });
    await other.close();
    expect(dir.open().outgoing).toHaveLength(1);
  });

  test("knows the last report of a run's end for ever: taken, written anew, closed, in the next session", async () => {
    await using dir = post();
    const box = dir.open();
    box.report({ id: "end:1", event: event("1") });
    expect(dir.open().hasReported("end:1")).toBe(true);
    box.sent("end:1");
    expect(dir.open().hasReported("end:1")).toBe(true);
    expect(box.hasReported("end:2")).toBe(false);
    // More than the file holds: it is written anew.
    for (let n = 0; n < 9000; n += 1) {
      box.report({ id: `o${n}`, event: event("x".repeat(50)) });
      box.sent(`o${n}`);
    }
    expect(statSync(dir.path()).size).toBeLessThan(1024 * 1024);
    expect(dir.open().hasReported("end:1")).toBe(true);
    box.follow(LATER);
    await box.close();
    expect(dir.open(LATER).hasReported("end:1")).toBe(true);
    expect(dir.open(LATER).outgoing).toEqual([]);
  });

  test("goes along to the next session of the conversation, also when the change was cut short", async () => {
    await using dir = post();
    const box = dir.open();
    box.receive(notice("i1"));
    box.follow(LATER);
    box.receive(notice("i2"));
    expect(existsSync(dir.path())).toBe(false);
    expect(dir.open(LATER).incoming).toEqual([notice("i1"), notice("i2")]);
    // Another one that died before it could follow.
    await using cut = post();
    cut.open().receive(notice("i3"));
    const found = cut.open(LATER, [SESSION]);
    expect(found.incoming).toEqual([notice("i3")]);
    expect([existsSync(cut.path()), existsSync(cut.path(LATER))]).toEqual([false, true]);
  });

  test("stays small however much passes through it, and forgets nothing that waits", async () => {
    await using dir = post();
    const box = dir.open();
    box.receive(notice("first"));
    for (let n = 0; n < 30_000; n += 1) {
      box.report({ id: `o${n}`, event: event("x".repeat(50)) });
      box.sent(`o${n}`);
    }
    expect(statSync(dir.path()).size).toBeLessThan(1024 * 1024 + 1000);
    expect(dir.open().incoming).toEqual([notice("first")]);
    expect(dir.open().outgoing).toEqual([]);
  });

  test("remembers a bounded number of ids", async () => {
    await using dir = post();
    const box = dir.open();
    for (let n = 0; n < 2000; n += 1) box.see(`s${n}`);
    expect([box.hasSeen("s0"), box.hasSeen("s1999")]).toEqual([false, true]);
    for (let n = 0; n < 2000; n += 1) box.see(`run:k${n}`);
    expect([box.hasSeen("run:k0"), box.hasSeen("run:k1999")]).toEqual([false, true]);
  });

  test("remembers the key of a run through an orderly end, and however many reports come", async () => {
    await using dir = post();
    const box = dir.open();
    box.see("run:k1");
    for (let n = 0; n < 2000; n += 1) box.see(`s${n}`);
    expect(box.hasSeen("run:k1")).toBe(true);
    await box.close();
    expect(dir.open().hasSeen("run:k1")).toBe(true);
  });

  test("is on disk with its name: the directory is flushed with a new file, and with one that moved", async () => {
    await using dir = post();
    const synced = spyOn(files, "syncDirectory");
    try {
      const box = dir.open();
      box.see("s1");
      await box.synced();
      box.see("s2");
      await box.synced();
      expect(synced.mock.calls).toEqual([[dir.directory]]);
      box.follow(LATER);
      box.see("s3");
      await box.synced();
      expect(synced).toHaveBeenCalledTimes(2);
    } finally {
      synced.mockRestore();
    }
  });

  test.skipIf(!canMount)(
    "on a full disk leaves no half line, and writes down what it missed when there is room again",
    async () => {
      await using dir = post();
      const disk = `${dir.directory}/disk`;
      using _disk = smallDisk(disk, 64);
      const path = `${disk}/${SESSION}.mail`;
      const open = () => new Mailbox(disk, SESSION, (t) => dir.troubles.push(t));
      const box = open();
      box.receive(notice("ä1"));
      const before = readFileSync(path);
      const free = fillUp(disk, 0);
      // The page that it has may take a part of it.
      const long = { ...notice("i2"), text: "ö".repeat(6000) };
      box.receive(long);
      expect(dir.troubles[0]).toStartWith("cannot keep events in ");
      expect(readFileSync(path).equals(before)).toBe(true);
      free();
      box.receive(notice("i3"));
      await box.synced();
      const after = open();
      expect(after.incoming).toEqual([notice("ä1"), long, notice("i3")]);
      box.see("s4");
      expect(open().hasSeen("s4")).toBe(true);
      expect(dir.troubles).toHaveLength(1);
    },
  );

  test("knows where its lines end although one of them is not text", async () => {
    await using dir = post();
    dir.open().receive(notice("i1"));
    appendFileSync(dir.path(), Buffer.from([0xff, 0xfe, 0xff, 0x0a]));
    appendFileSync(dir.path(), '{"in":"torn');
    const box = dir.open();
    box.receive(notice("i2"));
    expect(dir.open().incoming).toEqual([notice("i1"), notice("i2")]);
  });

  test.each(["mkdir", "mkfifo", "ln -s /nowhere"])(
    "in whose place there is something else (%s) is not waited for, says so once and works on",
    async (make) => {
      await using dir = post();
      expect(Bun.spawnSync([...make.split(" "), dir.path()]).exitCode).toBe(0);
      const box = dir.open(SESSION, [LATER]);
      const why = make.startsWith("ln") ? "ELOOP: " : "not a regular file";
      expect(dir.troubles).toEqual([
        expect.stringContaining(`cannot keep events in ${dir.path()}: ${why}`),
      ]);
      box.receive(notice("i1"));
      await box.synced();
      expect(box.incoming).toEqual([notice("i1")]);
      expect(dir.troubles).toHaveLength(1);
      await box.close();
    },
  );

  test("of an earlier session that is no file is passed over", async () => {
    await using dir = post();
    mkdirSync(dir.path("earlier"));
    const box = dir.open(SESSION, ["earlier"]);
    expect(dir.troubles).toHaveLength(1);
    box.receive(notice("i1"));
    expect(dir.open().incoming).toEqual([notice("i1")]);
  });

  test("has what waits in that of an earlier session, also when its own place is taken", async () => {
    await using dir = post();
    dir.open("earlier").receive(notice("i1"));
    mkdirSync(dir.path());
    expect(dir.open(SESSION, ["earlier"]).incoming).toEqual([notice("i1")]);
    expect(dir.open("earlier").incoming).toEqual([notice("i1")]);
    expect(dir.troubles).toHaveLength(1);
  });

  test("that becomes a pipe while it is not open is not waited for", async () => {
    await using dir = post();
    const box = dir.open();
    expect(Bun.spawnSync(["mkfifo", dir.path()]).exitCode).toBe(0);
    box.receive(notice("i1"));
    expect(dir.troubles).toHaveLength(1);
    expect(box.incoming).toEqual([notice("i1")]);
  });

  test("that cannot be written says so once and works on in memory", async () => {
    await using dir = post();
    const box = new Mailbox(`${dir.directory}/missing`, SESSION, (t) => dir.troubles.push(t));
    box.receive(notice("i1"));
    box.report({ id: "o1", event: event("o1") });
    await box.synced();
    expect(box.incoming).toEqual([notice("i1")]);
    expect(box.outgoing).toHaveLength(1);
    expect(dir.troubles).toHaveLength(1);
    expect(dir.troubles[0]).toStartWith("cannot keep events in ");
    await box.close();
  });
});
