/** How a configuration becomes what the parts of a Pod take: greeting, system prompt, child manifest. */
import type { Environment } from "../base/paths.ts";
import { selfCommand } from "../base/process.ts";
import { explicitConfig } from "../model/catalog.ts";
import { readAgentsMd } from "../prompts/agents-md.ts";
import { boundariesNews, boundariesText } from "../prompts/boundaries.ts";
import { buildSystemPrompt } from "../prompts/system.ts";
import { promptVariables } from "../prompts/template.ts";
import type { Greeting } from "../protocol/event.ts";
import { summarizeScope } from "../scope/set.ts";
import type { Spawner } from "../spawn/children.ts";
import type { ChildConfiguration } from "../spawn/context.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import type { Tool } from "../tools/tool.ts";
import type { History } from "../worker/history.ts";
import type { Configuration } from "./configuration.ts";

/**
 * The program that runs children. An override is one program name, never split (spec registry-and-spawn 1.3);
 * it runs unconfined, so whoever sets it keeps it where no Pod may write.
 */
export function spawnCommand(env: Environment): string[] {
  const override = env.INSOMNIA_POD_COMMAND;
  return override === undefined || override === "" ? selfCommand() : [override];
}

/** What the Pod tells clients about itself. */
export function greetingOf(
  { model, cwd }: Configuration,
  self: Spawner,
  scope: LiveScope,
  tools: readonly Tool[],
): Greeting {
  return {
    pod_name: self.name,
    cwd,
    provider: model.provider,
    model: model.modelId,
    scope_summary: summarizeScope(scope.current()),
    tools: tools.map((tool) => tool.name).toSorted(),
    instance: self.instance,
  };
}

/** The system prompt, built at the first request and the same from then on; a failure keeps nothing. */
export function systemPrompt(
  { cwd, prompts }: Configuration,
  scope: LiveScope,
  tools: readonly Tool[],
  warn: (message: string) => void,
): () => string {
  let built: string | undefined;
  return () => {
    if (built !== undefined) return built;
    const { text, warning } = readAgentsMd(cwd, scope.current());
    if (warning !== undefined) warn(warning);
    const names = tools.map((tool) => tool.name);
    built = buildSystemPrompt({
      ...prompts,
      variables: promptVariables(cwd, new Date(), names),
      scope: scope.own(),
      ...(text === undefined ? {} : { agentsMd: text }),
    });
    return built;
  };
}

/** What the next request must tell the model about its boundaries, if anything: see `boundariesNews`. */
export function newBoundaries(
  system: () => string,
  history: History,
  scope: LiveScope,
): readonly string[] {
  const news = boundariesNews(system(), history.items, boundariesText(scope.own()));
  return news === undefined ? [] : [news];
}

/**
 * The manifest a child gets: its spawner's, with the name, instruction, model and exact scope of the
 * child.
 */
export function childManifest(
  { manifest, models }: Pick<Configuration, "manifest" | "models">,
  child: ChildConfiguration,
): unknown {
  const { name, instruction, model, allow, deny } = child;
  return {
    ...manifest,
    pod: { ...manifest.pod, name },
    model,
    worker: { ...manifest.worker, ...(instruction === undefined ? {} : { instruction }) },
    scope: { allow, deny },
    // A child reads no catalog, so it is told in full what a `ref` stands for.
    ...(manifest.compaction === undefined || models.compaction === undefined
      ? {}
      : { compaction: { ...manifest.compaction, model: explicitConfig(models.compaction) } }),
  };
}
