import { describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import { Mailbox } from "../../src/controller/mailbox.ts";
import { Uplink } from "../../src/controller/uplink.ts";
import type { Method, PodEvent } from "../../src/protocol/method.ts";
import { allocationSchema } from "../../src/registry/allocation.ts";
import { Registry } from "../../src/registry/registry.ts";
import { saveTable } from "../../src/registry/table.ts";
import { identityOf } from "../../src/base/process.ts";
import { identityKeys } from "../../src/registry/allocation.ts";
import { type Connection, listenPrivately } from "../../src/transport/server.ts";
import { temp, within } from "../support/temp.ts";

const KID = { name: "kid", instance: "k" };
const FAST = { deliveryMs: 150, retryMs: 10, maxRetryMs: 40 };
const report = (message: string): PodEvent => ({
  kind: "errored",
  pod_name: KID.name,
  instance: KID.instance,
  message,
});

type Answer = (connection: Connection, method: Method, nth: number) => void;
const acknowledge: Answer = (connection, { id = "" }) =>
  connection.send({ event: "ack", data: { id } });

/** Hears the first ones and answers nothing; from the n-th on it acknowledges. */
const acknowledgeFrom =
  (n: number): Answer =>
  (connection, method, nth) => {
    if (nth >= n) acknowledge(connection, method, nth);
  };

/** A runtime directory with Pods in its registry, all of them this process, and fake parents. */
function family() {
  const dir = temp();
  const registry = new Registry(dir.path, 2000);
  const servers: { close(): Promise<void> }[] = [];
  const dead = { ...identityOf(process.pid), pid: 0 };
  const store = temp();
  const outbox = new Mailbox(store.path, "session", (trouble) => {
    throw new Error(trouble);
  });
  return {
    registry,
    outbox,
    store: store.path,
    /** Writes the registry: names with their parents; `dead` ones belong to no process. */
    register(...pods: readonly (readonly [name: string, parent: string | null, dead?: "dead"])[]) {
      const allocations = pods.map(([name, parent, life]) =>
        allocationSchema().parse({
          pod_name: name,
          socket: podPaths(dir.path, name).socket,
          scope_allow: [],
          delegated_from: parent,
          session_id: name,
          instance: name[0],
          ...identityKeys(life === "dead" ? dead : identityOf(process.pid)),
        }),
      );
      saveTable(dir.path, { allocations, rest: {} });
    },
    /** A Pod that hears reports and answers them. */
    listen(name: string, answer: Answer = acknowledge) {
      const { socket: path } = podPaths(dir.path, name);
      mkdirSync(dirname(path), { recursive: true });
      const heard: Method[] = [];
      let changed = Promise.withResolvers<void>();
      const server = listenPrivately({
        path,
        handlers: {
          onMethod: (connection, method) => {
            heard.push(method);
            answer(connection, method, heard.length);
            changed.resolve();
            changed = Promise.withResolvers();
          },
        },
      });
      servers.push(server);
      return {
        path,
        heard,
        messages: () => heard.map(messageOfReport),
        close: () => server.close(),
        async count(n: number): Promise<void> {
          while (heard.length < n) await within(changed.promise, 5000, `report ${n} at ${name}`);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server.close()));
      await outbox.close();
      await store[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

function messageOfReport(method: Method): string {
  if (method.method !== "pod_event") return method.method;
  return method.params.kind === "errored" ? method.params.message : method.params.kind;
}

describe("reports to the parent", () => {
  test("arrive in order, each with an id of its own, and are counted until they are taken", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root");
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, FAST);
    for (const text of ["a", "b", "c"]) uplink.report(report(text));
    expect(uplink.waiting).toBe(3);
    await uplink.flush(5000);
    expect(uplink.waiting).toBe(0);
    expect(root.messages()).toEqual(["a", "b", "c"]);
    expect(new Set(root.heard.map(({ id }) => id)).size).toBe(3);
  });

  test("of a root go nowhere and wait for nothing", async () => {
    await using pods = family();
    const uplink = new Uplink(
      { name: "root", instance: "r" },
      pods.registry,
      undefined,
      pods.outbox,
      FAST,
    );
    uplink.report(report("a"));
    expect(uplink.waiting).toBe(0);
    await uplink.flush(1);
  });

  test("that were not answered in time are delivered again under the same id", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", acknowledgeFrom(3));
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, FAST);
    uplink.report(report("a"));
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a", "a", "a"]);
    expect(new Set(root.heard.map(({ id }) => id)).size).toBe(1);
    expect(uplink.waiting).toBe(0);
  });

  test("wait for a parent that lives but does not listen just now", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const before = pods.listen("root");
    await before.close();
    const uplink = new Uplink(KID, pods.registry, before.path, pods.outbox, FAST);
    uplink.report(report("a"));
    uplink.report(report("b"));
    const again = pods.listen("root");
    await again.count(2);
    await uplink.flush(5000);
    expect(again.messages()).toEqual(["a", "b"]);
  });

  test("go to the grandparent when the parent is dead (W52)", async () => {
    await using pods = family();
    pods.register(["root", null], ["mid", "root", "dead"], ["kid", "mid"]);
    const root = pods.listen("root");
    const uplink = new Uplink(
      KID,
      pods.registry,
      podPaths(pods.registry.base, "mid").socket,
      pods.outbox,
      FAST,
    );
    uplink.report(report("a"));
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a"]);
    uplink.report(report("b"));
    await root.count(2);
  });

  test("go to the grandparent when another pod of the parent's name listens there now", async () => {
    await using pods = family();
    const stranger = pods.listen("mid", (connection, { id = "" }) =>
      connection.send({ event: "error", data: { code: "internal", message: "who are you", id } }),
    );
    pods.register(["root", null], ["mid", null], ["kid", "root"]);
    const root = pods.listen("root");
    const uplink = new Uplink(KID, pods.registry, stranger.path, pods.outbox, FAST);
    uplink.report(report("a"));
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a"]);
    expect(stranger.heard).toHaveLength(1);
  });

  test("end with the last ancestor: a pod whose parents are all dead reports nothing more", async () => {
    await using pods = family();
    pods.register(["mid", null, "dead"], ["kid", "mid"]);
    const uplink = new Uplink(
      KID,
      pods.registry,
      podPaths(pods.registry.base, "mid").socket,
      pods.outbox,
      FAST,
    );
    uplink.report(report("a"));
    await uplink.flush(5000);
    expect(uplink.waiting).toBe(0);
    uplink.report(report("b"));
    expect(uplink.waiting).toBe(0);
  });

  test("that the parent refuses are given up at once, and the next one is delivered", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", (connection, method, nth) => {
      if (nth > 1) return acknowledge(connection, method, nth);
      const { id = "" } = method;
      connection.send({ event: "error", data: { code: "internal", message: "no", id } });
    });
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, FAST);
    uplink.report(report("a"));
    uplink.report(report("b"));
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a", "b"]);
  });

  test("hold up the end of the pod for the given time and no longer", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", () => undefined);
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, {
      ...FAST,
      deliveryMs: 60_000,
    });
    uplink.report(report("a"));
    uplink.report(report("b"));
    const start = performance.now();
    await uplink.flush(100);
    // Nothing goes on after that: no timer, no connection, no further report.
    await within(uplink.idle(), 10_000, "the uplink to give up");
    // The acknowledgement, which never comes, is waited for six times as long.
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(root.messages()).toEqual(["a"]);
  });

  test("are bounded: of many that wait the oldest outcomes give way to newer ones", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", () => undefined);
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, {
      ...FAST,
      deliveryMs: 60_000,
    });
    for (let n = 0; n < 400; n += 1) uplink.report(report(`${n}`));
    expect(uplink.waiting).toBe(256);
    const kept = pods.outbox.outgoing.map(({ event }) => event.kind === "errored" && event.message);
    expect([kept.length, kept[0], kept[1], kept.at(-1)]).toEqual([256, "0", "145", "399"]);
    await uplink.flush(1);
  });

  test("outlast the process: a later one of the session sends them, under the same ids", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", acknowledgeFrom(2));
    const first = new Uplink(KID, pods.registry, root.path, pods.outbox, FAST);
    first.report(report("a"));
    first.report(report("b"));
    await root.count(1);
    await first.flush(1); // killed: the parent has heard of one and answered nothing
    const outbox = new Mailbox(pods.store, "session", () => undefined);
    expect(outbox.outgoing).toHaveLength(2);
    const again = { name: "kid", instance: "k2" };
    const second = new Uplink(again, pods.registry, root.path, outbox, FAST);
    second.start();
    await second.flush(5000);
    expect(root.messages()).toEqual(["a", "a", "b"]);
    expect(root.heard[1]?.id).toBe(root.heard[0]?.id);
    // A parent knows the run of the name that it has now.
    expect(root.heard[1]).toMatchObject({ params: { instance: "k2" } });
    expect(new Mailbox(pods.store, "session", () => undefined).outgoing).toEqual([]);
    await outbox.close();
  });

  test("of a logged end that the outbox does not know are made when the next process starts, once", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root");
    const logged = { id: "end:1", event: report("a") };
    const start = async (outbox: Mailbox): Promise<void> => {
      const uplink = new Uplink(KID, pods.registry, root.path, outbox, FAST);
      uplink.start(logged);
      await uplink.flush(5000);
    };
    await start(pods.outbox);
    await start(pods.outbox);
    const again = new Mailbox(pods.store, "session", () => undefined);
    await start(again);
    await again.close();
    expect(root.heard.map(({ id }) => id)).toEqual(["end:1"]);
  });

  test("wait on disk while there is no parent, and go to the one that comes (W52)", async () => {
    await using pods = family();
    pods.register(["mid", null, "dead"], ["kid", "mid"]);
    const mid = podPaths(pods.registry.base, "mid").socket;
    const uplink = new Uplink(KID, pods.registry, mid, pods.outbox, FAST);
    uplink.report(report("a"));
    await uplink.idle();
    uplink.report(report("b"));
    // Nobody is to wait for what nobody can take.
    expect(uplink.waiting).toBe(0);
    expect(pods.outbox.outgoing).toHaveLength(2);
    await uplink.parentChanged();
    expect(pods.outbox.outgoing).toHaveLength(2);
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root");
    await uplink.parentChanged();
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a", "b"]);
    expect(pods.outbox.outgoing).toEqual([]);
  });

  test("of a root are not kept, whatever it is told about parents", async () => {
    await using pods = family();
    pods.register(["kid", null]);
    const uplink = new Uplink(KID, pods.registry, undefined, pods.outbox, FAST);
    await Promise.all(Array.from({ length: 50 }, () => uplink.parentChanged()));
    uplink.report(report("a"));
    expect(pods.outbox.outgoing).toEqual([]);
  });

  test("that the parent cannot take just now are sent again; the end of the pod is not kept", async () => {
    await using pods = family();
    pods.register(["root", null], ["kid", "root"]);
    const root = pods.listen("root", (connection, method, nth) => {
      if (nth >= 3) return acknowledge(connection, method, nth);
      const { id = "" } = method;
      const data = { code: "internal", message: "full", id, retry: true } as const;
      connection.send({ event: "error", data });
    });
    const uplink = new Uplink(KID, pods.registry, root.path, pods.outbox, FAST);
    uplink.report(report("a"));
    uplink.report({ kind: "shut_down", pod_name: "kid", instance: "k" });
    expect(pods.outbox.outgoing).toHaveLength(1);
    await uplink.flush(5000);
    expect(root.messages()).toEqual(["a", "a", "a", "shut_down"]);
  });
});
