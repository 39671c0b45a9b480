import { describe, expect, test } from "bun:test";
import type { Method } from "../../src/protocol/method.ts";
import { alert, delta, note, serve, STATUS } from "./harness.ts";
import { connectRaw } from "./raw-client.ts";

const invalid = (text: string, id?: string): string =>
  JSON.stringify({
    event: "error",
    data: { code: "internal", message: `invalid method: ${text}`, ...(id ? { id } : {}) },
  });

const messagesOf = (methods: readonly Method[]): string[] =>
  methods.map((method) => (method.method === "notify" ? method.params.message : method.method));

describe("one-shot messages", () => {
  test("300 of 300 are heard when the sender closes at once, before the prelude reaches it (protocol 13, W1)", async () => {
    await using pod = serve({}, undefined, [alert, alert]);
    for (let i = 0; i < 300; i += 1) {
      const client = await connectRaw(pod.path);
      void client.write(note(String(i)));
      client.terminate();
    }
    await pod.until(() => pod.closed.length === 300, "300 clients to be gone");
    expect(messagesOf(pod.methods)).toEqual(Array.from({ length: 300 }, (_, i) => String(i)));
    expect(pod.logged).toEqual([]);
  });

  test("300 of 300 are heard when the sender closes with the prelude unread", async () => {
    await using pod = serve({}, undefined, [alert, alert]);
    for (let i = 0; i < 300; i += 1) {
      const client = await pod.connect(true);
      await client.write(note(String(i)));
      client.terminate(); // unread input: the server sees a reset
    }
    await pod.until(() => pod.closed.length === 300, "300 clients to be gone");
    expect(pod.methods).toHaveLength(300);
  });

  test("a message is heard although the sender took nothing of a full output", async () => {
    await using pod = serve({}, undefined, [delta("x".repeat(4_000_000))]);
    const client = await pod.connect(true);
    await client.write(note("a") + note("b").trimEnd()); // and without the last line end
    client.terminate();
    await pod.until(() => pod.closed.length === 1, "the client to be gone");
    expect(messagesOf(pod.methods)).toEqual(["a", "b"]);
  });

  test("a megabyte that is sent and closed at once is heard under broadcast load", async () => {
    await using pod = serve({}, undefined, [alert]);
    const load = setInterval(() => pod.server.broadcast(delta("load")), 0);
    try {
      for (let i = 0; i < 10; i += 1) {
        const client = await pod.connect(true);
        await client.write(note("y".repeat(1_000_000)) + note("end"));
        client.terminate();
      }
      await pod.until(() => pod.closed.length === 10, "10 clients to be gone");
    } finally {
      clearInterval(load);
    }
    expect(messagesOf(pod.methods).filter((message) => message === "end")).toHaveLength(10);
  });
});

describe("input", () => {
  test("a line in two pieces is decoded while events are broadcast in between (protocol 14, W4)", async () => {
    await using pod = serve();
    const client = await pod.connect();
    const line = note("in «two» pieces");
    const bytes = Buffer.from(line);
    for (const cut of [1, 30, bytes.indexOf(0xc2) + 1, bytes.length - 1]) {
      await client.write(bytes.subarray(0, cut));
      for (let i = 0; i < 20; i += 1) {
        pod.server.broadcast(delta(String(i)));
        expect(await client.line()).toContain("text_delta");
      }
      await client.write(bytes.subarray(cut));
    }
    await pod.until(() => pod.methods.length === 4, "four methods");
    expect(new Set(messagesOf(pod.methods))).toEqual(new Set(["in «two» pieces"]));
  });

  test("a bad line is answered to its sender alone and the connection stays usable (protocol 11, W2, W69)", async () => {
    await using pod = serve({}, (connection) =>
      connection.send({ event: "ack", data: { id: "ok" } }),
    );
    const bad = await pod.connect();
    const other = await pod.connect();
    await bad.write('{"method":"dance","id":"r1"}\n{oops\n');
    await bad.write(Buffer.concat([Buffer.from([0x22, 0xff, 0x22, 0x0a]), Buffer.from(STATUS)]));
    const first = await bad.line();
    expect(first).toStartWith(
      '{"event":"error","data":{"code":"internal","message":"invalid method: ',
    );
    expect(first).toEndWith(',"id":"r1"}}');
    expect(await bad.line()).toStartWith(
      '{"event":"error","data":{"code":"internal","message":"inv',
    );
    expect(await bad.line()).toBe(invalid("not valid UTF-8"));
    expect(await bad.line()).toBe('{"event":"ack","data":{"id":"ok"}}');
    pod.server.broadcast(delta("for all"));
    expect(await other.line()).toContain("for all");
  });

  test("a line over the limit is answered and only that connection is closed", async () => {
    await using pod = serve({ maxLineBytes: 1000 });
    const endless = await pod.connect();
    const other = await pod.connect();
    await endless.write("x".repeat(1001));
    expect(await endless.rest()).toEqual([invalid("line longer than 1000 bytes")]);
    await other.write(STATUS);
    await pod.until(() => pod.methods.length === 1, "the other client to be heard");
  });

  test("a client that closes with unread events disturbs nobody", async () => {
    await using pod = serve();
    const rude = await pod.connect(true);
    const other = await pod.connect();
    pod.server.broadcast(delta("one"));
    expect(await other.line()).toContain("one");
    rude.terminate();
    await pod.until(() => pod.closed.length === 1, "the rude client to be gone");
    pod.server.broadcast(delta("two"));
    expect(await other.line()).toContain("two");
    expect(pod.logged).toEqual([]);
  });

  test("a handler that throws or rejects is logged, answered, and harms no later method", async () => {
    await using pod = serve({}, (connection, method) => {
      if (method.method === "pause") throw new Error("thrown");
      if (method.method === "cancel") return Promise.reject(new Error("rejected"));
      connection.send({ event: "ack", data: { id: "fine" } });
      return undefined;
    });
    const client = await pod.connect();
    await client.write('{"method":"pause","id":"p"}\n{"method":"cancel","id":"c"}\n');
    const error = (message: string, id: string): string =>
      `{"event":"error","data":{"code":"internal","message":"${message}","id":"${id}"}}`;
    expect(await client.line()).toBe(error("thrown", "p"));
    expect(await client.line()).toBe(error("rejected", "c"));
    await client.write(STATUS);
    expect(await client.line()).toBe('{"event":"ack","data":{"id":"fine"}}');
    expect(pod.logged).toEqual(["method pause failed", "method cancel failed"]);
  });
});

describe("half-close", () => {
  test("replies to what was sent before are flushed whole, then the connection ends", async () => {
    const big = delta("x".repeat(8_000_000));
    await using pod = serve({}, (connection) => connection.send(big));
    const client = await pod.connect();
    await client.write(STATUS.repeat(2).trimEnd());
    client.halfClose();
    const lines = await client.rest();
    const { length } = JSON.stringify(big);
    expect(lines.map((line) => line.length)).toEqual([length, length]);
    await pod.until(() => pod.closed.length === 1, "the connection to be closed");
  });

  test("a reply that takes time is waited for; broadcasts are not sent any more", async () => {
    const slow = Promise.withResolvers<void>();
    await using pod = serve({}, async (connection) => {
      await slow.promise;
      connection.send(delta("late reply"));
    });
    const client = await pod.connect();
    const watcher = await pod.connect();
    await client.write(STATUS);
    client.halfClose();
    await pod.until(() => pod.methods.length === 1, "the method");
    // The end of the input arrives behind the method; a round trip of another client is later.
    await watcher.write('{"bad"\n');
    await watcher.line();
    pod.server.broadcast(delta("broadcast"));
    slow.resolve();
    expect(await client.rest()).toEqual([JSON.stringify(delta("late reply"))]);
    expect(await watcher.line()).toContain("broadcast");
  });
});
