import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { isPodError, PodError } from "../../src/base/errors.ts";
import type { Event } from "../../src/protocol/event.ts";
import type { Method } from "../../src/protocol/method.ts";
import { connectPod, deliver, request } from "../../src/transport/client.ts";
import { ClientConnection, type ClientSocket } from "../../src/transport/client-connection.ts";
import { encodeLine, MAX_LINE_BYTES } from "../../src/transport/jsonl.ts";
import type { Connection } from "../../src/transport/server.ts";
import { temp, within } from "../support/temp.ts";
import { delta, serve } from "./harness.ts";

const LIMIT = { timeoutMs: 10_000 };
const status: Method = { method: "status" };

async function rejection(promise: Promise<unknown>): Promise<PodError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof PodError) return error;
  throw new Error(`not a PodError: ${String(error)}`);
}

/** A listener that does as told and nothing else. */
function bare(path: string, open: (socket: Bun.Socket<undefined>) => void): Disposable {
  const listener = Bun.listen<undefined>({
    unix: path,
    allowHalfOpen: true,
    socket: { open, data: () => undefined },
  });
  return { [Symbol.dispose]: () => listener.stop(true) };
}

/** Writes all of `bytes`, however much the kernel takes at a time. */
function answering(path: string, bytes: Uint8Array, end: boolean): Disposable {
  const rest = new Map<Bun.Socket<undefined>, Uint8Array>();
  const pump = (socket: Bun.Socket<undefined>): void => {
    const left = rest.get(socket) ?? bytes;
    const taken = Math.max(0, socket.write(left));
    rest.set(socket, left.subarray(taken));
    if (taken === left.length && end) socket.end();
  };
  const listener = Bun.listen<undefined>({
    unix: path,
    allowHalfOpen: true,
    socket: { open: pump, drain: pump, data: () => undefined },
  });
  return { [Symbol.dispose]: () => listener.stop(true) };
}

/** A client on a socket that takes everything and only notes what is asked of it. */
function fake(): { readonly client: ClientConnection; readonly calls: string[] } {
  const calls: string[] = [];
  const client = new ClientConnection(0);
  const closing = (name: string) => (): void => {
    calls.push(name);
    client.socketClosed();
  };
  const socket: ClientSocket = {
    write: (data) => data.length,
    end: closing("end"),
    terminate: closing("terminate"),
    shutdown: closing("shutdown"), // a Pod answers a half-close by closing
    pause: () => void calls.push("pause"),
    resume: () => void calls.push("resume"),
    unref: () => void calls.push("unref"),
  };
  client.opened(socket);
  return { client, calls };
}

const acknowledge = (connection: Connection, method: Method): void => {
  if (method.id !== undefined) connection.send({ event: "ack", data: { id: method.id } });
};

describe("connecting", () => {
  test("a missing path fails with the system's text", async () => {
    await using dir = temp();
    const error = await rejection(connectPod(dir.join("sock"), LIMIT));
    expect(error.code).toBe("unreachable");
    expect(error.message).toBe("connect: no such file or directory (ENOENT)");
    expect(error.data).toEqual({ errno: "ENOENT" });
  });

  test("a socket whose server was killed is refused, and a new server takes its place", async () => {
    await using dir = temp();
    const path = dir.join("sock");
    const script = `Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); console.log("up")`;
    const dying = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    await within(dying.stdout.getReader().read(), LIMIT.timeoutMs, "the server to come up");
    dying.kill("SIGKILL");
    await dying.exited;
    const error = await rejection(connectPod(path, LIMIT));
    expect(error.message).toBe("connect: connection refused (ECONNREFUSED)");
    writeFileSync(dir.join("other"), "");
    expect((await rejection(connectPod(dir.join("other"), LIMIT))).code).toBe("unreachable");
  });

  test("a path that no socket can have is named", async () => {
    const error = await rejection(connectPod(`/tmp/${"x".repeat(200)}`, LIMIT));
    expect(error.code).toBe("path_too_long");
  });

  test("a withdrawn attempt is cancelled and leaves no connection", async () => {
    await using pod = serve();
    const signal = AbortSignal.abort();
    const error = await rejection(connectPod(pod.path, { ...LIMIT, signal }));
    expect(error.code).toBe("cancelled");
    await pod.until(() => pod.closed.length === pod.opened.length, "no connection");
  });

  test("a Pod that refuses says why", async () => {
    await using pod = serve({ maxConnections: 0 });
    const error = await rejection(request(pod.path, status, LIMIT));
    expect(error.code).toBe("unreachable");
    expect(error.message).toBe("connection closed before response: too many connections (limit 0)");
  });
});

describe("reading", () => {
  test("events come in order, unknown ones are skipped, the end is undefined", async () => {
    await using dir = temp();
    const bytes = Buffer.concat([
      encodeLine(delta("1")),
      encodeLine({ event: "from_the_future", data: 1 }),
      Buffer.from("garbage\n\xff\n", "latin1"),
      Buffer.from(JSON.stringify(delta("2"))),
    ]);
    using _server = answering(dir.join("sock"), bytes, true);
    await using client = await connectPod(dir.join("sock"), LIMIT);
    expect(await client.next(LIMIT.timeoutMs)).toEqual(delta("1"));
    expect(await client.next(LIMIT.timeoutMs)).toEqual(delta("2"));
    expect(await client.next(LIMIT.timeoutMs)).toBeUndefined();
    expect(await client.next(0)).toBeUndefined();
    await within(client.closed, LIMIT.timeoutMs, "closed");
  });

  test("the read limit holds and does not cost an event", async () => {
    await using pod = serve();
    await using client = await connectPod(pod.path, LIMIT);
    const error = await rejection(client.next(20));
    expect([error.code, error.message]).toEqual(["timed_out", "read timed out"]);
    const waiting = client.next(Number.POSITIVE_INFINITY);
    pod.server.broadcast(delta("after"));
    expect(await waiting).toEqual(delta("after"));
  });

  test("several waiting readers are served in turn", async () => {
    await using pod = serve();
    await using client = await connectPod(pod.path, LIMIT);
    const waiting = [client.next(10_000), client.next(10_000), client.next(10_000)];
    for (const text of ["a", "b"]) pod.server.broadcast(delta(text));
    await pod.server.close();
    expect(await Promise.all(waiting)).toEqual([delta("a"), delta("b"), undefined]);
  });

  test("a slow reader gets all of 16 MiB in order", async () => {
    await using dir = temp();
    const text = "e".repeat(1000);
    const lines = Array.from({ length: 16_000 }, (_, i) => encodeLine(delta(`${i} ${text}`)));
    using _server = answering(dir.join("sock"), Buffer.concat(lines), true);
    await using client = await connectPod(dir.join("sock"), LIMIT);
    let count = 0;
    for (let event = await client.next(10_000); event; event = await client.next(10_000)) {
      expect(event).toEqual(delta(`${count} ${text}`));
      count += 1;
      if (count % 100 === 0) await new Promise(setImmediate); // let the socket run ahead
    }
    expect(count).toBe(16_000);
  });

  test("about a megabyte of unread events pauses the socket, reading resumes it", async () => {
    const { client, calls } = fake();
    const event = delta("x".repeat(100_000));
    for (let i = 0; i < 10; i += 1) client.received(encodeLine(event));
    expect(calls).toEqual([]);
    for (let i = 0; i < 3; i += 1) client.received(encodeLine(event));
    expect(calls).toEqual(["pause"]);
    for (let i = 0; i < 7; i += 1) expect(await client.next(0)).toEqual(event);
    expect(calls).toEqual(["pause"]);
    expect(await client.next(0)).toEqual(event);
    expect(calls).toEqual(["pause", "resume"]);
  });

  test("an event over the line limit ends the connection with an error", async () => {
    await using dir = temp();
    const bytes = Buffer.concat([
      encodeLine(delta("first")),
      new Uint8Array(MAX_LINE_BYTES + 1).fill(0x78),
    ]);
    using _server = answering(dir.join("sock"), bytes, false);
    await using client = await connectPod(dir.join("sock"), LIMIT);
    expect(await client.next(LIMIT.timeoutMs)).toEqual(delta("first"));
    expect((await rejection(client.next(LIMIT.timeoutMs))).code).toBe("limit_reached");
    await within(client.closed, LIMIT.timeoutMs, "closed");
  });
});

describe("sending", () => {
  test("megabytes are sent whole and in order", async () => {
    await using pod = serve();
    await using client = await connectPod(pod.path, LIMIT);
    const notify = (message: string): Method => ({ method: "notify", params: { message } });
    const sent = ["a", "b", "c"].map((letter) => notify(letter.repeat(3_000_000)));
    await Promise.all(sent.map((method) => client.send(method)));
    await pod.until(() => pod.methods.length === 3, "three methods");
    expect(pod.methods).toEqual(sent);
  });

  test("the write limit holds against a Pod that does not read", async () => {
    await using dir = temp();
    using _server = bare(dir.join("sock"), (socket) => socket.pause());
    const client = await connectPod(dir.join("sock"), { timeoutMs: 100 });
    const big: Method = { method: "notify", params: { message: "w".repeat(4_000_000) } };
    const error = await rejection(client.send(big));
    expect([error.code, error.message]).toEqual(["timed_out", "write timed out"]);
    await within(client.closed, LIMIT.timeoutMs, "closed");
    expect((await rejection(client.send(status))).message).toBe("write: connection closed");
  });

  test("sending to a Pod that has closed fails with the text", async () => {
    await using pod = serve();
    await using client = await connectPod(pod.path, LIMIT);
    await pod.until(() => pod.opened.length === 1, "the connection");
    await pod.server.close();
    await within(client.closed, LIMIT.timeoutMs, "closed");
    const error = await rejection(client.send(status));
    expect([error.code, error.message]).toEqual(["unreachable", "write: connection closed"]);
  });

  test("a message that no Pod would take is refused and the connection stays usable", async () => {
    await using pod = serve();
    await using client = await connectPod(pod.path, LIMIT);
    const big: Method = { method: "notify", params: { message: "w".repeat(MAX_LINE_BYTES) } };
    expect((await rejection(client.send(big))).code).toBe("limit_reached");
    await client.send(status);
    await pod.until(() => pod.methods.length === 1, "the second method");
  });
});

describe("closing", () => {
  test("what was sent before close is heard, under load and with a prelude", async () => {
    await using pod = serve({}, undefined, [delta("prelude")]);
    for (let i = 0; i < 300; i += 1) {
      const client = await connectPod(pod.path, LIMIT);
      await client.send({ method: "notify", params: { message: String(i) } });
      pod.server.broadcast(delta("load"));
      await client.close();
    }
    expect(pod.methods).toHaveLength(300);
    expect(pod.closed).toHaveLength(300);
  });

  test("close ends waiting readers, is bounded, and repeats itself", async () => {
    await using dir = temp();
    using _server = bare(dir.join("sock"), () => undefined); // never answers a half-close
    const client = await connectPod(dir.join("sock"), LIMIT);
    const waiting = client.next(Number.POSITIVE_INFINITY);
    const start = performance.now();
    const closing = client.close();
    expect(client.close()).toBe(closing);
    expect(await waiting).toBeUndefined();
    await closing;
    expect(performance.now() - start).toBeLessThan(5000);
    await client.closed;
  });

  test("close resumes a paused socket, else it would not notice the end", async () => {
    const { client, calls } = fake();
    for (let i = 0; i < 11; i += 1) client.received(encodeLine(delta("u".repeat(100_000))));
    await within(client.close(), LIMIT.timeoutMs, "close");
    expect(calls.slice(0, 3)).toEqual(["pause", "resume", "shutdown"]);
  });

  test("an idle client that is not referenced lets its process end", async () => {
    await using pod = serve();
    const module = JSON.stringify(require.resolve("../../src/transport/client.ts"));
    const script = `
      const { connectPod } = await import(${module});
      const client = await connectPod(${JSON.stringify(pod.path)}, { timeoutMs: 5000 });
      client.unref();`;
    const child = Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" });
    expect(await within(child.exited, LIMIT.timeoutMs, "the process to end")).toBe(0);
    await pod.until(() => pod.closed.length === 1, "the client to be gone");
  });
});

describe("request and deliver", () => {
  test("deliver resolves with the acknowledgement of its own id", async () => {
    await using pod = serve({}, (connection, method) => {
      connection.send({ event: "ack", data: { id: "somebody else's" } });
      acknowledge(connection, method);
    });
    await deliver(pod.path, { ...status, id: "mine" }, LIMIT);
    await deliver(pod.path, status, LIMIT);
    expect(pod.methods[0]?.id).toBe("mine");
    expect(pod.methods[1]?.id).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("an error with the id of the request is thrown with its wire code, others are not", async () => {
    await using pod = serve({}, (connection, method) => {
      const data = { code: "already_running", message: "Pod is already executing a turn" } as const;
      connection.send({ event: "error", data });
      connection.send({ event: "error", data: { ...data, id: "somebody else's" } });
      connection.send({ event: "error", data: { ...data, message: "mine", id: method.id } });
    });
    const error = await rejection(request(pod.path, status, LIMIT));
    expect([error.message, error.data]).toEqual([
      "mine",
      { wire: "already_running", retry: false },
    ]);
  });

  test("an event that satisfies `until` is the answer", async () => {
    await using pod = serve({}, (connection) => {
      connection.send(delta("no"));
      connection.send({ event: "completions", data: { kind: "file", entries: [] } });
    });
    const until = (event: Event): boolean => event.event === "completions";
    const method: Method = { method: "list_completions", params: { kind: "file", prefix: "" } };
    expect(await request(pod.path, method, { ...LIMIT, until })).toEqual({
      event: "completions",
      data: { kind: "file", entries: [] },
    });
  });

  test("the limit covers the whole exchange, also when other events keep coming", async () => {
    await using pod = serve();
    const load = setInterval(() => pod.server.broadcast(delta("noise")), 0);
    try {
      const error = await rejection(request(pod.path, status, { timeoutMs: 100 }));
      expect([error.code, error.message]).toEqual(["timed_out", "read timed out"]);
    } finally {
      clearInterval(load);
    }
    expect(pod.methods).toHaveLength(1);
  });

  test("a Pod that ends before it answers is unreachable", async () => {
    await using pod = serve({}, () => void pod.server.close());
    const error = await rejection(deliver(pod.path, status, LIMIT));
    expect([error.code, error.message]).toEqual([
      "unreachable",
      "connection closed before response",
    ]);
  });

  test("a request can be withdrawn while it waits", async () => {
    const abort = new AbortController();
    await using pod = serve({}, () => abort.abort());
    const error = await rejection(request(pod.path, status, { ...LIMIT, signal: abort.signal }));
    expect(isPodError(error, "cancelled")).toBe(true);
    await pod.until(() => pod.closed.length === 1, "the client to be gone");
  });

  test("300 of 300 deliveries are acknowledged while events are broadcast", async () => {
    await using pod = serve({}, acknowledge, [delta("prelude")]);
    const load = setInterval(() => pod.server.broadcast(delta("load")), 0);
    try {
      const all = Array.from({ length: 300 }, () => deliver(pod.path, status, LIMIT));
      await within(Promise.all(all), LIMIT.timeoutMs, "300 deliveries");
    } finally {
      clearInterval(load);
    }
    expect(pod.methods).toHaveLength(300);
  });
});
