/** The doctor's judgements: from facts to findings, without a machine that has the illness. */
import { describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import {
  checkDirectory,
  checkParent,
  type DirectoryFacts,
} from "../../../src/cli/doctor/directories.ts";
import {
  checkKind,
  checkLocks,
  checkSocketPaths,
  checkSpace,
  type SpaceFacts,
  tryLocks,
} from "../../../src/cli/doctor/disk.ts";
import { checkEnvironment, environmentFacts } from "../../../src/cli/doctor/environment.ts";
import { listed, quoted } from "../../../src/cli/doctor/finding.ts";
import { checkKernel, type KernelFacts } from "../../../src/cli/doctor/kernel.ts";
import { checkPods, type PodDirectory, type PodFacts } from "../../../src/cli/doctor/pods.ts";
import { checkRecords } from "../../../src/cli/doctor/records.ts";
import { checkRegistry, type RegistryFacts } from "../../../src/cli/doctor/registry-files.ts";
import { saveTable } from "../../../src/registry/table.ts";
import { entry, rule } from "../../registry/entries.ts";
import { temp } from "../../support/temp.ts";

const ME = 1000;
const byCheck = <Finding extends { check: string }>(findings: readonly Finding[], check: string) =>
  findings.find((finding) => finding.check === check);

describe("the environment", () => {
  const judge = (env: Record<string, string>) => checkEnvironment(environmentFacts(env))[0];

  test("is sound with HOME alone", async () => {
    await using dir = temp();
    expect(judge({ HOME: dir.path })).toMatchObject({
      status: "ok",
      finding: "base directories follow from HOME alone",
    });
  });

  test("is a problem when a value is relative, and the others are still looked at", async () => {
    await using dir = temp();
    const facts = environmentFacts({ HOME: dir.path, INSOMNIA_RUNTIME_DIR: "run" });
    expect(facts.bases.runtime).toBe(dir.join(".insomnia", "run"));
    expect(checkEnvironment(facts)[0]).toMatchObject({
      status: "problem",
      finding: 'INSOMNIA_RUNTIME_DIR is not an absolute path: "run"',
    });
  });

  test("is a problem when nothing names a directory", () => {
    expect(judge({})).toMatchObject({ status: "problem", advice: "set HOME or INSOMNIA_HOME" });
  });

  test("is a warning when two variables name two runtime directories", async () => {
    await using dir = temp();
    const env = { HOME: dir.path, INSOMNIA_HOME: dir.path };
    expect(judge({ ...env, INSOMNIA_RUNTIME_DIR: dir.join("run") })?.status).toBe("ok");
    expect(judge({ ...env, INSOMNIA_RUNTIME_DIR: dir.join("other") })?.status).toBe("warning");
  });

  test("is a warning when another directory of this user has Pods (W8)", async () => {
    await using dir = temp();
    const other = dir.join(".insomnia", "run");
    mkdirSync(other, { recursive: true, mode: 0o700 });
    saveTable(other, { allocations: [entry("a", [rule("/a")])], rest: {} });
    const findings = checkEnvironment(
      environmentFacts({ HOME: dir.path, XDG_RUNTIME_DIR: dir.join("xdg") }),
    );
    expect(byCheck(findings, "other-registries")).toMatchObject({
      status: "warning",
      finding: expect.stringContaining(`${other} (a)`),
      advice: expect.stringContaining(`INSOMNIA_RUNTIME_DIR=${other} pod ls`),
    });
  });

  test.skipIf(process.geteuid?.() === 0)("is a warning when HOME is another user's", () => {
    expect(judge({ HOME: "/" })?.finding).toContain("HOME is a directory of user 0");
  });
});

describe("a base directory", () => {
  const facts = (more: Partial<DirectoryFacts> = {}): DirectoryFacts => ({
    path: "/b",
    state: "directory",
    uid: ME,
    mode: 0o700,
    error: "",
    ...more,
  });
  const judge = (more: Partial<DirectoryFacts>, privacy: "private" | "config" = "private") =>
    checkDirectory("d", facts(more), { privacy, variable: "V", me: ME });

  test.each([
    [{}, "ok", 0],
    [{ state: "missing" }, "ok", 1],
    [{ state: "missing", error: "EROFS" }, "problem", 0],
    [{ mode: 0o755 }, "problem", 1],
    [{ mode: 0o000 }, "problem", 1],
    [{ mode: 0o1777 }, "problem", 0],
    [{ mode: 0o755, stranger: "work" }, "problem", 0],
    [{ uid: 0 }, "problem", 0],
    [{ uid: 7, mode: 0o755 }, "problem", 0],
    [{ state: "other" }, "problem", 0],
    [{ state: "link" }, "problem", 0],
    [{ state: "unknown", error: "EACCES" }, "problem", 0],
  ] as const)("that is private: %j is %s with %i repairs", (more, status, mends) => {
    const finding = judge(more);
    expect(finding.status).toBe(status);
    expect(finding.mends ?? []).toHaveLength(mends);
  });

  test.each([
    [{ mode: 0o755 }, "ok"],
    [{ uid: 0, mode: 0o755 }, "ok"],
    [{ state: "missing" }, "ok"],
    [{ mode: 0o777 }, "problem"],
    [{ uid: 7 }, "problem"],
  ] as const)("for configuration: %j is %s", (more, status) => {
    expect(judge(more, "config").status).toBe(status);
  });

  test("for configuration keeps what others may read when it is closed to their writing", () => {
    expect(judge({ mode: 0o775 }, "config").mends).toEqual([
      { kind: "chmod", path: "/b", mode: 0o755, follow: true },
    ]);
  });

  test("may lie where others cannot replace it, the sticky bit considered", () => {
    const status = (more: Partial<DirectoryFacts>) => checkParent("d", facts(more), ME)[0]?.status;
    expect(status({ uid: 0, mode: 0o755 })).toBeUndefined();
    expect(status({ uid: 0, mode: 0o1777 })).toBeUndefined();
    expect(status({ uid: 0, mode: 0o777 })).toBe("warning");
    expect(status({ uid: 7, mode: 0o755 })).toBe("warning");
  });
});

describe("a disk", () => {
  const facts = (more: Partial<SpaceFacts> = {}): SpaceFacts => ({
    path: "/b",
    type: 0xef53,
    freeBytes: 1e9,
    totalInodes: 1e6,
    freeInodes: 1e6,
    ...more,
  });

  test.each([
    [0xef53, "ok"],
    [0x01021994, "ok"],
    [0x12345678, "ok"],
    [0x6969, "warning"],
    [0xff534d42, "warning"],
    [0xfe534d42, "warning"],
    [0x01021997, "warning"],
    [0x65735546, "warning"],
  ])("of kind 0x%s is %s (W6)", (type, status) => {
    expect(checkKind(facts({ type }), "linux").status).toBe(status as "ok");
  });

  test.each([
    [{}, "ok"],
    [{ freeBytes: 0 }, "problem"],
    [{ freeBytes: 30 * 1024 * 1024 }, "warning"],
    [{ freeInodes: 0 }, "problem"],
    [{ freeInodes: 500 }, "warning"],
    [{ totalInodes: 0, freeInodes: 0 }, "ok"],
  ] as const)("with %j is %s", (more, status) => {
    expect(checkSpace("s", facts(more)).status).toBe(status);
  });

  test("has its locks tried for real, and nothing is left of that", async () => {
    await using dir = temp();
    expect(tryLocks(dir.path)).toEqual({ outcome: "works" });
    expect(new Bun.Glob("**").scanSync({ cwd: dir.path, dot: true }).next().done).toBe(true);
    expect(tryLocks(dir.join("missing"))).toMatchObject({ outcome: "no file" });
  });

  test.each([
    { outcome: "not exclusive" },
    { outcome: "unsupported", errno: 95 },
    { outcome: "no file", why: "EROFS" },
  ] as const)("without locks is a problem: %j", (trial) => {
    expect(checkLocks("/b", trial).status).toBe("problem");
  });

  test("leaves a Pod's name the bytes that a socket path has (W35)", () => {
    const judge = (bytes: number) => checkSocketPaths(`/${"x".repeat(bytes - 1)}`);
    // base + "/" + name + "/sock" is at most 107
    expect(judge(37)).toMatchObject({
      status: "ok",
      finding: expect.stringMatching(/leaves 64 of/),
    });
    expect(judge(50).finding).toContain("leaves 51 of");
    expect(judge(90)).toMatchObject({ status: "warning" });
    expect(judge(100).finding).toContain("leaves 1 of");
    expect(judge(101)).toMatchObject({ status: "problem" });
    expect(checkSocketPaths(`/${"é".repeat(50)}`).status).toBe("problem");
  });
});

test("a kernel without Landlock or /proc is told, one with both is fine", () => {
  const facts: KernelFacts = {
    platform: "linux",
    release: "6.1",
    version: "1",
    program: "/p",
    programExists: true,
    landlock: 4,
    pidfd: true,
    proc: true,
    pidNamespace: "pid:[1]",
    userNamespace: "user:[1]",
    mapped: false,
  };
  expect(checkKernel(facts).every(({ status }) => status === "ok")).toBe(true);
  const poor = checkKernel({ ...facts, landlock: undefined, proc: false, programExists: false });
  expect(byCheck(poor, "landlock")?.status).toBe("warning");
  const old = byCheck(checkKernel({ ...facts, landlock: 2 }), "landlock");
  expect([old?.status, old?.finding]).toEqual(["warning", expect.stringContaining("version 2")]);
  const some = byCheck(checkKernel({ ...facts, landlock: 4 }), "landlock");
  expect(some?.finding).toContain("interface version 4; it does not restrict device controls");
  expect(byCheck(poor, "processes")?.status).toBe("problem");
  expect(byCheck(poor, "program")?.status).toBe("warning");
});

describe("the registry's files", () => {
  const good = { path: "/b/f", state: "file", uid: ME, mode: 0o600, error: "" } as const;
  const empty = { kind: "missing", allocations: [], why: "" } as const;
  const facts = (more: Partial<RegistryFacts> = {}): RegistryFacts => ({
    base: "/b",
    files: [good],
    table: { kind: "ours", allocations: [], why: "" },
    backup: empty,
    lock: "free",
    holders: [],
    living: 0,
    ...more,
  });
  const judge = (check: string, more: Partial<RegistryFacts>) =>
    byCheck(checkRegistry(facts(more), ME), check);

  test.each([
    ["ours", 0, "ok", 0],
    ["missing", 0, "ok", 0],
    ["missing", 1, "problem", 1],
    ["empty", 1, "problem", 1],
    ["bad", 0, "problem", 1],
    ["unversioned", 0, "problem", 1],
    ["other version", 0, "problem", 0],
    ["unreadable", 0, "problem", 0],
  ] as const)("%s with %i living Pods: %s, %i repairs", (kind, living, status, mends) => {
    const finding = judge("registry", { table: { kind, allocations: [], why: "why" }, living });
    expect(finding?.status).toBe(status);
    expect(finding?.mends ?? []).toHaveLength(mends);
  });

  test("a backup that cannot be used is a warning", () => {
    const backup = { kind: "bad", allocations: [], why: "is half" } as const;
    expect(judge("registry-backup", { backup })?.status).toBe("warning");
  });

  test("the holder of the lock is named with what to do about its state", () => {
    const holder = { pid: 7, command: "pod x", state: "S (sleeping)", deleted: false };
    expect(judge("registry-lock", { lock: "held", holders: [holder] })).toMatchObject({
      status: "problem",
      advice: "wait, or end it: kill 7",
      finding: expect.stringContaining("process 7 (pod x)"),
    });
    const stopped = { ...holder, state: "T (stopped)" };
    expect(judge("registry-lock", { lock: "held", holders: [stopped] })?.advice).toContain(
      "kill -CONT 7",
    );
    expect(judge("registry-lock", { lock: "held" })?.advice).toBe(
      "find it with: fuser -v /b/pods.lock",
    );
    expect(judge("registry-lock", { holders: [{ ...holder, deleted: true }] })?.status).toBe(
      "warning",
    );
  });

  test.each([
    [{ mode: 0o644 }, 1],
    [{ uid: 7 }, 0],
    [{ state: "link" }, 0],
    [{ state: "directory" }, 0],
  ] as const)("a file with %j is a problem with %i repairs", (more, mends) => {
    const finding = judge("registry-files", { files: [{ ...good, ...more }] });
    expect(finding?.status).toBe("problem");
    expect(finding?.mends ?? []).toHaveLength(mends);
  });
});

describe("the Pods", () => {
  const directory = (name: string, more: Partial<PodDirectory> = {}): PodDirectory => ({
    name,
    life: "held",
    pid: 7,
    empty: false,
    uid: ME,
    open: [],
    error: "",
    ...more,
  });
  const of = (name: string, more: Partial<PodFacts["entries"][number]> = {}) => ({
    entry: entry(name, [rule(`/${name}`)]),
    dead: false,
    unjudged: false,
    answers: true,
    ...more,
  });
  const facts = (more: Partial<PodFacts> = {}): PodFacts => ({
    base: "/b",
    entries: [],
    directories: [],
    hidden: [],
    now: 0,
    ...more,
  });
  const complaints = (more: Partial<PodFacts>) =>
    checkPods(facts(more), ME).filter(({ status }) => status !== "ok");

  test("that are registered, live and answer are no reason to complain", () => {
    expect(complaints({})).toEqual([]);
    expect(complaints({ entries: [of("a")], directories: [directory("a")] })).toEqual([]);
  });

  test("that are dead are reclaimed, those of other machines are left alone", () => {
    expect(complaints({ entries: [of("a", { dead: true })] })).toMatchObject([
      { check: "allocations", status: "warning", mends: [{ kind: "registry" }] },
    ]);
    expect(complaints({ entries: [of("a", { unjudged: true })] })).toMatchObject([
      { check: "allocations", status: "warning", mends: [] },
    ]);
  });

  test("that live without an entry are a problem with their pid", () => {
    expect(complaints({ directories: [directory("a")] })).toMatchObject([
      { check: "live-pods", status: "problem", finding: expect.stringContaining("a (pid 7)") },
    ]);
  });

  test("that lost their directory are ended by name when known, else by pid", () => {
    const a = of("a");
    const hidden = [
      { name: "a", pid: a.entry.pid },
      { name: "b", pid: 8 },
    ];
    expect(complaints({ entries: [a], hidden })).toMatchObject([
      { check: "deleted-directories", advice: "end them: pod stop a, kill 8", mends: [] },
    ]);
  });

  test("that died leave directories: proven ones are removed, doubtful ones are not", () => {
    const mendsOf = (one: PodDirectory) =>
      complaints({ directories: [one] }).flatMap(({ mends = [] }) => mends.map(({ kind }) => kind));
    expect(mendsOf(directory("a", { life: "free" }))).toEqual(["registry"]);
    expect(mendsOf(directory("a", { life: "absent", empty: true }))).toEqual(["remove-empty"]);
    expect(mendsOf(directory("a", { life: "absent" }))).toEqual([]);
    expect(mendsOf(directory("a", { life: "unknown", error: "EACCES" }))).toEqual([]);
    expect(mendsOf(directory("a", { life: "free", uid: 7 }))).toEqual([]);
  });

  test("with an entry whose scope is not their own are a problem, without a record a warning", () => {
    const a = entry("a", [rule("/a")]);
    const judge = (record: typeof a | undefined) =>
      checkRecords("/b", "/b/pods.json", [{ entry: a, record }]).status;
    expect(judge(a)).toBe("ok");
    expect(judge({ ...a, scope_allow: [rule("/b")] })).toBe("problem");
    expect(judge({ ...a, instance: "other", scope_allow: [rule("/b")] })).toBe("ok");
    expect(judge(undefined)).toBe("warning");
  });
});

test("lists are bounded and words are safe to paste into a shell", () => {
  expect(listed(["a", "b", "c"], 2)).toBe("a, b and 1 more");
  expect(quoted("/plain/path-1")).toBe("/plain/path-1");
  expect(
    Bun.spawnSync(["sh", "-c", `printf %s ${quoted("it's $HOME; `x`")}`]).stdout.toString(),
  ).toBe("it's $HOME; `x`");
});
