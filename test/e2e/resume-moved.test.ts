/** Links that were put in the place of recorded paths while a Pod was dead: no scope moves with them. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { eventually, startWorld, type World } from "../support/pod.ts";
import { command, killAll, sessions, startTree } from "./returning.ts";

/** Moves a directory aside and puts a link to `target` in its place; the result undoes both. */
function replaceByLink(path: string, target: string): () => void {
  renameSync(path, `${path}.old`);
  symlinkSync(target, path);
  return () => {
    rmSync(path);
    renameSync(`${path}.old`, path);
  };
}

async function logOf(world: World, name: string): Promise<string> {
  const row = (await sessions(world)).find((session) => session.name === name);
  return readFileSync(row?.path ?? "", "utf8");
}

const scopes = (world: World, names: readonly string[]) =>
  names.map((name) => world.allocation(name)?.scope_allow);

test("a Pod whose directory became a link does not come back alone, and nothing of it is recorded", async () => {
  await using world = startWorld();
  await startTree(world);
  const [before] = scopes(world, ["leaf"]);
  await killAll(world);
  const recorded = await logOf(world, "leaf");
  const [path, secret] = [join(world.work, "a/b"), join(world.home, "secret")];
  mkdirSync(secret);
  const putBack = replaceByLink(path, secret);
  const refused = await world.cli("resume", "leaf");
  expect([refused.stdout, refused.code]).toEqual(["", 1]);
  expect(refused.stderr).toContain(`${path} leads to ${secret} now`);
  expect(refused.stderr).toContain("remove the link");
  expect(world.allocation("leaf")).toBeUndefined();
  expect(await logOf(world, "leaf")).toBe(recorded);
  putBack();
  expect((await world.cli("resume", "leaf")).code).toBe(0);
  expect(scopes(world, ["leaf"])).toEqual([before]);
});

test("a child whose directory became a link is named by its parent and has its old scope when that is mended", async () => {
  await using world = startWorld();
  await startTree(world);
  const names = ["root", "mid", "leaf"];
  const before = scopes(world, names);
  await killAll(world);
  const [path, other] = [join(world.work, "a"), join(world.work, "c")];
  mkdirSync(join(other, "b"), { recursive: true });
  const putBack = replaceByLink(path, other);
  const refused = await world.cli("resume", "root", "--tree");
  expect([refused.stderr, refused.code]).toEqual([
    expect.stringContaining(`${path} leads to ${other} now`),
    1,
  ]);
  expect(refused.stderr).toContain("not all came back: pod `mid`");
  expect(world.registry.peek().map(({ pod_name }) => pod_name)).toEqual(["root"]);
  putBack();
  const mended = await world.cli("resume", "root", "--tree");
  expect([mended.stderr, mended.code]).toEqual(["", 0]);
  expect(scopes(world, names)).toEqual(before);
});

test("a root whose directory or whose denied path became a link does not come back", async () => {
  await using world = startWorld();
  const secret = join(world.work, "secret");
  mkdirSync(secret);
  const root = await world.start({
    command,
    rules: [{ text: "ok" }],
    scope: {
      allow: [{ target: world.work, permission: "write", recursive: true }],
      deny: [{ target: secret, permission: "read", recursive: true }],
    },
  });
  await root.runToEnd("hello");
  const { scope_allow, scope_deny } = world.allocation("root") ?? {};
  await killAll(world);
  const recorded = await logOf(world, "root");
  const elsewhere = join(world.home, "elsewhere");
  mkdirSync(elsewhere);
  for (const path of [secret, world.work]) {
    const putBack = replaceByLink(path, elsewhere);
    const refused = await world.cli("resume", "root");
    putBack();
    expect([refused.stderr, refused.code]).toEqual([
      expect.stringContaining(`${path} leads to ${elsewhere} now`),
      1,
    ]);
    expect(world.registry.peek()).toEqual([]);
    expect(await logOf(world, "root")).toBe(recorded);
  }
  expect((await world.cli("resume", "root")).code).toBe(0);
  expect(world.allocation("root")).toMatchObject({ scope_allow, scope_deny });
});

test("a root whose manifest names a link keeps the place that it led to, whatever it leads to later", async () => {
  await using world = startWorld();
  const [link, first, second] = ["link", "first", "second"].map((name) => join(world.home, name));
  mkdirSync(first ?? "");
  mkdirSync(second ?? "");
  symlinkSync(first ?? "", link ?? "");
  const target = link ?? "";
  const root = await world.start({
    command,
    rules: [{ text: "ok" }],
    scope: {
      allow: [
        { target, permission: "write", recursive: true },
        { target: world.work, permission: "read", recursive: true },
      ],
    },
  });
  await root.runToEnd("hello");
  await killAll(world);
  expect((await world.cli("resume", "root")).code).toBe(0);
  await killAll(world);
  rmSync(target);
  symlinkSync(second ?? "", target);
  const back = await world.cli("resume", "root");
  expect([back.stderr, back.code]).toEqual(["", 0]);
  expect(world.allocation("root")?.scope_allow[0]?.target).toBe(first);
});

test("no rule is taken for another one when links in a manifest have changed places", async () => {
  await using world = startWorld();
  const [ro, rw, one, two] = ["ro", "rw", "one", "two"].map((name) => join(world.home, name));
  for (const path of [ro, rw]) mkdirSync(path ?? "");
  symlinkSync(rw ?? "", one ?? "");
  symlinkSync(ro ?? "", two ?? "");
  const rule = (target = "", permission: "read" | "write" = "write") => ({
    target,
    permission,
    recursive: true,
  });
  const root = await world.start({
    command,
    rules: [{ text: "ok" }],
    scope: { allow: [rule(world.work), rule(one), rule(two, "read")] },
  });
  await root.runToEnd("hello");
  const before = world.allocation("root")?.scope_allow;
  await killAll(world);
  rmSync(one ?? "");
  symlinkSync(ro ?? "", one ?? "");
  expect((await world.cli("resume", "root")).code).toBe(0);
  expect(world.allocation("root")?.scope_allow).toEqual(before);
});

test("a child is not brought back while a path that it is denied leads elsewhere", async () => {
  await using world = startWorld();
  const path = join(world.work, "a/secret");
  mkdirSync(path, { recursive: true });
  const root = await startTree(world, [{ target: path, permission: "read", recursive: true }]);
  const elsewhere = join(world.home, "elsewhere");
  mkdirSync(elsewhere);
  process.kill(world.allocation("mid")?.pid ?? 0, "SIGKILL");
  await eventually(() => world.allocation("mid")?.instance === undefined, "its end");
  const putBack = replaceByLink(path, elsewhere);
  const refused = await world.cli("resume", "mid");
  expect([refused.stderr, refused.code]).toEqual([
    expect.stringContaining(`${path} leads to ${elsewhere} now`),
    1,
  ]);
  putBack();
  expect((await world.cli("resume", "mid")).code).toBe(0);
  expect(world.allocation("mid")?.delegated_from).toBe(root.name);
});
