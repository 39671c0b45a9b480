/** `pod doctor` with the compiled binary: on healthy, missing, broken and littered directories. */
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { saveTable } from "../../src/registry/table.ts";
import { actor } from "../registry/actor.ts";
import { deadOwner, entry, rule } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { runProgram } from "../support/command.ts";
import { isRunning, startWorld, type World } from "../support/pod.ts";
import { type Diagnosis, diagnosis, liveFamily } from "./hostile-family.ts";

async function doctor(
  { work, env }: Pick<World, "work" | "env">,
  ...args: string[]
): Promise<Diagnosis> {
  return diagnosis(
    await runProgram([podBinary(), "doctor", "--json", ...args], { cwd: work, env }),
  );
}

const place = ({ work, env }: World) => ({ cwd: work, env });

test("live Pods on a sound machine are all ok, one line for each check", async () => {
  await using family = await liveFamily();
  const { code, stdout, stderr } = await family.cli("doctor");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.trimEnd().split("\n");
  for (const line of lines) expect(line).toMatch(/^(ok|warning) +[a-z-]+ {2,}\S/);
  const { lines: listed, complaints } = await family.doctor();
  expect(listed.map(({ check }) => check)).toEqual(lines.map((line) => line.split(/ +/)[1] ?? ""));
  // What the machine itself lacks is no fault of the Pods.
  const machine = ["landlock", "kernel", "file-system", "runtime-space", "sessions-space"];
  expect(complaints().filter(({ check }) => !machine.includes(check))).toEqual([]);
  expect(listed.find(({ check }) => check === "allocations")?.finding).toContain("all 2");
});

test("a look makes nothing, and --fix makes what is missing, private", async () => {
  await using world = startWorld();
  rmSync(world.runtime, { recursive: true });
  expect((await doctor(world)).code).toBe(0);
  expect(existsSync(world.runtime)).toBe(false);
  const { code, complaints } = await doctor(world, "--fix");
  expect(code).toBe(0);
  expect(complaints("runtime-directory")).toMatchObject([
    { status: "fixed", finding: `made ${world.runtime} (mode 0700)` },
  ]);
  expect(statSync(world.runtime).mode & 0o777).toBe(0o700);
  expect(statSync(join(world.home, ".insomnia", "sessions")).mode & 0o777).toBe(0o700);
});

test("no HOME, relative values and files in the way are told, not stumbled over", async () => {
  await using world = startWorld();
  const withEnv = async (env: Record<string, string>, ...args: string[]) =>
    await doctor({ work: world.work, env: { PATH: world.env.PATH ?? "", ...env } }, ...args);
  const bare = await withEnv({});
  expect(bare.code).toBe(1);
  expect(bare.complaints("environment")[0]?.advice).toBe("set HOME or INSOMNIA_HOME");
  const relative = await withEnv({ HOME: world.home, INSOMNIA_RUNTIME_DIR: "run" }, "--fix");
  expect(relative.code).toBe(1);
  expect(relative.complaints("environment")[0]?.finding).toContain("INSOMNIA_RUNTIME_DIR");
  const file = join(world.home, "file");
  writeFileSync(file, "mine");
  for (const runtime of [file, join(file, "below")]) {
    const { code, complaints } = await withEnv(
      { HOME: world.home, INSOMNIA_RUNTIME_DIR: runtime },
      "--fix",
    );
    expect(code).toBe(1);
    expect(complaints("runtime-directory")[0]?.status).toBe("problem");
  }
  expect(await Bun.file(file).text()).toBe("mine");
  const long = join(world.home, "x".repeat(100));
  const { complaints } = await withEnv({ HOME: world.home, INSOMNIA_RUNTIME_DIR: long });
  expect(complaints("socket-paths")[0]?.finding).toContain("no Pod can listen");
});

test("what dead Pods left goes, what is nobody's stays, and 100 MB of garbage are no table", async () => {
  await using world = startWorld();
  const { runtime } = world;
  const at = (...names: string[]): string => join(runtime, ...names);
  const owner = await deadOwner();
  const expired = entry("late", [rule("/l")], { session_id: null, expires_at: 1 });
  saveTable(runtime, { allocations: [entry("dead", [rule("/d")], { owner }), expired], rest: {} });
  for (const name of ["dead", "orphan", "empty", "mine", ".gone-1"]) mkdirSync(at(name), 0o700);
  for (const name of ["dead", "orphan"]) writeFileSync(at(name, "lock"), "", { mode: 0o600 });
  writeFileSync(at("orphan", "history.json"), "[]");
  writeFileSync(at("mine", "notes.txt"), "precious");
  for (const name of ["pods.json.tmp", "pods.json.bak.tmp", ".doctor-1", "Ünfug"]) {
    writeFileSync(at(name), "");
  }
  await Bun.$`touch ${{ raw: `"$(printf '${runtime}/\\377\\376')"` }}`.quiet();
  const sick = await doctor(world);
  expect(sick.code).toBe(0); // nothing of it is in the way
  expect(sick.complaints("allocations")[0]?.finding).toContain("(1 of them expired reservations)");
  const left = sick.complaints("orphaned-directories")[0]?.finding;
  expect(left).toContain("orphan");
  const { code, complaints } = await doctor(world, "--fix");
  expect(code).toBe(0);
  const names = readdirSync(runtime);
  for (const gone of ["dead", "orphan", "empty", ".gone-1", "pods.json.tmp", ".doctor-1"]) {
    expect(names).not.toContain(gone);
  }
  expect(names).toContain("Ünfug");
  expect(names).toContain("\ufffd\ufffd");
  expect(await Bun.file(at("mine", "notes.txt")).text()).toBe("precious");
  expect(complaints("orphaned-directories").at(-1)).toMatchObject({
    status: "warning",
    finding: "not made by a Pod, or not to be judged: mine",
  });
  expect(world.registry.peek()).toEqual([]);

  truncateSync(at("pods.json"), 100 * 1024 * 1024);
  expect((await doctor(world)).complaints("registry")[0]?.finding).toContain("is no table");
  expect((await doctor(world, "--fix")).code).toBe(0);
  for (const name of readdirSync(runtime)) {
    if (/^(pods\.json\.corrupt|Ü|mine)/.test(name)) rmSync(at(name), { recursive: true });
  }
  await Bun.$`rm ${{ raw: `"$(printf '${runtime}/\\377\\376')"` }}`.quiet();
});

test("what stands in the place of sessions and damaged ones are named, and the advice helps", async () => {
  await using world = startWorld();
  const store = join(world.home, ".insomnia", "sessions");
  mkdirSync(store, { recursive: true, mode: 0o700 });
  const [folder, pipe, link, log] = ["jsonl", "mail", "jsonl", "jsonl"].map((end) =>
    join(store, `${Bun.randomUUIDv7()}.${end}`),
  ) as [string, string, string, string];
  expect((await doctor(world)).complaints("session-files")).toEqual([]);
  mkdirSync(folder);
  expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
  symlinkSync("/dev/zero", link);
  writeFileSync(log, "no log\n{}\n", { mode: 0o600 });
  for (let count = 4; count > 0; count -= 1) {
    const { code, complaints } = await doctor(world);
    const found = complaints("session-files");
    const strange = found.filter(({ status }) => status === "problem");
    expect([code, strange.length]).toEqual(count > 1 ? [1, 1] : [0, 0]);
    expect(found.at(-1)?.finding).toContain(`${log}:1 is not a line of a session log`);
    const advice = found[0]?.advice?.replace(/^.*: mv/, "mv") ?? "";
    expect(await runProgram(["sh", "-c", advice], place(world))).toMatchObject({
      code: 0,
      stderr: "",
    });
  }
  expect((await doctor(world)).complaints("session-files")).toEqual([]);
  expect((await doctor(world)).code).toBe(0);
});

test("tables that were moved aside can be removed as told, also when they were no files", async () => {
  await using world = startWorld();
  mkdirSync(join(world.runtime, "pods.json"));
  writeFileSync(join(world.runtime, "pods.json", "x"), "");
  await doctor(world, "--fix");
  const told = (await doctor(world)).complaints("leftovers")[0]?.advice ?? "";
  const command = told.replace(/^.*: rm/, "rm");
  expect(await runProgram(["sh", "-c", command], place(world))).toMatchObject({
    code: 0,
    stderr: "",
  });
  expect((await doctor(world)).complaints("leftovers")).toEqual([]);
});

test("temporary files of killed Pods are told and go, those of live ones stay", async () => {
  await using world = startWorld();
  const rooms = join(world.home, ".insomnia/rooms");
  const rules = [
    { match: "^go$", calls: [{ tool: "Bash", input: { command: "echo x >$TMPDIR/f" } }] },
    { text: "done" },
  ];
  expect((await doctor(world)).lines.map(({ check }) => check)).not.toContain("rooms");
  const killed = await world.start({ rules, command: [podBinary()] });
  await killed.runToEnd("go");
  expect((await doctor(world)).complaints("rooms")).toEqual([]);
  await killed.kill();
  const [left = ""] = readdirSync(rooms);
  expect(existsSync(join(rooms, left, "tmp/f"))).toBe(true);
  chmodSync(rooms, 0o755);
  mkdirSync(join(rooms, "notes"));
  const sick = await doctor(world);
  expect(sick.complaints("rooms").map(({ finding }) => finding)).toEqual([
    `left by a killed Pod: ${left}`,
    "nothing of ours, so not touched: notes",
  ]);
  expect(sick.complaints("rooms-directory")[0]?.advice).toBe(`run: chmod 700 ${rooms}`);
  expect(readdirSync(rooms).toSorted()).toEqual([left, "notes"].toSorted());
  const { complaints } = await doctor(world, "--fix");
  expect(complaints("rooms-directory")).toMatchObject([{ status: "fixed" }]);
  expect(complaints("rooms")).toMatchObject([{ status: "fixed" }, { status: "warning" }]);
  expect(statSync(rooms).mode & 0o777).toBe(0o700);
  expect(readdirSync(rooms)).toEqual(["notes"]);
});

test("doctors that mend at once beside live Pods do each other and the Pods no harm", async () => {
  await using family = await liveFamily();
  const { runtime } = family.world;
  for (let round = 0; round < 3; round += 1) {
    chmodSync(join(runtime, "kid"), 0o755);
    writeFileSync(join(runtime, "pods.json"), "{");
    for (const name of ["left", "gone"]) {
      mkdirSync(join(runtime, name), 0o700);
      writeFileSync(join(runtime, name, "lock"), "", { mode: 0o600 });
    }
    const doctors = await Promise.all([1, 2, 3, 4].map(() => family.doctor("--fix")));
    for (const { code } of doctors) expect(code).toBe(0);
    const names = readdirSync(runtime).filter((name) => !/^(\.gone-|pods\.)/.test(name));
    expect(names.toSorted()).toEqual(["kid", "root"]);
  }
  for (const name of readdirSync(runtime)) {
    if (name.startsWith("pods.json.corrupt-")) rmSync(join(runtime, name));
  }
  expect(isRunning(family.kidPid)).toBe(true);
  await family.goesOn("one");
});

test("a live Pod that is lost and cannot be found again is named with its pid, and left alone", async () => {
  await using world = startWorld();
  await using pod = await actor();
  await pod.tell({ op: "join", base: world.runtime, name: "a", allow: [rule("/a")], session: "S" });
  writeFileSync(join(world.runtime, "a", "allocation.json"), "garbage");
  expect((await doctor(world)).complaints("records")).toMatchObject([
    { status: "warning", advice: "end them when you can: pod stop a" },
  ]);
  saveTable(world.runtime, { allocations: [], rest: {} });
  const { code, complaints } = await doctor(world, "--fix");
  expect(code).toBe(1);
  expect(complaints("live-pods")).toMatchObject([
    {
      status: "problem",
      finding: expect.stringContaining(`a (pid ${pod.pid})`),
      advice: expect.stringContaining(`kill ${pod.pid}`),
    },
  ]);
  expect(isRunning(pod.pid)).toBe(true);
  await pod.kill();
  expect((await doctor(world, "--fix")).code).toBe(0);
});

test("a scope that was edited in pods.json is named, and the way that is told brings it back", async () => {
  await using family = await liveFamily();
  const { runtime, registry } = family.world;
  const file = join(runtime, "pods.json");
  const edited = registry
    .peek()
    .map((one) => (one.pod_name === "kid" ? { ...one, scope_allow: [rule("/nowhere")] } : one));
  saveTable(runtime, { allocations: edited, rest: {} });
  const { code, complaints } = await family.doctor();
  expect(code).toBe(1);
  const [finding] = complaints("records");
  expect(finding?.finding).toEndWith(": kid");
  const { work, env } = family.world;
  const told = finding?.advice?.split(": ")[1]?.replace("pod ls", `${podBinary()} ls`) ?? "";
  expect((await runProgram(["sh", "-c", told], { cwd: work, env })).code).toBe(0);
  rmSync(`${file}.edited`);
  expect((await family.doctor()).code).toBe(0);
  await family.goesOn("one");
});

test("a directory that is a link to nowhere is told, and --fix does not touch it", async () => {
  await using world = startWorld();
  const sessions = join(world.home, ".insomnia", "sessions");
  mkdirSync(join(world.home, ".insomnia"), { recursive: true, mode: 0o700 });
  symlinkSync("nowhere", sessions);
  for (const args of [[], ["--fix"]]) {
    const { code, complaints } = await doctor(world, ...args);
    expect(code).toBe(1);
    expect(complaints("sessions-directory")).toMatchObject([
      { status: "problem", finding: `${sessions} is a link that leads nowhere` },
    ]);
  }
  expect(readlinkSync(sessions)).toBe("nowhere");
});
