import { describe, expect, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { settlesWithin } from "../../src/base/process.ts";
import { resolveModel } from "../../src/model/catalog.ts";
import { createModel } from "../../src/model/provider.ts";
import { reachOf } from "../../src/model/reach.ts";
import { REMOTE_LIMITS } from "../../src/model/transport.ts";
import { anthropicServer } from "../support/anthropic-server.ts";
import { within } from "../support/temp.ts";
import { collect, failureOf, modelAt, ofType, virtualClock } from "./support.ts";

const never = new AbortController().signal;

/**
 * A port that swallows whoever tries to connect, as a firewall does: a process that was stopped while
 * it listened, with its queue of connections full.
 */
async function blackHole(): Promise<AsyncDisposable & { readonly url: string }> {
  const program = `
    const server = require("node:net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      console.log(server.address().port);
    });
  `;
  const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  const line = await within(reader.read(), 10_000, "port of the listener");
  const port = Number(new TextDecoder().decode(line.value));
  child.kill("SIGSTOP");
  const sockets: Bun.Socket[] = [];
  const ignore = { data: () => undefined, error: () => undefined, connectError: () => undefined };
  const connect = (): Promise<boolean> => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const opened = Bun.connect({ hostname: "127.0.0.1", port, socket: ignore });
    opened.then(
      (socket) => {
        sockets.push(socket);
        resolve(true);
      },
      () => resolve(false),
    );
    return promise;
  };
  // Until nobody gets in any more; the kernel's own limit is 4096 (somaxconn).
  for (let i = 0; i < 64; i++) {
    const batch = Promise.all(Array.from({ length: 100 }, connect));
    if (!(await settlesWithin(batch, 1000))) break;
  }
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.terminate();
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

describe("whether a host can be reached", () => {
  test("is known by connecting, and the connection is not kept", async () => {
    const closed = Promise.withResolvers<void>();
    const seen: Socket[] = [];
    const server = createServer((socket) => {
      seen.push(socket);
      socket.on("error", () => undefined).on("close", () => closed.resolve());
    });
    const listening = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", listening.resolve);
    await listening.promise;
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    expect(await reachOf(`http://127.0.0.1:${port}/x`, 5000)(never)).toBe(true);
    await within(closed.promise, 5000, "end of the connection");
    expect(seen).toHaveLength(1);
    const end = Promise.withResolvers<void>();
    server.close(() => end.resolve());
    await end.promise;
    expect(await reachOf(`http://127.0.0.1:${port}`, 5000)(never)).toBe(false);
  });

  test.skipIf(process.platform !== "linux")("ends at its limit and at an abort", async () => {
    await using hole = await blackHole();
    const started = performance.now();
    expect(await reachOf(hole.url, 300)(never)).toBe(false);
    expect(performance.now() - started).toBeGreaterThan(250);
    const abort = new AbortController();
    const asked = reachOf(hole.url, 60_000)(abort.signal);
    abort.abort();
    expect(await within(asked, 2000, "answer after the abort")).toBe(false);
  });
});

test.skipIf(process.platform !== "linux")(
  "a host that no packet reaches is given up at the connect limit, and asked again",
  async () => {
    await using hole = await blackHole();
    const limits = { ...REMOTE_LIMITS, connectMs: 200 };
    const clock = virtualClock();
    const policy = { maxAttempts: 2, totalMs: 60_000, baseMs: 10, capMs: 10 };
    const events = await collect(await modelAt(hole.url, { limits, clock, policy }));
    expect(ofType(events, "warning")).toHaveLength(1);
    expect(failureOf(events)).toBe(
      `HTTP error: cannot connect to ${hole.url.slice("http://".length)} within 0.4 s`,
    );
  },
);

test.skipIf(process.platform !== "linux")("nobody stays behind who still knocks", async () => {
  await using hole = await blackHole();
  const program = `
    import { reachOf } from "${import.meta.dir}/../../src/model/reach.ts";
    console.log(await reachOf("${hole.url}", 200)(new AbortController().signal));
  `;
  const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
  const printed = child.stdout.text();
  expect(await within(child.exited, 10_000, "end of the process")).toBe(0);
  expect(await printed).toBe("false\n");
});

test("a host that is only slow is waited for", async () => {
  await using server = await anthropicServer(() => ({ text: "at last", delayMs: 600 }));
  const limits = { ...REMOTE_LIMITS, connectMs: 100 };
  const events = await collect(await modelAt(server.url, { limits }));
  expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
});

test("behind a proxy nobody asks", async () => {
  await using server = await anthropicServer(() => ({ text: "x", stallAfter: 0 }));
  const resolved = resolveModel({
    scheme: "anthropic",
    base_url: "http://192.0.2.1",
    model_id: "m",
    auth: { kind: "none" },
  });
  const model = await createModel(resolved, {
    env: { https_proxy: server.url },
    podName: "p",
    limits: { ...REMOTE_LIMITS, connectMs: 50, firstByteMs: 400 },
    policy: { maxAttempts: 1, totalMs: 1000, baseMs: 1, capMs: 1 },
    fetch: (_, init) =>
      new Promise((_resolve, reject) => {
        init?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      }),
  });
  expect(failureOf(await collect(model))).toContain("no answer from 192.0.2.1 within 0.4 s");
});
