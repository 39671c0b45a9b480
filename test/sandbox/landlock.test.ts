/** Which rights which kernel knows, and what follows for a Pod's commands. */
import { describe, expect, test } from "bun:test";
import {
  confinementAlert,
  decideConfinement,
  describeWritable,
  looksRefused,
  reasonsIn,
  type SandboxPolicy,
} from "../../src/sandbox/confinement.ts";
import {
  kernelSupport,
  missingProtections,
  RIGHTS,
  supportOf,
} from "../../src/sandbox/landlock.ts";

const policy = (mode: SandboxPolicy["mode"]): SandboxPolicy => ({
  mode,
  write: [],
  network: "allow",
  local_sockets: "deny",
  env: [],
});

describe("a kernel", () => {
  test.each([
    [0, 0, 0, 0],
    [1, 0x1fff, 0, 0],
    [2, 0x3fff, 0, 0],
    [3, 0x7fff, 0, 0],
    [4, 0x7fff, 3, 0],
    [5, 0xffff, 3, 0],
    [6, 0xffff, 3, 3],
    [7, 0xffff, 3, 3],
    [9, 0x1ffff, 3, 3],
    [42, 0x1ffff, 3, 3],
  ])("of version %d handles exactly the rights it knows (landlock(7))", (abi, fs, net, scoped) => {
    expect(supportOf(abi)).toEqual({ abi, fs, net, scoped });
  });

  test("that answers with an error has no Landlock", () => {
    expect(supportOf(-38)).toEqual(supportOf(0)); // ENOSYS
    expect(supportOf(-95)).toEqual(supportOf(0)); // EOPNOTSUPP: not switched on
  });

  test.skipIf(process.platform !== "linux")("is asked once, and the answer makes sense", () => {
    expect(kernelSupport()).toBe(kernelSupport());
    expect(kernelSupport()).toEqual(supportOf(kernelSupport().abi));
  });

  test("says what it lacks, with the version that has it", () => {
    expect(missingProtections(supportOf(6))).toEqual([]);
    expect(missingProtections(supportOf(3)).join()).toMatch(/ioctl.*6\.10.*signals.*6\.12/);
    expect(missingProtections(supportOf(1)).join()).toContain("truncate(2) (needs Linux 6.2)");
  });
});

describe("the decision", () => {
  test.each([
    ["enforce", 0, "refused"],
    ["enforce", 2, "refused"],
    ["enforce", 3, "confined"],
    ["enforce", 7, "confined"],
    ["warn", 0, "unconfined"],
    ["warn", 1, "confined"],
    ["off", 7, "unconfined"],
  ] as const)("for %s on version %d is: %s", (mode, abi, kind) => {
    expect(decideConfinement(policy(mode), supportOf(abi)).kind).toBe(kind);
  });

  test("is told where less is confined than could be, and only there", () => {
    const told = (mode: SandboxPolicy["mode"], abi: number): string | undefined =>
      confinementAlert(decideConfinement(policy(mode), supportOf(abi)));
    expect(told("enforce", 7)).toBeUndefined();
    expect(told("enforce", 3)).toContain("does not restrict commands of Bash in: device controls");
    expect(told("enforce", 0)).toMatch(/not available.*`mode = "warn"`.*`mode = "off"`/);
    expect(told("warn", 0)).toContain("this kernel has no Landlock");
    expect(told("off", 7)).toContain('[sandbox] mode = "off"');
  });
});

describe("after a refusal", () => {
  test.each([
    ["bash: /x: Permission denied", true],
    ["Error: EACCES: permission denied, open '/x'", true],
    ["mv: cannot move 'a': Invalid cross-device link", true],
    ["mkdir: Read-only file system", true],
    ["failed to initialize build cache at /h/.cache/go-build: mkdir /h: permission denied", true],
    ["java.nio.file.AccessDeniedException: /tmp/x", true],
    ["all fine, ENOENT", false],
  ])("%p looks refused: %p", (output, yes) => {
    expect(looksRefused(output)).toBe(yes);
  });

  test.each([
    ["dial unix /var/run/docker.sock: connect: permission denied", "local_sockets"],
    ["SemLock: PermissionError: [Errno 13] Permission denied", "/dev/shm"],
    ["OSError: out of pty devices", "/dev/ptmx"],
    ["error: unable to create temporary file: Operation not permitted", "set-group-id"],
    ["cp: preserving permissions for 'e': Operation not permitted", "set-group-id"],
  ])("the model reads why, where that is known: %p", (output, word) => {
    expect(reasonsIn(output, true).join()).toContain(word);
  });

  test.each([
    "touch: /etc/x: Permission denied",
    "mount: Operation not permitted",
    "a socket, a pty",
  ])("nothing is made up where it is not: %p", (output) => {
    expect(reasonsIn(output, true)).toEqual([]);
  });

  test("the model reads where it may write, and what is special there", () => {
    const ruleset = { rules: [], partial: ["/w"], missing: ["/n"], cut: false, readsCut: false };
    expect(describeWritable({ ...ruleset, writable: ["/w/a", "/t"] })).toBe(
      "commands can write only in: /w/a, /t (and below); existing files may be changed, but nothing " +
        "be made, renamed or removed directly in: /w (a denied or delegated path lies below; Write " +
        "and Edit can); not there yet (make it with Write first): /n",
    );
    const many = Array.from({ length: 25 }, (_, index) => `/${index}`);
    expect(describeWritable({ ...ruleset, writable: many })).toContain("/19 and 5 more");
  });
});

test("the rights are bits of their own", () => {
  const all = Object.values(RIGHTS);
  expect(all.reduce((sum, bit) => sum + bit, 0)).toBe(2 ** all.length - 1);
});
