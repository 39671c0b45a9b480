/**
 * The throw-away worker that writes the summary of a compaction (spec worker-and-tools 4.5): its own
 * conversation, bounded turns and tokens, and tools that note what is to be shown again. It changes
 * nothing outside itself.
 */
import { z } from "zod/v3";
import { messageOf, PodError } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import type { ModelStream, RequestOptions } from "../model/model.ts";
import { textMessage } from "../protocol/history.ts";
import { defineTool, type Tool, ToolError } from "../tools/tool.ts";
import { History } from "./history.ts";
import { runTurns } from "./loop.ts";
import { BYTES_PER_TOKEN } from "./token-estimate.ts";

/** Requests that one pass may make (W20). */
const MAX_TURNS = 20;
/** Bytes of a tool result that the summariser sees. */
const OUTPUT_BYTES = 16_384;
/** Longest summary that is taken over, in characters. */
const MAX_SUMMARY_CHARACTERS = 64 * 1024;

/** Lines of a file that are to be shown again. */
export interface ReadMark {
  readonly path: string;
  readonly offset: number | undefined;
  readonly limit: number | undefined;
}

/** What a summariser found. */
export interface Summary {
  readonly text: string;
  readonly marks: readonly ReadMark[];
  readonly references: readonly string[];
}

/** What a summariser works with. */
export interface SummariserDependencies {
  readonly model: ModelStream;
  readonly options: RequestOptions;
  /** `Read`, with a memory of its own. */
  readonly readTool: Tool;
  /** The lines of a mark as text, joined by line breaks; throws in the words of the file tools. */
  readonly readLines: (mark: ReadMark) => Promise<string>;
  readonly systemPrompt: string;
  readonly nudge: { readonly summary: string; readonly marks: string };
  /** Tokens of files to be shown again; 0 means no limit. */
  readonly autoReadBudget: number;
  /** Input tokens of all requests together. */
  readonly maxInputTokens: number;
}

/**
 * Runs the summariser on `input`. `expectMarks` asks once more when no file was marked. Throws
 * `internal` in the words of the contract when there is no summary, `cancelled` at an abort.
 */
export async function summarise(
  deps: SummariserDependencies,
  input: string,
  expectMarks: boolean,
  signal: AbortSignal,
): Promise<Summary> {
  const notes = new Notes(deps);
  const history = new History();
  const capped = new AbortController();
  let used = 0;
  const pass = async (text: string): Promise<void> => {
    history.append(textMessage("user", text));
    const end = await runTurns(
      {
        model: deps.model,
        tools: [deps.readTool, ...notes.tools()],
        history,
        system: () => deps.systemPrompt,
        options: deps.options,
        maxTurns: MAX_TURNS,
        output: { defaultMaxBytes: OUTPUT_BYTES, perTool: {} },
        takeNotices: () => [],
        emit: () => undefined,
        turns: { current: 0 },
        recordUsage: ({ input: tokens }) => {
          used += tokens ?? 0;
          if (used > deps.maxInputTokens) capped.abort();
        },
      },
      AbortSignal.any([signal, capped.signal]),
    );
    if (signal.aborted) throw new PodError("cancelled", "Cancelled");
    // A summary that was written before the limit was met is a summary.
    if (capped.signal.aborted && notes.summary === undefined) {
      throw new PodError("internal", `compact worker input exceeded ${deps.maxInputTokens} tokens`);
    }
    if (end.outcome === "error") throw new PodError("internal", end.message);
  };
  await pass(input);
  if (!capped.signal.aborted) {
    if (notes.summary === undefined) await pass(deps.nudge.summary);
    else if (expectMarks && notes.marks.length === 0) await pass(deps.nudge.marks);
  }
  const { summary: text, marks, references } = notes;
  if (text === undefined || text.trim() === "") {
    throw new PodError(
      "internal",
      "compact worker did not produce a summary (write_summary was never called)",
    );
  }
  return { text, marks, references: [...references] };
}

const lines = lazily(() => z.number().int().min(0).nullish());
const markSchema = lazily(() =>
  z.object({ file_path: z.string(), offset: lines(), limit: lines() }),
);
const referenceSchema = lazily(() => z.object({ file_path: z.string() }));
const summarySchema = lazily(() => z.object({ text: z.string().max(MAX_SUMMARY_CHARACTERS) }));

/** What the summariser's tools note. */
class Notes {
  readonly #deps: SummariserDependencies;
  summary: string | undefined;
  readonly marks: ReadMark[] = [];
  readonly references = new Set<string>();
  #spent = 0;

  constructor(deps: SummariserDependencies) {
    this.#deps = deps;
  }

  tools(): Tool[] {
    return [
      defineTool({
        name: "mark_read_required",
        description: "Has a file, or lines of it, shown again after the summary.",
        schema: markSchema,
        serial: true,
        execute: async ({ file_path, offset, limit }) => ({
          summary: await this.#mark({
            path: file_path,
            offset: offset ?? undefined,
            limit: limit ?? undefined,
          }),
        }),
      }),
      defineTool({
        name: "add_reference",
        description: "Names a file that may be needed later; its content is not shown.",
        schema: referenceSchema,
        serial: true,
        execute: ({ file_path }) => {
          this.references.add(file_path);
          return Promise.resolve({ summary: `Added reference ${file_path}` });
        },
      }),
      defineTool({
        name: "write_summary",
        description: "Records the summary; the last one counts.",
        schema: summarySchema,
        serial: true,
        execute: ({ text }) => {
          const summary = this.summary === undefined ? "Summary recorded." : "Summary replaced.";
          this.summary = text;
          return Promise.resolve({ summary });
        },
      }),
    ];
  }

  async #mark(mark: ReadMark): Promise<string> {
    let text: string;
    try {
      text = await this.#deps.readLines(mark);
    } catch (error) {
      throw new ToolError("execution_failed", `read failed: ${messageOf(error)}`);
    }
    const budget = this.#deps.autoReadBudget;
    const cost = Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
    if (budget > 0 && this.#spent + cost > budget) {
      throw new ToolError(
        "execution_failed",
        `auto-read budget exhausted (${budget} tokens). Remove an existing mark or use add_reference instead.`,
      );
    }
    this.#spent += cost;
    this.marks.push(mark);
    const left = budget - this.#spent;
    const said = `Marked ${mark.path} for auto-read (≈${cost} tokens). Budget: ${left}/${budget} tokens remaining.`;
    return budget > 0 && left * 2 <= budget
      ? `${said}\nFinish soon: little of the budget is left.`
      : said;
  }
}
