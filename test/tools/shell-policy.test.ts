/** Policies as they may come to a Pod: from another version, on a system that can filter nothing. */
import { describe, expect, test } from "bun:test";
import type { SandboxPolicy } from "../../src/sandbox/confinement.ts";
import { supportOf } from "../../src/sandbox/landlock.ts";
import { CONFINES, ENFORCE, shellBench } from "./shell-support.ts";

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
