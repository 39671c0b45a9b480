/** Policies as they may come to a Pod: from another version, on a system that can filter nothing. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import type { SandboxPolicy } from "../../src/sandbox/confinement.ts";
import { supportOf } from "../../src/sandbox/landlock.ts";
import { eventually } from "../support/pod.ts";
import { CONFINES, ENFORCE, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

const SOCKET = `python3 -c 'import socket, sys; socket.socket(getattr(socket, sys.argv[1]))' `;

describe.skipIf(!CONFINES)("a key that a manifest of another version does not have", () => {
  test.each([
    ["local_sockets", "AF_UNIX"],
    ["network", "AF_INET"],
  ] as const)("opens nothing: %s", async (key, family) => {
    const { [key]: _, ...policy } = ENFORCE;
    await using closed = shellBench({ more: { policy: policy as SandboxPolicy } });
    expect((await closed.bash(SOCKET + family)).content).toContain("PermissionError");
    await using open = shellBench({ policy: { [key]: "allow" } });
    expect((await open.bash(`${SOCKET + family} && echo made`)).content).toBe("made\n");
  });
});

test("what a child held when a command started may be written by it once it is moved there: it is not handed over again", async () => {
  await using bench = shellBench();
  const [held, other] = [`${bench.root}/held`, `${bench.root}/other`];
  for (const path of [held, other]) mkdirSync(path);
  bench.scope.setDelegated([rule("write", held)]);
  // The kernel lets a command write a directory wherever that is moved to.
  const loop = "while sleep 0.02; do echo x >other/f 2>/dev/null || echo x >held/other/f; done";
  await bench.bash(loop, { run_in_background: true });
  bench.scope.setDelegated([]);
  expect(bench.scope.writersIn([rule("write", held)])).toHaveLength(1);
  await bench.bash("mv other held/other");
  const moved = `${held}/other/f`;
  if (CONFINES) {
    rmSync(moved, { force: true });
    await eventually(() => existsSync(moved), "a write of the command that runs on");
  }
  await bench.call("KillBash", { bash_id: "bash_1" });
  expect(bench.scope.writersIn([rule("write", held)])).toEqual([]);
});

test("where nothing filters system calls, no result says that local sockets are closed", async () => {
  await using bench = shellBench({
    policy: { mode: "warn" },
    support: supportOf(0),
    more: { trampoline: () => undefined },
  });
  const { content } = await bench.bash("echo 'socket: Permission denied'");
  expect(content).toContain("Permission denied");
  expect(content).not.toContain("local (Unix) sockets");
});
