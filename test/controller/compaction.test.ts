/** When a compaction is tried and what it leaves. Numbers are those of spec worker-and-tools 7. */
import { describe, expect, test } from "bun:test";
import { Compaction, type CompactionDependencies } from "../../src/controller/compaction.ts";
import type { Event } from "../../src/protocol/event.ts";
import { messageText, textMessage } from "../../src/protocol/history.ts";
import { History, type StoredItem } from "../../src/worker/history.ts";
import type { Summary } from "../../src/worker/summariser.ts";

const never = new AbortController().signal;
const short: Summary = { text: "short", marks: [], references: [] };

/** A conversation that is always too long, and what its compactions told and wrote. */
function setUp(
  summarise: CompactionDependencies["summarise"],
  more: Partial<CompactionDependencies> = {},
) {
  const history = new History();
  const grow = (): unknown =>
    history.append(textMessage("user", "hi"), textMessage("assistant", "x".repeat(200)));
  grow();
  const events: Event[] = [];
  const alerts: string[] = [];
  const written: StoredItem[][] = [];
  const compaction = new Compaction({
    history,
    settings: {
      prune_protected_turns: 3,
      prune_min_savings: 4096,
      compact_threshold: 1,
      compact_retained_tokens: 0,
    },
    retainedTokens: 0,
    marks: [],
    summarise,
    readLines: ({ path }) => Promise.reject(new Error(`file not found: ${path}`)),
    recentFiles: () => [],
    commit: (items) => {
      written.push([...items]);
      return Promise.resolve(`session-${written.length}`);
    },
    emit: (event) => events.push(event),
    alert: (_, message) => alerts.push(message),
    ...more,
  });
  /** The first request of a run; the name of what became of a compaction, if one was tried. */
  const run = async (): Promise<string> => {
    grow();
    events.length = 0;
    await compaction.beforeRequest(true, () => undefined, never);
    return events.at(-1)?.event ?? "not tried";
  };
  return { run, alerts, written, history };
}

describe("failures", () => {
  test("of three in a row leave it alone for ten runs, then it is tried again (worker 90)", async () => {
    const { run, alerts } = setUp(() => Promise.reject(new Error("no")));
    for (let n = 0; n < 3; n += 1) expect(await run()).toBe("compact_failed");
    expect(alerts.at(-2)).toContain("3 times in a row");
    for (let n = 0; n < 9; n += 1) expect(await run()).toBe("not tried");
    expect(await run()).toBe("compact_failed");
    expect(await run()).toBe("not tried");
  });

  test("are counted anew after a success (worker 90)", async () => {
    let n = 0;
    const { run } = setUp(() => {
      n += 1;
      return n === 3 ? Promise.resolve(short) : Promise.reject(new Error("no"));
    });
    const outcomes: string[] = [];
    for (let round = 0; round < 7; round += 1) outcomes.push(await run());
    expect(outcomes).toEqual([
      "compact_failed",
      "compact_failed",
      "compact_done",
      "compact_failed",
      "compact_failed",
      "compact_failed",
      "not tried",
    ]);
  });

  test("leave the conversation as it was", async () => {
    const { run, history, written } = setUp(() => Promise.reject(new Error("no")));
    await run();
    expect(history.items).toHaveLength(4);
    expect(written).toEqual([]);
  });
});

test("a marked file that is gone when it is to be shown is left out, with a warning (worker 91)", async () => {
  const marks = ["/kept", "/gone"].map((path) => ({ path, offset: undefined, limit: undefined }));
  const { run, alerts, written } = setUp(() => Promise.resolve({ ...short, marks }), {
    readLines: ({ path }) =>
      path === "/kept"
        ? Promise.resolve("text")
        : Promise.reject(new Error(`file not found: ${path}`)),
  });
  expect(await run()).toBe("compact_done");
  expect(alerts).toEqual(["/gone is not shown again: file not found: /gone"]);
  const texts = written[0]?.flatMap((item) => (item.type === "message" ? [messageText(item)] : []));
  expect(texts?.slice(0, 2)).toEqual([
    "[Compacted context summary]\n\nshort",
    "[Auto-read file: /kept]\ntext",
  ]);
  expect(texts?.join("\n")).not.toContain("/gone");
});
