/**
 * `bun run bench/session.ts`: what recording costs. Appending and syncing an entry beside the same
 * bytes written and synced without any of our code, listing a log whose end does not say
 * where its setup stands, and reading a large log back beside hashing it.
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { syncDataAsync } from "../src/base/files.ts";
import { listSessions } from "../src/session/catalog.ts";
import type { Entry } from "../src/session/entry.ts";
import { createLog } from "../src/session/log.ts";
import { openSession } from "../src/session/open.ts";
import { itemEntries, startEntries } from "../src/session/write.ts";

const { values } = parseArgs({
  options: {
    directory: { type: "string", default: "." },
    rounds: { type: "string", default: "200" },
    megabytes: { type: "string", default: "64" },
  },
});
const rounds = Number(values.rounds);
const directory = mkdtempSync(join(resolve(values.directory), ".bench-session-"));
const config = {
  max_tokens: null,
  temperature: null,
  top_p: null,
  top_k: null,
  stop_sequences: [],
  reasoning: null,
};

/** The entries of one turn with a tool: call, result. */
function turn(number: number, content: string): Entry[] {
  const id = `i${String(number * 2 + 1).padStart(6, "0")}`;
  const next = `i${String(number * 2 + 2).padStart(6, "0")}`;
  return itemEntries(
    [
      {
        type: "tool_call",
        id,
        call_id: `c${number}`,
        name: "Read",
        arguments: '{"file_path":"/w/a"}',
      },
      {
        type: "tool_result",
        id: next,
        call_id: `c${number}`,
        summary: "Read 100 line(s)",
        content,
      },
    ],
    undefined,
    number,
  );
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
}

async function timed(work: () => void | Promise<void>): Promise<number> {
  const before = performance.now();
  await work();
  return performance.now() - before;
}

try {
  const content = "x".repeat(4000);
  const log = createLog(directory, Bun.randomUUIDv7());
  log.append(startEntries({ systemPrompt: "p", config, items: [] }, 0));
  await log.sync();
  const size = statSync(log.path).size;
  log.append(turn(0, content));
  const bytes = readFileSync(log.path).subarray(size);
  const raw = openSync(join(directory, "raw"), "a");
  const plain: number[] = [];
  const ours: number[] = [];
  const appends: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    // One after the other, so that both see the same disk.
    plain.push(
      await timed(async () => {
        writeSync(raw, bytes);
        await syncDataAsync(raw);
      }),
    );
    ours.push(
      await timed(async () => {
        appends.push(await timed(() => log.append(turn(round, content))));
        await log.sync();
      }),
    );
  }
  closeSync(raw);
  log.close();
  const row = (name: string, value: string): void => console.log(`${name.padEnd(46)} ${value}`);
  row("write and fdatasync alone, median", `${median(plain).toFixed(3)} ms`);
  row("append and sync of a turn with a tool, median", `${median(ours).toFixed(3)} ms`);
  row("of it appending (hash, write), median", `${(median(appends) * 1000).toFixed(0)} µs`);

  const large = createLog(directory, Bun.randomUUIDv7());
  large.append(startEntries({ systemPrompt: "p", config, items: [] }, 0));
  const wanted = Number(values.megabytes) * 1024 * 1024;
  for (let number = 0; statSync(large.path).size < wanted; number += 100) {
    const some = Array.from({ length: 100 }, (_, index) => turn(number + index, content));
    large.append(some.flat());
  }
  large.close();
  const megabytes = statSync(large.path).size / 1024 / 1024;
  const hashing = await timed(() => {
    new Bun.CryptoHasher("sha256").update(readFileSync(large.path)).digest();
  });
  const listing = await timed(() => void listSessions(directory));
  let items = 0;
  const reading = await timed(() => {
    const opened = openSession(directory, large.id);
    items = opened.state.items.length;
    opened.log.close();
  });
  row(`hash ${megabytes.toFixed(0)} MiB, nothing else`, `${hashing.toFixed(0)} ms`);
  row("list it (one run, not ended)", `${listing.toFixed(1)} ms`);
  row(`check and replay it (${items} items)`, `${reading.toFixed(0)} ms`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
