import { describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { listenPrivately } from "../../src/transport/server.ts";
import { within } from "../support/temp.ts";
import { alert, delta, serve, STATUS } from "./harness.ts";
import { connectRaw, type RawClient } from "./raw-client.ts";

const DEADLINE_MS = 10_000;

describe("socket file", () => {
  test("a server is reached at its path, mode 0600, and leaves nothing when it closes", async () => {
    await using pod = serve();
    expect(statSync(pod.path).mode & 0o777).toBe(0o600);
    await pod.connect();
    expect(pod.server.connectionCount).toBe(1);
    await pod.server.close();
    expect(existsSync(pod.path)).toBe(false);
    expect(pod.server.connectionCount).toBe(0);
  });

  test("an older server's close leaves the newer server reachable", async () => {
    await using pod = serve();
    const newer = listenPrivately({
      path: pod.path,
      handlers: {
        onMethod: (connection) => connection.send({ event: "ack", data: { id: "new" } }),
      },
    });
    await pod.server.close();
    using client = await connectRaw(pod.path);
    await client.write(STATUS);
    expect(await client.line()).toBe('{"event":"ack","data":{"id":"new"}}');
    client.terminate();
    await newer.close();
    expect(existsSync(pod.path)).toBe(false);
  });
});

describe("who is served", () => {
  test.skipIf(process.platform !== "linux")(
    "a process that can never gain privileges is refused, as is one that is gone",
    async () => {
      const restricted = Bun.spawn(["setpriv", "--no-new-privs", "cat"], {
        stdin: "pipe",
        stdout: "pipe",
      });
      try {
        restricted.stdin.write("here\n");
        await restricted.stdin.flush();
        const { value } = await restricted.stdout.getReader().read(); // it is `cat` now, with the mark
        expect(Buffer.from(value ?? []).toString()).toBe("here\n");
        let pid = restricted.pid;
        await using pod = serve({ peer: () => ({ pid, user: process.geteuid?.() ?? 0 }) });
        const first = await pod.connect();
        expect((await first.rest()).join()).toContain("confined processes");
        restricted.kill();
        await restricted.exited;
        const second = await pod.connect();
        expect((await second.rest()).join()).toContain("is gone");
        pid = process.ppid;
        const third = await pod.connect();
        await third.write(STATUS);
        await pod.until(() => pod.methods.length === 1, "a method");
      } finally {
        restricted.kill("SIGKILL");
        await restricted.exited;
      }
    },
  );

  test("another user is refused with a reason, root and the owner are not", async () => {
    let user: number | undefined = 12_345;
    await using pod = serve({
      peer: () => (user === undefined ? undefined : { pid: process.pid, user }),
    });
    const stranger = await pod.connect();
    expect(await stranger.rest()).toEqual([
      '{"event":"error","data":{"code":"internal","message":"user 12345 is not the owner of this pod"}}',
    ]);
    for (const allowed of [0, process.geteuid?.(), undefined]) {
      user = allowed;
      const client = await connectRaw(pod.path);
      await client.write(STATUS);
      client.terminate();
    }
    await pod.until(() => pod.methods.length === 3, "three methods");
    expect(pod.opened).toHaveLength(3);
  });

  test("one connection over the limit is told and closed, and a place that is left is free", async () => {
    await using pod = serve({ maxConnections: 2 });
    const first = await pod.connect();
    await pod.connect();
    const third = await pod.connect();
    expect(await third.rest()).toEqual([
      '{"event":"error","data":{"code":"internal","message":"too many connections (limit 2)"}}',
    ]);
    first.terminate();
    await pod.until(() => pod.closed.length === 1, "the first client to be gone");
    const fourth = await connectRaw(pod.path);
    await fourth.write(STATUS);
    await pod.until(() => pod.methods.length === 1, "the fourth client to be heard");
    fourth.terminate();
  });
});

describe("output", () => {
  test("the prelude comes first", async () => {
    await using pod = serve({}, undefined, [alert, delta("prelude")]);
    const client = await pod.connect();
    pod.server.broadcast(delta("live"));
    expect(await client.line()).toContain("alert");
    expect(await client.line()).toContain("prelude");
    expect(await client.line()).toContain("live");
  });

  test("two clients see the broadcasts in the same order, with replies in between", async () => {
    await using pod = serve({}, (connection) => connection.send(delta("reply")));
    const clients = [await pod.connect(), await pod.connect()];
    for (let i = 0; i < 500; i += 1) {
      pod.server.broadcast(delta(`b${i}`));
      if (i % 50 === 0) await clients[i % 100 === 0 ? 0 : 1]?.write(STATUS);
    }
    await pod.until(() => pod.methods.length === 10, "all methods");
    await pod.server.close();
    const expected = Array.from({ length: 500 }, (_, i) => JSON.stringify(delta(`b${i}`)));
    for (const client of clients) {
      const lines = await client.rest();
      expect(lines.filter((line) => line.includes("reply"))).toHaveLength(5);
      expect(lines.filter((line) => !line.includes("reply"))).toEqual(expected);
    }
  });

  test("a client that never reads is dropped alone while the others get everything", async () => {
    await using pod = serve({ maxQueueBytes: 256 * 1024, lingerMs: 300 });
    await pod.connect(true);
    const readers = [await pod.connect(), await pod.connect()];
    const text = "z".repeat(10_000);
    for (let i = 0; i < 400; i += 1) {
      pod.server.broadcast(delta(`${i} ${text}`));
      for (const reader of readers) {
        expect(await reader.line()).toStartWith(`{"event":"text_delta","data":{"text":"${i} `);
      }
    }
    await pod.until(() => pod.closed.length === 1, "the silent client to be dropped");
    expect(pod.closed).toEqual([1]);
    expect(pod.server.connectionCount).toBe(2);
    expect(pod.logged).toEqual(["client 1 does not read its events and is disconnected"]);
  });

  test("a client that fell too far behind gets whole lines, the reason, and the end (W11)", async () => {
    await using pod = serve({ maxQueueBytes: 256 * 1024 });
    const late = await pod.connect(true);
    const text = "z".repeat(10_000);
    for (let i = 0; i < 400; i += 1) pod.server.broadcast(delta(`${i} ${text}`));
    late.resume();
    const lines = await late.rest();
    expect(lines.at(-1)).toContain("disconnected: more than 262144 bytes of events were not read");
    lines
      .slice(0, -1)
      .forEach((line, i) => expect(line).toBe(JSON.stringify(delta(`${i} ${text}`))));
    expect(lines.length).toBeLessThan(400);
    await pod.until(() => pod.closed.length === 1, "the late client to be closed");
  });

  test("a client that reads late, within the bound, gets every line whole", async () => {
    await using pod = serve();
    const client = await pod.connect(true);
    for (let i = 0; i < 2000; i += 1) pod.server.broadcast(delta(`${i} ${"q".repeat(2000)}`));
    client.resume();
    for (let i = 0; i < 2000; i += 1) {
      expect(await client.line()).toBe(JSON.stringify(delta(`${i} ${"q".repeat(2000)}`)));
    }
  });

  test("clients together make the server hold a bounded amount; the one too many is told (W14)", async () => {
    const answer = delta("a".repeat(1_000_000));
    await using pod = serve({ maxHeldBytes: 3_500_000, lingerMs: 500 }, (connection) =>
      connection.send(answer),
    );
    const mute = [await pod.connect(true), await pod.connect(true), await pod.connect(true)];
    for (const client of mute) await client.write(STATUS);
    await pod.until(() => pod.methods.length === 3, "three methods");
    // A long line that is not complete counts as well.
    const long = await pod.connect();
    await long.write("x".repeat(900_000)).catch(() => undefined); // refused half way
    expect(await long.rest()).toEqual([
      '{"event":"error","data":{"code":"internal","message":"invalid method: ' +
        'too many long lines are under way; send it again later"}}',
    ]);
    const late = await pod.connect();
    await late.write(STATUS);
    expect((await late.rest()).join()).toContain(
      "disconnected: too many large answers are waiting",
    );
    // Who reads makes room.
    for (const client of mute) client.resume();
    for (const client of mute) expect(await client.line()).toBe(JSON.stringify(answer));
    const again = await pod.connect();
    await again.write(STATUS);
    expect(await again.line()).toBe(JSON.stringify(answer));
  });

  test("a client that is gone can be sent to without effect", async () => {
    await using pod = serve();
    const client = await pod.connect();
    client.terminate();
    await pod.until(() => pod.closed.length === 1, "the client to be gone");
    pod.opened[0]?.send(delta("nobody"));
    pod.server.broadcast(delta("nobody"));
    expect(pod.logged).toEqual([]);
  });
});

describe("close", () => {
  test("the shutdown event reaches all of 300 clients, also those who read late (protocol 14, W13)", async () => {
    await using pod = serve();
    const clients: RawClient[] = [];
    for (let i = 0; i < 300; i += 1) clients.push(await pod.connect(i % 10 === 0));
    for (let i = 0; i < 20; i += 1) pod.server.broadcast(delta(String(i)));
    pod.server.broadcast({ event: "shutdown" });
    await within(pod.server.close(), DEADLINE_MS, "close");
    for (const client of clients) {
      client.resume();
      const lines = await client.rest();
      expect(lines).toHaveLength(21);
      expect(lines[20]).toBe('{"event":"shutdown"}');
    }
    expect(pod.closed).toHaveLength(300);
  });

  test("close flushes megabytes to a client that reads and gives up on one that does not", async () => {
    await using pod = serve();
    const reader = await pod.connect();
    await pod.connect(true);
    const big = delta("x".repeat(5_000_000));
    pod.server.broadcast(big);
    pod.server.broadcast({ event: "shutdown" });
    const start = performance.now();
    await pod.server.close({ flushMs: 2000 }); // ample for the one that reads, on a busy machine
    expect(performance.now() - start).toBeWithin(1950, 8000);
    const lengths = (await reader.rest()).map((line) => line.length);
    expect(lengths).toEqual([JSON.stringify(big).length, 20]);
    expect(pod.closed).toHaveLength(2);
  });

  test("close answers a second caller, and methods that come later are not handled", async () => {
    await using pod = serve();
    const client = await pod.connect(true);
    pod.server.broadcast(delta("x".repeat(1_000_000)));
    const closing = pod.server.close();
    expect(pod.server.close()).toBe(closing);
    await client.write(STATUS);
    client.resume();
    await closing;
    expect(pod.methods).toEqual([]);
  });
});
