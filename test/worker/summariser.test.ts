/** What the summariser's tools take and refuse. Numbers are those of spec worker-and-tools 7. */
import { expect, test } from "bun:test";
import { NUDGE } from "../../src/prompts/compaction.ts";
import type { Item } from "../../src/protocol/history.ts";
import { summarise, type SummariserDependencies } from "../../src/worker/summariser.ts";
import { call, finish, type Response, script, text, tool, usage } from "./scripted.ts";

const never = new AbortController().signal;
const mark = (id: string, path: string) =>
  call(id, "mark_read_required", JSON.stringify({ file_path: path }));
const write = (id: string, summary: string) =>
  call(id, "write_summary", JSON.stringify({ text: summary }));
const done: Response = [...text("done"), finish()];

function setUp(responses: readonly Response[], more: Partial<SummariserDependencies> = {}) {
  const model = script(...responses);
  const deps: SummariserDependencies = {
    model,
    options: {},
    readTool: tool("Read"),
    readLines: ({ path }) =>
      path === "/gone"
        ? Promise.reject(new Error("file not found: /gone"))
        : Promise.resolve("x".repeat(400)),
    systemPrompt: "summarise",
    nudge: NUDGE,
    autoReadBudget: 250,
    maxInputTokens: 10_000,
    ...more,
  };
  return { deps, model };
}

/** Summaries of the results that the model was sent in its last request. */
const resultsOf = (items: readonly Item[]): string[] =>
  items.flatMap((item) => (item.type === "tool_result" ? [item.summary] : []));

test("a mark over the budget is refused and not recorded, nor one of a file that cannot be read (91)", async () => {
  const { deps, model } = setUp([
    [
      ...mark("1", "/a"),
      ...mark("2", "/b"),
      ...mark("3", "/c"),
      ...mark("4", "/gone"),
      ...write("5", "all"),
      finish(),
    ],
    done,
  ]);
  const { text: summary, marks } = await summarise(deps, "go", false, never);
  expect(summary).toBe("all");
  expect(marks.map(({ path }) => path)).toEqual(["/a", "/b"]);
  expect(resultsOf(model.requests[1]?.items ?? [])).toEqual([
    "Marked /a for auto-read (≈100 tokens). Budget: 150/250 tokens remaining.",
    expect.stringContaining("Finish soon"),
    expect.stringContaining("auto-read budget exhausted (250 tokens)"),
    expect.stringContaining("read failed: file not found: /gone"),
    "Summary recorded.",
  ]);
});

test("the last summary counts, and one is asked for once more", async () => {
  const { deps, model } = setUp([
    done,
    [...write("1", "first"), ...write("2", "second"), finish()],
    done,
  ]);
  expect((await summarise(deps, "go", false, never)).text).toBe("second");
  expect(JSON.stringify(model.requests[1]?.items)).toContain(NUDGE.summary);
});

test("more input than is allowed ends it, unless the summary was there before", async () => {
  const { deps } = setUp([[...mark("1", "/a"), usage(600, 1), finish()], done], {
    maxInputTokens: 500,
  });
  await expect(summarise(deps, "go", false, never)).rejects.toThrow(
    "compact worker input exceeded 500 tokens",
  );
  const late = setUp(
    [
      [...write("1", "in time"), finish()],
      [...text("."), usage(600, 1), finish()],
    ],
    {
      maxInputTokens: 500,
    },
  );
  expect((await summarise(late.deps, "go", true, never)).text).toBe("in time");
});
