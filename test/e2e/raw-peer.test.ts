/**
 * Peers that speak bytes, not our client: framing as it may arrive from anybody, and every way of
 * being a nuisance. The Pod is the compiled binary; it must stay, within its memory, and answer others.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { MAX_LINE_BYTES } from "../../src/transport/jsonl.ts";
import { generator } from "../registry/random.ts";
import { podBinary } from "../support/binary.ts";
import { type RootPod, startRoot } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { connectRaw, type RawClient } from "../transport/raw-client.ts";

const FUZZ_LINES = process.env.POD_FUZZ === "1" ? 1_000_000 : 20_000;
/** Decides which lines are sent. */
const SEED = Number(process.env.POD_SEED ?? 20_251_125);
const FUZZ_MS = process.env.POD_FUZZ === "1" ? 1_800_000 : 60_000;
const MIB = 1024 * 1024;
/** What a Pod may hold in memory while a few peers do their worst: lines, queues, the runtime. */
const MAX_RESIDENT_BYTES = 500 * MIB;

let pod: RootPod;
beforeAll(async () => {
  pod = await startRoot({ command: [podBinary()], rules: [{ text: "ok", delay_ms: 200 }] });
});
afterAll(async () => {
  await pod[Symbol.asyncDispose]();
});

const status = (id: string): string => `{"method":"status","id":"${id}"}`;
const ack = (id: string): string => `{"event":"ack","data":{"id":"${id}"}}`;

/** Lines up to the acknowledgement of `id`, without what goes to everybody. */
async function linesUntilAck(client: RawClient, id: string): Promise<string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = await client.line();
    if (line === undefined) throw new Error(`closed before ${id}; got: ${lines.join(" ")}`);
    if (line === ack(id)) return lines;
    lines.push(line);
  }
}

/** The Pod answers somebody else, now. */
async function answersOthers(): Promise<void> {
  using client = await connectRaw(pod.socket);
  await client.write(`${status("alive")}\n`);
  await within(linesUntilAck(client, "alive"), 10_000, "an answer to another client");
}

function residentBytes(field: "VmRSS" | "VmHWM"): number {
  const text = readFileSync(`/proc/${pod.pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
}

const badLines = (lines: readonly string[]): string[] =>
  lines.filter((line) => line.includes('"invalid method: '));

describe("framing", () => {
  test("a line in pieces of one byte is one line", async () => {
    using client = await connectRaw(pod.socket);
    for (const byte of Buffer.from(`${status("ä€😀")}\n`)) await client.write(Buffer.from([byte]));
    expect(badLines(await linesUntilAck(client, "ä€😀"))).toEqual([]);
  });

  test("a character cut in two is one character", async () => {
    using client = await connectRaw(pod.socket);
    const bytes = Buffer.from(`${status("€")}\n`);
    const cut = bytes.indexOf(0xe2) + 1;
    for (const at of [cut, cut + 1]) {
      await client.write(bytes.subarray(0, at));
      await answersOthers(); // so the pieces arrive apart
      await client.write(bytes.subarray(at));
      expect(badLines(await linesUntilAck(client, "€"))).toEqual([]);
    }
  });

  test("two frames in a chunk, and one and a half, are what they are", async () => {
    using client = await connectRaw(pod.socket);
    await client.write(`${status("a")}\n${status("b")}\n${status("c").slice(0, 10)}`);
    await linesUntilAck(client, "a");
    await linesUntilAck(client, "b");
    await client.write(`${status("c").slice(10)}\n`);
    expect(badLines(await linesUntilAck(client, "c"))).toEqual([]);
  });

  test("the last line needs no line end before the end of the input", async () => {
    using client = await connectRaw(pod.socket);
    await client.write(status("last"));
    client.halfClose();
    expect(await client.rest()).toContain(ack("last"));
  });

  test("CRLF, blank lines and white space around are fine; a byte-order mark is not", async () => {
    using client = await connectRaw(pod.socket);
    await client.write(`\r\n\n   \t\n  ${status("crlf")}  \r\n`);
    expect(badLines(await linesUntilAck(client, "crlf"))).toEqual([]);
    await client.write(`\ufeff${status("bom")}\n${status("after")}\n`);
    expect(badLines(await linesUntilAck(client, "after"))).toHaveLength(1);
  });

  test("a line of exactly 16 MiB is taken, in one piece and in many", async () => {
    using client = await connectRaw(pod.socket);
    const head = '{"method":"status","id":"big","pad":"';
    const line = Buffer.from(`${head.padEnd(MAX_LINE_BYTES - 2, "x")}"}`);
    expect(line.length).toBe(MAX_LINE_BYTES);
    await client.write(Buffer.concat([line, Buffer.from("\n")]));
    expect(badLines(await linesUntilAck(client, "big"))).toEqual([]);
    await answersOthers();
  });

  test("a line that is longer is answered with the limit and ends that connection alone", async () => {
    using client = await connectRaw(pod.socket);
    await client.write(Buffer.alloc(MAX_LINE_BYTES + 1, "x"));
    const lines = await client.rest();
    expect(lines.at(-1)).toBe(
      '{"event":"error","data":{"code":"internal","message":"invalid method: line longer than 16777216 bytes"}}',
    );
    await answersOthers();
  });

  test("a line without end is cut off within the memory of one line", async () => {
    const peers = await Promise.all([connectRaw(pod.socket), connectRaw(pod.socket)]);
    const piece = Buffer.alloc(MIB, "x");
    const endless = async (client: RawClient): Promise<number> => {
      for (let sent = 0; sent < 256; sent += 1) {
        try {
          await client.write(piece);
        } catch {
          return sent;
        }
      }
      return 256;
    };
    // Closed soon after the limit; what the kernel holds in between is small.
    for (const sent of await Promise.all(peers.map(endless))) expect(sent).toBeLessThan(64);
    for (const peer of peers) peer.terminate();
    await answersOthers();
    expect(residentBytes("VmHWM")).toBeLessThan(MAX_RESIDENT_BYTES);
  });

  test("a reader that never reads costs its queue and nobody's time", async () => {
    using rude = await connectRaw(pod.socket, true);
    const asks = '{"method":"get_history"}\n'.repeat(500);
    const flood = async (): Promise<void> => {
      for (let n = 0; n < 400; n += 1) await rude.write(asks);
    };
    // It is dropped at some moment, and then its writing fails.
    const flooded = flood().catch(() => undefined);
    for (let n = 0; n < 20; n += 1) await answersOthers();
    await within(flooded, 30_000, "the flood to be taken or refused");
    await answersOthers();
    expect(residentBytes("VmHWM")).toBeLessThan(MAX_RESIDENT_BYTES);
  });

  test("a bad line is answered to its sender alone (11)", async () => {
    using bad = await connectRaw(pod.socket);
    using other = await connectRaw(pod.socket);
    await bad.write(`{"method":"dance"}\n[]\n"x"\nnull\n${status("usable")}\n`);
    expect(badLines(await linesUntilAck(bad, "usable"))).toHaveLength(4);
    await other.write(`${status("o")}\n`);
    expect(badLines(await linesUntilAck(other, "o"))).toEqual([]);
  });

  test("JSON nested ten thousand levels deep is a bad line like any other", async () => {
    using client = await connectRaw(pod.socket);
    const deep = `{"method":"status","x":${"[".repeat(10_000)}${"]".repeat(10_000)}}`;
    await client.write(`${deep}\n${"[".repeat(500_000)}\n${status("after")}\n`);
    expect(badLines(await linesUntilAck(client, "after"))).toHaveLength(2);
  });
});

test("an input of half a million segments is a bad line that keeps nobody waiting", async () => {
  using client = await connectRaw(pod.socket);
  const segment = '{"kind":"text","content":""}';
  const many = (count: number): string => Array(count).fill(segment).join(",");
  await client.write(`{"method":"run","id":"m","params":{"input":[${many(500_000)}]}}\n`);
  await client.write(`{"method":"run","id":"n","params":{"input":[${many(1025)}]}}\n`);
  const started = performance.now();
  await client.write(`${status("after")}\n`);
  const lines = await linesUntilAck(client, "after");
  expect(lines.find((line) => line.includes('"id":"m"'))).toContain("at most 1024 segments");
  expect(lines.find((line) => line.includes('"id":"n"'))).toContain("params.input: ");
  // Reading a line of 14 MiB is all that it costs; before, it was many seconds.
  expect(performance.now() - started).toBeLessThan(4000);
});

const SEEDS = [
  '{"method":"run","id":"r","params":{"input":[{"kind":"text","content":"Hello"}],"key":"k"}}',
  '{"method":"run","params":{"input":[{"kind":"paste","id":7,"chars":11,"lines":2,"content":"l"},{"kind":"file_ref","path":"src/a.ts"},{"kind":"unknown"}]}}',
  '{"method":"notify","params":{"message":"turn done"}}',
  '{"method":"pod_event","id":"e","params":{"kind":"turn_ended","pod_name":"child","instance":"i"}}',
  '{"method":"pod_event","params":{"kind":"scope_sub_delegated","parent_pod":"child","sub_pod":"g","sub_socket":"/s","scope":[{"target":"/t","permission":"write","recursive":true}]}}',
  '{"method":"resume"}',
  '{"method":"cancel","id":"c"}',
  '{"method":"pause"}',
  // Not get_history: runs fill the history, and sending all of it thousands of times is no news.
  '{"method":"parent_changed"}',
  '{"method":"list_completions","params":{"kind":"file","prefix":"/"}}',
].map((line) => Buffer.from(line));

/** A line that may be anything but an order to shut down. */
function hostileLine(random: () => number): Buffer {
  const pick = (limit: number): number => Math.floor(random() * limit);
  if (random() < 0.15) {
    const noise = Buffer.alloc(pick(200));
    for (let at = 0; at < noise.length; at += 1) noise[at] = pick(256);
    return withoutLineEnds(noise);
  }
  let line = Buffer.from(SEEDS[pick(SEEDS.length)] ?? Buffer.alloc(0));
  for (let changes = pick(4); changes > 0; changes -= 1) {
    const at = pick(line.length + 1);
    const kind = pick(4);
    if (kind === 0 && at < line.length) line[at] = pick(256);
    else if (kind === 1) line = Buffer.concat([line.subarray(0, at), line.subarray(at + pick(10))]);
    else if (kind === 2) {
      const from = SEEDS[pick(SEEDS.length)] ?? line;
      const piece = from.subarray(pick(from.length), from.length);
      line = Buffer.concat([line.subarray(0, at), piece, line.subarray(at)]);
    } else {
      const filling = Buffer.alloc(pick(2000), pick(256));
      line = Buffer.concat([line.subarray(0, at), filling, line.subarray(at)]);
    }
  }
  return withoutLineEnds(line);
}

function withoutLineEnds(line: Buffer): Buffer {
  for (let at = 0; at < line.length; at += 1) if (line[at] === 0x0a) line[at] = 0x20;
  return line;
}

test(
  `${FUZZ_LINES} random and mutated lines (POD_SEED=${SEED}) leave the pod alive, within its memory, answering others`,
  async () => {
    const random = generator(SEED);
    const end = Buffer.from("\n");
    const LINES_AT_ONCE = 500;
    let client = await connectRaw(pod.socket);
    try {
      for (let sent = 0; sent < FUZZ_LINES; sent += LINES_AT_ONCE) {
        const lines = Array.from({ length: LINES_AT_ONCE }, () => hostileLine(random));
        await client.write(Buffer.concat(lines.flatMap((line) => [line, end])));
        // All of it is answered before more is sent; the answers are read and forgotten.
        const id = `batch-${sent}`;
        await client.write(`${status(id)}\n`);
        await within(linesUntilAck(client, id), 60_000, `an answer after ${sent} lines`);
        if (sent % 10_000 === 0) {
          client.terminate();
          await answersOthers();
          client = await connectRaw(pod.socket);
        }
      }
    } finally {
      client.terminate();
    }
    await answersOthers();
    expect(residentBytes("VmHWM")).toBeLessThan(MAX_RESIDENT_BYTES);
    expect(pod.stderr()).not.toContain("internal failure");
  },
  FUZZ_MS,
);
