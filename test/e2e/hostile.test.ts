/**
 * An outsider at work on the runtime directory of live Pods: no Pod loses its scope, every refusal
 * says what to do, `pod doctor` names the cause and `--fix` mends what can be mended.
 */
import { expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { PodEvent } from "../../src/protocol/method.ts";
import { request } from "../../src/transport/client.ts";
import { actor } from "../registry/actor.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { liveFamily } from "./hostile-family.ts";

const isRoot = process.geteuid?.() === 0;
const CONFLICT = /conflicts with pod `(root|kid)`.*to end it: pod stop (root|kid)/;

test("garbage in pods.json is named and mended, and costs no live Pod its scope", async () => {
  await using family = await liveFamily();
  const file = join(family.world.runtime, "pods.json");
  for (const [round, garbage] of ["{", "\0\0\0\0", '{"version":1,"allocations":7}'].entries()) {
    writeFileSync(file, garbage);
    const { code, complaints } = await family.doctor();
    expect(code).toBe(1);
    expect(complaints("registry")).toMatchObject([
      { status: "problem", advice: expect.stringContaining("pod doctor --fix") },
    ]);
    expect(readFileSync(file, "utf8")).toBe(garbage); // a look changes nothing
    if (round === 0) expect(await family.refusedRoot()).toMatch(CONFLICT);
    else {
      const fixed = await family.doctor("--fix");
      expect(fixed.code).toBe(0);
      expect(fixed.complaints("registry")).toMatchObject([{ status: "fixed" }]);
      expect(await family.refusedRoot()).toMatch(CONFLICT);
    }
  }
  await family.goesOn("one");
  const kept = readdirSync(family.world.runtime).filter((name) => name.includes(".corrupt-"));
  expect(kept.map((name) => readFileSync(join(family.world.runtime, name), "utf8"))).toContain("{");
  for (const name of kept) rmSync(join(family.world.runtime, name));
});

test("deleting pods.json, with its backup and with the lock, costs no live Pod its scope", async () => {
  await using family = await liveFamily();
  const { runtime } = family.world;
  for (const names of [["pods.json"], ["pods.json", "pods.json.bak"], ["pods.json", "pods.lock"]]) {
    for (const name of names) rmSync(join(runtime, name));
    const lost = await family.doctor();
    expect(lost.code).toBe(1);
    expect(lost.complaints("registry")[0]?.finding).toContain("is lost while 2 Pods live");
    expect(await family.refusedRoot()).toMatch(CONFLICT);
  }
  rmSync(join(runtime, "pods.json"));
  expect((await family.doctor("--fix")).code).toBe(0);
  await family.goesOn("one");
});

test("entries that are edited out of pods.json are found again", async () => {
  await using family = await liveFamily();
  const file = join(family.world.runtime, "pods.json");
  const strip = (): void => writeFileSync(file, '{"version":1,"allocations":[]}');
  strip();
  const lost = await family.doctor();
  expect(lost.code).toBe(1);
  expect(lost.complaints("live-pods")[0]?.finding).toContain(`kid (pid ${family.kidPid})`);
  expect(await family.refusedRoot()).toMatch(CONFLICT);
  strip();
  const fixed = await family.doctor("--fix");
  expect(fixed.code).toBe(0);
  expect(fixed.complaints("live-pods")).toMatchObject([
    { status: "fixed", finding: "brought back kid, root" },
  ]);
  await family.goesOn("one");
});

test("a Pod whose directory was deleted is listed, keeps its scope, is named, and can be stopped", async () => {
  await using family = await liveFamily();
  rmSync(join(family.world.runtime, "kid"), { recursive: true });
  const { stdout } = await family.cli("ls");
  expect(stdout).toMatch(new RegExp(`kid +unresponsive +${family.kidPid} `));
  expect(await family.refusedRoot()).toMatch(CONFLICT);
  const { code, complaints } = await family.doctor("--fix");
  expect(code).toBe(1);
  expect(complaints("deleted-directories")).toMatchObject([
    { status: "problem", advice: "end them: pod stop kid" },
  ]);
  expect(complaints("deleted-directories")[0]?.finding).toContain(`kid (pid ${family.kidPid})`);
  expect(isRunning(family.kidPid)).toBe(true);
  expect((await family.cli("stop", "kid")).code).toBe(0);
  expect(isRunning(family.kidPid)).toBe(false);
  expect((await family.doctor()).code).toBe(0);
});

test("a deleted runtime directory is not used again while its Pods live; doctor names their pids", async () => {
  await using family = await liveFamily();
  const { runtime } = family.world;
  rmSync(runtime, { recursive: true });
  const blind = await family.doctor();
  expect(blind.code).toBe(1);
  expect(blind.complaints("deleted-directories")[0]?.advice).toContain(`kill ${family.kidPid}`);
  expect(existsSync(runtime)).toBe(false);
  const refusal = await family.refusedRoot();
  expect(refusal).toContain(`\`kid\` (pid ${family.kidPid})`);
  expect(refusal).toContain("end them (kill ");
  const ls = await family.cli("ls");
  expect(ls).toMatchObject({ code: 1, stdout: "" });
  expect(ls.stderr).toContain(`\`root\` (pid ${family.root.pid})`);
  const { code, complaints } = await family.doctor("--fix");
  expect(code).toBe(1);
  const [hidden] = complaints("deleted-directories");
  expect(hidden?.advice).toContain(`kill ${family.kidPid}`);
  expect(hidden?.advice).toContain(`kill ${family.root.pid}`);
  for (const pid of [family.kidPid, family.root.pid]) process.kill(pid, "SIGTERM");
  await eventually(() => !isRunning(family.kidPid) && !isRunning(family.root.pid), "both end");
  expect((await family.doctor("--fix")).code).toBe(0);
  expect(await family.cli("ls")).toMatchObject({ code: 0, stdout: "no live pods\n" });
});

test("directories and files opened to others are refused or closed again", async () => {
  await using family = await liveFamily();
  const { runtime } = family.world;
  const modeOf = (...names: string[]): number => statSync(join(runtime, ...names)).mode & 0o777;
  chmodSync(runtime, 0o755);
  chmodSync(join(runtime, "kid"), 0o777);
  chmodSync(join(runtime, "kid", "sock"), 0o666);
  chmodSync(join(runtime, "pods.lock"), 0o644);
  chmodSync(join(runtime, "pods.json"), 0o000);
  expect(await family.refusedRoot()).toContain(`run: chmod 700 ${runtime}`);
  const { code, complaints } = await family.doctor();
  expect(code).toBe(1);
  expect(complaints("runtime-directory")[0]?.advice).toBe(`run: chmod 700 ${runtime}`);
  expect(complaints("registry-files")[0]?.finding).toContain("pods.lock (mode 0644)");
  expect(complaints("pod-files")[0]?.finding).toContain(join(runtime, "kid", "sock"));
  const fixed = await family.doctor("--fix");
  expect(fixed.code).toBe(0);
  expect(fixed.lines.filter(({ status }) => status === "fixed")).toHaveLength(5);
  expect([modeOf(), modeOf("kid"), modeOf("kid", "sock"), modeOf("pods.lock")]).toEqual([
    0o700, 0o700, 0o600, 0o600,
  ]);
  expect(await family.refusedRoot()).toMatch(CONFLICT);
  await family.goesOn("one");
});

test.skipIf(isRoot && Bun.which("setpriv") === null)(
  "an ordinary user's Pods survive a directory, registry or lock that is closed to themselves",
  async () => {
    await using family = await liveFamily({
      prepare: async (world) => {
        if (!isRoot) return undefined;
        // The binary may lie where nobody but root gets at it.
        const program = join(world.home, "pod");
        copyFileSync(podBinary(), program);
        chmodSync(program, 0o755);
        await Bun.$`chown -R 65534:65534 ${world.home}`.quiet();
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program];
      },
    });
    const { runtime } = family.world;
    for (const [path, mode, advice] of [
      [runtime, 0o700, `run: chmod 700 ${runtime}`],
      [join(runtime, "pods.json"), 0o600, "pod doctor --fix"],
      [join(runtime, "pods.lock"), 0o600, "pod doctor --fix"],
    ] as const) {
      chmodSync(path, 0);
      const refusal = await family.refusedRoot();
      expect(refusal).toContain(path);
      expect(refusal).toContain(advice);
      const { code, complaints } = await family.doctor();
      expect(code).toBe(1);
      expect(complaints().some((line) => line.finding.includes(path))).toBe(true);
      expect((await family.doctor("--fix")).code).toBe(0);
      expect(statSync(path).mode & 0o777).toBe(mode);
      expect(await family.refusedRoot()).toMatch(CONFLICT);
    }
    await family.goesOn("one");
    expect((await family.cli("stop", "one", "kid", "root")).code).toBe(0);
  },
);

test.skipIf(!isRoot)(
  "a full disk is named, keeps every scope, and is over when there is space",
  async () => {
    let disk: string | undefined;
    try {
      await using family = await liveFamily({
        prepare: async ({ runtime }) => {
          const made = await Bun.$`mount -t tmpfs -o size=512k,mode=700 tmpfs ${runtime}`
            .quiet()
            .nothrow();
          if (made.exitCode === 0) disk = runtime;
        },
      });
      if (disk === undefined) return; // no right to mount here
      const { runtime } = family.world;
      const filler = join(runtime, ".filler");
      await Bun.$`dd if=/dev/zero of=${filler} bs=4k`.quiet().nothrow();
      expect(await family.refusedRoot()).toMatch(/conflicts with pod|free some space/);
      expect(await family.task("spawn two")).toContain("free some space");
      const { code, complaints } = await family.doctor("--fix");
      expect(code).toBe(1);
      expect(complaints("runtime-space")).toMatchObject([{ status: "problem" }]);
      expect(existsSync(filler)).toBe(true);
      rmSync(filler);
      expect(await family.refusedRoot()).toMatch(CONFLICT);
      await family.goesOn("one");
      await family.world.stopAll();
      await Bun.$`umount ${runtime}`.quiet();
      disk = undefined;
    } finally {
      if (disk !== undefined) await Bun.$`umount -l ${disk}`.quiet().nothrow();
    }
  },
);

test("a foreign listener where a child would listen gets no task, and is named", async () => {
  await using family = await liveFamily();
  const { runtime } = family.world;
  const heard: string[] = [];
  mkdirSync(join(runtime, "one"), { mode: 0o700 });
  const listener = Bun.listen({
    unix: join(runtime, "one", "sock"),
    socket: { data: (_, bytes) => void heard.push(bytes.toString()) },
  });
  try {
    expect(await family.task("spawn one")).toContain("was not made by a pod");
    const { complaints } = await family.doctor("--fix");
    expect(complaints("orphaned-directories")).toMatchObject([
      { status: "warning", finding: "not made by a Pod, or not to be judged: one" },
    ]);
    expect(readdirSync(join(runtime, "one"))).toEqual(["sock"]);
    expect(heard).toEqual([]);
  } finally {
    listener.stop(true);
    rmSync(join(runtime, "one"), { recursive: true });
  }
  await family.goesOn("one");
});

test("a foreign listener in place of a live Pod is not taken for it, and the Pod can be stopped", async () => {
  await using family = await liveFamily();
  const socket = join(family.world.runtime, "kid", "sock");
  const heard: string[] = [];
  rmSync(socket);
  const listener = Bun.listen({
    unix: socket,
    socket: { data: (_, bytes) => void heard.push(bytes.toString()) },
  });
  try {
    expect((await family.cli("ls")).stdout).toMatch(/kid +unresponsive /);
    expect(await family.refusedRoot()).toMatch(CONFLICT);
    const { complaints } = await family.doctor();
    expect(complaints("answers")[0]?.finding).toContain(`kid (pid ${family.kidPid})`);
    expect(heard.join()).not.toContain('"run"');
  } finally {
    listener.stop(true);
  }
  expect((await family.cli("stop", "kid")).code).toBe(0);
  expect(isRunning(family.kidPid)).toBe(false);
});

test("forged events of children change nothing", async () => {
  await using family = await liveFamily();
  const { world, root } = family;
  const before = readFileSync(join(world.runtime, "pods.json"), "utf8");
  const forged: readonly PodEvent[] = [
    { kind: "shut_down", pod_name: "kid" },
    { kind: "shut_down", pod_name: "kid", instance: crypto.randomUUID() },
    { kind: "shut_down", pod_name: "root", instance: world.allocation("root")?.instance ?? "" },
    {
      kind: "scope_sub_delegated",
      parent_pod: "kid",
      sub_pod: "mole",
      sub_socket: join(world.home, "mole"),
      scope: [],
    },
  ];
  for (const params of forged) {
    const answer = request(
      root.socket,
      { method: "pod_event", id: "x", params },
      { timeoutMs: 5000, until: (event) => event.event === "ack" },
    );
    const text = await answer.then(JSON.stringify, String);
    expect(text).toContain("not from a known child");
  }
  expect(readFileSync(join(world.runtime, "pods.json"), "utf8")).toBe(before);
  expect(await family.refusedRoot()).toMatch(CONFLICT);
  expect((await family.doctor()).code).toBe(0);
  await family.goesOn("one");
});

test.skipIf(!isRoot)(
  "a runtime directory of somebody else is refused and never touched",
  async () => {
    await using family = await liveFamily();
    const { runtime } = family.world;
    await Bun.$`chown 65534 ${runtime}`.quiet();
    chmodSync(runtime, 0o755);
    expect(await family.refusedRoot()).toContain(
      `${runtime} belongs to user 65534, not to you (0)`,
    );
    const ls = await family.cli("ls");
    expect(ls.code).toBe(1);
    expect(ls.stderr).toContain("set INSOMNIA_RUNTIME_DIR to a directory of your own");
    const { code, complaints } = await family.doctor("--fix");
    expect(code).toBe(1);
    expect(complaints("runtime-directory")[0]?.finding).toContain("belongs to user 65534");
    expect(statSync(runtime)).toMatchObject({ uid: 65534 });
    expect(statSync(runtime).mode & 0o777).toBe(0o755);
    await Bun.$`chown 0 ${runtime}`.quiet();
    expect((await family.doctor("--fix")).code).toBe(0);
    await family.goesOn("one");
  },
);

test("who holds the registry lock for ever is named with how to let it go on", async () => {
  await using family = await liveFamily();
  await using holder = await actor();
  const path = join(family.world.runtime, "pods.lock");
  await holder.tell({ op: "grab", path });
  process.kill(holder.pid, "SIGSTOP");
  await eventually(
    () => /^State:\tT/m.test(readFileSync(`/proc/${holder.pid}/status`, "utf8")),
    "the holder is stopped",
  );
  const { code, complaints } = await family.doctor("--fix");
  expect(code).toBe(1);
  const [held] = complaints("registry-lock");
  expect(held?.finding).toContain(`process ${holder.pid}, which is stopped (`);
  expect(held?.advice).toContain(`kill -CONT ${holder.pid}`);
  expect(isRunning(holder.pid)).toBe(true);
  process.kill(holder.pid, "SIGCONT");
  await holder.tell({ op: "drop", path });
  expect((await family.doctor()).code).toBe(0);
});

test("a lock file replaced under its holder is named, and no Pod loses its scope", async () => {
  await using family = await liveFamily();
  await using holder = await actor();
  const path = join(family.world.runtime, "pods.lock");
  await holder.tell({ op: "grab", path });
  writeFileSync(`${path}.new`, "", { mode: 0o600 });
  renameSync(`${path}.new`, path);
  expect(await family.refusedRoot()).toMatch(CONFLICT);
  const { code, complaints } = await family.doctor();
  expect(code).toBe(0);
  expect(complaints("registry-lock")[0]?.finding).toContain(`under process ${holder.pid}`);
  await family.goesOn("one");
});
