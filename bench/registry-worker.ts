/**
 * One process that works on a registry, for `bench/registry.ts`: it reads one JSON order per line and
 * answers when it has done it. Every kind of work is done in the same loop, so that what is
 * compared differs in nothing else.
 */
import { closeSync, constants, openSync } from "node:fs";
import { replaceFile } from "../src/base/files.ts";
import { tryFlock } from "../src/base/libc.ts";
import { RegistryLock } from "../src/registry/lock.ts";
import { Registry } from "../src/registry/registry.ts";
import { now } from "./clock.ts";

/**
 * What is done over and over. `registry` is an operation that changes the table (a session is noted),
 * `refused` one that is refused after the table was read and checked; `write` is the least that a
 * change can cost (the same lock, a file of the same size written, flushed and renamed), `lock` the
 * lock alone, `flock` the bare system call.
 */
export type Work = "registry" | "refused" | "write" | "lock" | "flock";

/**
 * What is ordered: once without times, so that what is loaded late is loaded then, and once with them.
 * Times are of `clock.ts`, in milliseconds; all processes begin at `from`.
 */
export interface Order {
  readonly work: Work;
  readonly base: string;
  /** Name of an allocation in the table of this base that belongs to nobody else. */
  readonly name: string;
  /** Bytes of the file in `write`. */
  readonly bytes: number;
  readonly from?: number;
  readonly until?: number;
}

/** How long each of the operations took that were over in time. */
export interface Result {
  readonly spans: readonly number[];
}

function workOf(order: Order): (round: number) => Promise<unknown> | void {
  const { base, name } = order;
  const lock = new RegistryLock(`${base}/bench.lock`);
  const self = { name, instance: `${name}-1` };
  switch (order.work) {
    case "registry": {
      const registry = new Registry(base);
      return async (round) => await registry.updateSession(self, `${name} ${round % 10}`);
    }
    case "refused": {
      const registry = new Registry(base);
      const again = { allow: [], deny: [] };
      return async () =>
        await registry.register(self, again, "s").then(
          () => Promise.reject(new Error("the name was free")),
          () => undefined,
        );
    }
    case "write": {
      const text = "x".repeat(order.bytes);
      return async () =>
        await lock.hold(() => replaceFile(`${base}/bench.file`, text, { durable: true }));
    }
    case "lock":
      return async () => await lock.hold(() => undefined);
    case "flock": {
      return () => {
        const fd = openSync(`${base}/bench.flock`, constants.O_RDWR | constants.O_CREAT, 0o600);
        tryFlock(fd);
        closeSync(fd);
      };
    }
  }
}

async function measure(order: Order): Promise<Result> {
  const work = workOf(order);
  const spans: number[] = [];
  const { from, until } = order;
  if (from === undefined || until === undefined) {
    await work(0);
    return { spans };
  }
  while (now() < from) await Bun.sleep(1);
  for (let round = 1; ; round += 1) {
    const started = now();
    if (started >= until) break;
    await work(round);
    const ended = now();
    if (ended <= until) spans.push(ended - started);
    // A bare flock never waits for anything; the loop must turn all the same.
    if (order.work === "flock" && round % 256 === 0) await Bun.sleep(0);
  }
  return { spans };
}

if (import.meta.main) {
  process.stdout.write("ready\n");
  for await (const line of console) {
    if (line === "") break; // the end of the input
    const result = await measure(JSON.parse(line) as Order);
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  process.exit(0);
}
