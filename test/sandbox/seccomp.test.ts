/** The filters against the network and against privileges, call by call. */
import { describe, expect, test } from "bun:test";
import { networkFilter, privilegeFilter } from "../../src/sandbox/seccomp.ts";
import { ALLOW, ARM, ARM64, EACCES, ENOSYS, EPERM, I386, verdict, X64 } from "./filters.ts";

const UNIX = 1;
/** Families of other sockets (socket(2)): none, INET, INET6, NETLINK, PACKET, VSOCK, an unknown one. */
const OTHERS = [0, 2, 10, 16, 17, 40, 0xffff_ffff];
const IO_URING_SETUP = 425;

describe.each([
  ["x64", X64, 41],
  ["arm64", ARM64, 198],
] as const)("the network filter of %s", (arch, audit, socket) => {
  const filter = networkFilter(arch);
  const says = (call: number, ...args: number[]): number => verdict(filter, audit, call, ...args);

  test("refuses a socket of any family but the local one", () => {
    expect(OTHERS.map((family) => says(socket, family))).toEqual(OTHERS.map(() => EACCES));
    expect(says(socket, UNIX)).toBe(ALLOW);
    // The kernel looks at the lower half only.
    expect(says(socket, 2 ** 32 + UNIX)).toBe(ALLOW);
    expect(says(socket, 2 ** 32 + 2)).toBe(EACCES);
  });

  test("has no io_uring, which makes sockets without a call of its own", () => {
    expect(says(IO_URING_SETUP, 8)).toBe(ENOSYS);
  });

  test("allows every other call, whatever its arguments", () => {
    for (let call = 0; call < 600; call += 1) {
      if (call !== socket && call !== IO_URING_SETUP)
        expect([call, says(call, 2)]).toEqual([call, ALLOW]);
    }
  });

  test("has no calls at all for programs of another machine, 32-bit ones among them", () => {
    for (const foreign of [X64, I386, ARM64, ARM, 0].filter((other) => other !== audit)) {
      for (const call of [socket, 0, 1, 102, 281, 359, 425]) {
        expect(verdict(filter, foreign, call, UNIX)).toBe(ENOSYS);
      }
    }
  });

  test("has no calls with the numbers of x32", () => {
    for (const call of [0, socket]) expect(says(0x4000_0000 | call, UNIX)).toBe(ENOSYS);
    expect(says(0xffff_ffff)).toBe(ENOSYS);
  });
});

describe.each([
  ["x64", X64, { chmod: 90, fchmod: 91, fchmodat: 268, prlimit: 302 }],
  ["x64", I386, { chmod: 15, fchmod: 94, fchmodat: 306, prlimit: 340 }],
  ["arm64", ARM64, { chmod: undefined, fchmod: 52, fchmodat: 53, prlimit: 261 }],
  ["arm64", ARM, { chmod: 15, fchmod: 94, fchmodat: 333, prlimit: 369 }],
] as const)("the privilege filter of %s, interface %p", (arch, audit, calls) => {
  const filter = privilegeFilter(arch);
  const says = (call: number, ...args: number[]): number => verdict(filter, audit, call, ...args);

  test("refuses set-user-id and set-group-id bits, and no other mode", () => {
    const { chmod, fchmod, fchmodat } = calls;
    const setsMode = (mode: number): number[] => [
      ...(chmod === undefined ? [] : [says(chmod, 1, mode)]),
      ...[says(fchmod, 3, mode), says(fchmodat, 3, 1, mode), says(452, 3, 1, mode)],
    ];
    for (const mode of [0o4755, 0o2755, 0o6000]) {
      expect(new Set(setsMode(mode))).toEqual(new Set([EPERM]));
    }
    for (const mode of [0, 0o755, 0o1777])
      expect(new Set(setsMode(mode))).toEqual(new Set([ALLOW]));
  });

  test("refuses to set limits of another process, not to read them or to set one's own", () => {
    const { prlimit } = calls;
    expect(says(prlimit, 77, 1, 0x7000)).toBe(EPERM);
    expect(says(prlimit, 77, 1, 2 ** 32)).toBe(EPERM);
    expect(says(prlimit, 77, 1, 0)).toBe(ALLOW);
    expect(says(prlimit, 0, 1, 0x7000)).toBe(ALLOW);
  });
});

test("there is no filter for a machine that nobody knows", () => {
  expect(() => networkFilter("riscv64")).toThrow("riscv64");
  expect(() => privilegeFilter("riscv64")).toThrow("riscv64");
});
