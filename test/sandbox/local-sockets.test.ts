/** The filter that closes local sockets, call by call. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { bootId } from "../../src/base/process.ts";
import { localSocketFilter } from "../../src/sandbox/local-sockets.ts";
import {
  hasOpenSockets,
  noteOpenSockets,
  OPEN_SOCKETS_NOTE,
} from "../../src/sandbox/open-sockets.ts";
import { temp } from "../support/temp.ts";
import { ALLOW, ARM, ARM64, EACCES, ENOSYS, I386, verdict, X64 } from "./filters.ts";

const [UNIX, INET] = [1, 2];
const [STREAM, DGRAM, RAW, SEQPACKET] = [1, 2, 3, 5];
const [NONBLOCK, CLOEXEC] = [0o4000, 0o2000000];

describe.each([
  ["x64", X64, 41, 53],
  ["arm64", ARM64, 198, 199],
  ["x64", I386, 359, 360],
  ["arm64", ARM, 281, 288],
] as const)("on %s, interface %p", (arch, audit, socket, pair) => {
  const filter = localSocketFilter(arch);
  const says = (call: number, ...args: number[]): number => verdict(filter, audit, call, ...args);

  test("a local socket of any kind is refused, others are not", () => {
    for (const kind of [STREAM, DGRAM, SEQPACKET, STREAM | NONBLOCK | CLOEXEC]) {
      expect(says(socket, UNIX, kind)).toBe(EACCES);
      expect(says(socket, INET, kind)).toBe(ALLOW);
    }
    // The kernel looks at the lower half only.
    expect(says(socket, 2 ** 32 + UNIX, STREAM)).toBe(EACCES);
  });

  test("pairs are made, but for those whose ends could be connected anew", () => {
    for (const flags of [0, NONBLOCK, CLOEXEC, NONBLOCK | CLOEXEC]) {
      expect(says(pair, UNIX, STREAM | flags)).toBe(ALLOW);
      expect(says(pair, UNIX, SEQPACKET | flags)).toBe(ALLOW);
      expect(says(pair, UNIX, DGRAM | flags)).toBe(EACCES);
      expect(says(pair, UNIX, RAW | flags)).toBe(EACCES);
    }
  });

  test("io_uring is not there, other calls are", () => {
    expect(says(425, 8)).toBe(ENOSYS);
    expect(says(0, UNIX)).toBe(ALLOW);
  });
});

test.each([
  ["x64", I386],
  ["arm64", ARM],
] as const)(
  "on %s, sockets that 32-bit programs make through one call for all are refused",
  (arch, audit) => {
    const filter = localSocketFilter(arch);
    expect([1, 8].map((what) => verdict(filter, audit, 102, what))).toEqual([EACCES, EACCES]);
    expect([2, 3, 9, 18].map((what) => verdict(filter, audit, 102, what))).toEqual(
      Array(4).fill(ALLOW),
    );
  },
);

test("interfaces that nobody knows have no calls at all", () => {
  expect(verdict(localSocketFilter("x64"), ARM64, 198, INET)).toBe(ENOSYS);
  expect(verdict(localSocketFilter("x64"), X64, 0x4000_0000 | 41, INET)).toBe(ENOSYS);
  expect(() => localSocketFilter("riscv64")).toThrow("riscv64");
});

describe("the note that commands could use local sockets", () => {
  test("is not there until it is written, and stays for this boot", async () => {
    await using directory = temp();
    expect(hasOpenSockets([directory.path])).toBe(false);
    noteOpenSockets([directory.path]);
    noteOpenSockets([directory.path]);
    expect(hasOpenSockets([directory.path])).toBe(true);
  });

  test.skipIf(bootId() === null)("of an earlier boot counts no more, a torn one does", async () => {
    await using directory = temp();
    const path = directory.join(OPEN_SOCKETS_NOTE);
    writeFileSync(path, "6f0f3b0e-0000-4000-8000-000000000000\n");
    expect(hasOpenSockets([directory.path])).toBe(false);
    writeFileSync(path, "");
    expect(hasOpenSockets([directory.path])).toBe(true);
  });
});
