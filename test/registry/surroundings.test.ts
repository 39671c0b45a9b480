import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import {
  networkKind,
  otherRegistries,
  surroundingWarnings,
} from "../../src/registry/surroundings.ts";
import { connectPod } from "../../src/transport/client.ts";
import { startWorld } from "../support/pod.ts";
import { temp } from "../support/temp.ts";
import { deadOwner, entry, rule } from "./entries.ts";
import { save } from "./stored.ts";

test("another runtime directory counts while a Pod in it may live, and the own one never (W8)", async () => {
  await using dir = temp();
  const path = dir.join(".insomnia", "run");
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const env = { HOME: dir.path };
  const dead = entry("dead", [rule("/d")], { owner: await deadOwner() });
  save(path, dead);
  expect(otherRegistries(env, dir.join("here"))).toEqual([]);
  save(path, dead, entry("live", [rule("/l")]));
  expect(otherRegistries(env, dir.join("here"))).toEqual([{ path, pods: ["live"] }]);
  expect(otherRegistries(env, path)).toEqual([]);
  expect(surroundingWarnings(env, dir.path)).toEqual([
    expect.stringContaining(`other pods are registered in ${path} (live) and do not see this one`),
  ]);
});

test("network file systems are known by their number, local ones are none (W6)", () => {
  expect(networkKind(0x6969)).toBe("NFS");
  expect(networkKind(0xff534d42 | 0)).toBe("CIFS"); // as a signed number
  expect(networkKind(0xef53)).toBeUndefined();
});

test("a root that starts beside another registry with live Pods says so, a child does not (W8)", async () => {
  await using world = startWorld();
  const elsewhere = `${world.home}/.insomnia/run`;
  mkdirSync(elsewhere, { recursive: true, mode: 0o700 });
  mkdirSync(`${world.work}/kid`);
  save(elsewhere, entry("stranger", [rule("/s")]));
  const call = {
    tool: "SpawnPod",
    input: {
      name: "kid",
      task: "t",
      scope: [{ target: `${world.work}/kid`, permission: "write" }],
    },
  };
  const root = await world.start({
    rules: [{ pod: "root", match: "^go$", calls: [call] }, { text: "ok" }],
  });
  const told = root.events.flatMap((event) =>
    event.event === "alert" ? [event.data.message] : [],
  );
  expect(told).toEqual([expect.stringContaining(`registered in ${elsewhere} (stranger)`)]);
  await root.runToEnd("go");
  await using kid = await connectPod(world.allocation("kid")?.socket ?? "", { timeoutMs: 5000 });
  await kid.send({ method: "status" });
  // Alerts of the past come before any answer.
  const seen: string[] = [];
  while (seen.at(-1) !== "status") seen.push((await kid.next(5000))?.event ?? "the end");
  expect(seen).not.toContain("alert");
});
