/**
 * The scripted model: a scenario file answers instead of an LLM, for demonstrations, tests and users'
 * own orchestration tests. It behaves like a model in every other way: it streams, waits, fails and
 * can be aborted at any point. It never touches the network.
 */
import { dirname } from "node:path";
import { printable } from "../base/text.ts";
import { messageText, type Item } from "../protocol/history.ts";
import type { ResolvedScriptModel } from "./catalog.ts";
import type { Model, ModelEvent, ModelRequest } from "./model.ts";
import type { Clock } from "./retry.ts";
import {
  loadScenario,
  type Rule,
  type Substitutes,
  substitute,
  substituteDeep,
} from "./scenario.ts";

/** Of an input that no rule matches, this much is quoted. */
const MAX_QUOTE_CHARACTERS = 400;

/** What the scripted model works with. */
interface ScriptDependencies {
  readonly podName: string;
  readonly clock: Clock;
}

/** Loads the scenario and builds the model; throws as `loadScenario` does. */
export async function createScriptModel(
  resolved: ResolvedScriptModel,
  { podName, clock }: ScriptDependencies,
): Promise<Model> {
  const scenario = await loadScenario(resolved.script);
  const rules = scenario.rules.filter((rule) => new Bun.Glob(rule.pod).match(podName));
  const uses = new Map<Rule, number>();

  async function* stream(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelEvent> {
    const input = newestInput(request.items);
    const found = findRule(rules, uses, input);
    if (found === undefined) {
      const quote = printable(input, MAX_QUOTE_CHARACTERS);
      yield {
        type: "failed",
        message: `no rule of ${scenario.path} answers pod \`${podName}\` to: ${quote}`,
      };
      return;
    }
    uses.set(found.rule, (uses.get(found.rule) ?? 0) + 1);
    const substitutes: Substitutes = {
      match: found.match,
      pod: podName,
      scenarioDirectory: dirname(scenario.path),
    };
    for await (const event of play(found.rule, substitutes, clock, signal)) {
      if (signal.aborted) return;
      yield event;
    }
  }

  return { provider: "script", modelId: resolved.modelId, stream };
}

/** Text of all items after the last one that the model made: input, notices, tool results. */
export function newestInput(items: readonly Item[]): string {
  const last = items.findLastIndex(
    (item) =>
      item.type === "tool_call" ||
      item.type === "reasoning" ||
      (item.type === "message" && item.role === "assistant"),
  );
  return items
    .slice(last + 1)
    .map(inputText)
    .join("\n");
}

function inputText(item: Item): string {
  if (item.type === "message") return messageText(item);
  if (item.type !== "tool_result") return "";
  return item.content === undefined ? item.summary : `${item.summary}\n${item.content}`;
}

function findRule(
  rules: readonly Rule[],
  uses: ReadonlyMap<Rule, number>,
  input: string,
): { rule: Rule; match: RegExpExecArray | undefined } | undefined {
  for (const rule of rules) {
    if ((uses.get(rule) ?? 0) >= (rule.times ?? Infinity)) continue;
    if (rule.exclusion?.test(input) === true) continue;
    const match = rule.pattern?.exec(input);
    if (match !== null) return { rule, match };
  }
  return undefined;
}

/** The answer of a rule. The caller checks the signal after every event; waits end at an abort. */
async function* play(
  rule: Rule,
  substitutes: Substitutes,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<ModelEvent> {
  if (rule.delay_ms > 0) await clock.sleep(rule.delay_ms, signal);
  if (signal.aborted) return;
  const text = substitute(rule.text ?? "", substitutes);
  if (text !== "") {
    let first = true;
    for (const [word] of text.matchAll(/\S+\s*|\s+/g)) {
      if (!first && rule.chunk_delay_ms > 0) await clock.sleep(rule.chunk_delay_ms, signal);
      if (signal.aborted) return;
      first = false;
      yield { type: "text_delta", block: "0", text: word };
    }
  }
  if (rule.error !== undefined) {
    yield { type: "failed", message: rule.error };
    return;
  }
  if (text !== "") yield { type: "text_done", block: "0", text };
  for (const { tool, input } of rule.calls ?? []) {
    // Unique beyond this process: a restored session holds the ids of earlier ones.
    const callId = `call_${crypto.randomUUID().replaceAll("-", "")}`;
    const json = JSON.stringify(substituteDeep(input, substitutes));
    yield { type: "tool_start", callId, name: tool };
    yield { type: "tool_delta", callId, json };
    yield { type: "tool_done", callId, name: tool, arguments: json };
  }
  const usage = rule.usage ?? {};
  if (rule.usage !== undefined) {
    yield {
      type: "usage",
      usage: {
        input: usage.input ?? null,
        output: usage.output ?? null,
        cacheRead: usage.cache_read ?? null,
        cacheWrite: usage.cache_write ?? null,
      },
    };
  }
  const calls = rule.calls?.length ?? 0;
  yield { type: "finish", reason: calls > 0 ? "tool_calls" : "stop" };
}
