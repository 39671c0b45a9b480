/** How the compaction of a Pod reaches its model, its files and its record. */
import type { Environment } from "../base/paths.ts";
import { VERSION } from "../base/version.ts";
import { Compaction } from "../controller/compaction.ts";
import type { Recorder } from "../controller/recorder.ts";
import { DEFAULTS } from "../manifest/sections.ts";
import type { ModelStream } from "../model/model.ts";
import { createModel } from "../model/provider.ts";
import { NUDGE } from "../prompts/compaction.ts";
import type { Alert, Event } from "../protocol/event.ts";
import { splitLines } from "../tools/lines.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { readTool } from "../tools/read.ts";
import { ScopedFiles } from "../tools/scoped-fs.ts";
import { FileTracker } from "../tools/tracker.ts";
import type { ReadMark } from "../worker/summariser.ts";
import type { Configuration } from "./configuration.ts";
import type { Recording } from "./recording.ts";

/** What the compaction needs from the Pod around it. */
interface CompactingDependencies {
  readonly configuration: Configuration;
  readonly recording: Recording & { readonly recorder: Recorder };
  readonly scope: LiveScope;
  /** Files that the Pod's tools have read or written. */
  readonly tracker: FileTracker;
  readonly env: Environment;
  readonly emit: (event: Event) => void;
  readonly alert: (level: Alert["level"], message: string) => void;
}

/** Makes the compaction of a Pod; nothing is loaded or asked before it is due. */
export function makeCompaction(deps: CompactingDependencies): Compaction {
  const { configuration, recording, scope, tracker, env } = deps;
  const { manifest, model, models, restored } = configuration;
  const { history, recorder, options } = recording;
  const settings = manifest.compaction;
  const files = new ScopedFiles(scope);
  const readLines = async ({ path, offset = 0, limit }: ReadMark): Promise<string> => {
    const { bytes } = await files.read(path);
    const lines = splitLines(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
    return lines.slice(offset, limit === undefined ? undefined : offset + limit).join("\n");
  };
  const stream = async (): Promise<ModelStream> => {
    if (models.compaction === undefined) return model.stream;
    const podName = manifest.pod.name;
    const userAgent = `pod/${VERSION}`;
    return (await createModel(models.compaction, { env, podName, userAgent })).stream;
  };
  return new Compaction({
    history,
    settings,
    retainedTokens: DEFAULTS.compact_retained_tokens,
    marks: (restored?.state.usage ?? []).map(({ history_len, input_total_tokens }) => ({
      length: history_len,
      tokens: input_total_tokens,
    })),
    summarise: async (input, expectMarks, signal) => {
      const { summarise } = await import("../worker/summariser.ts");
      return await summarise(
        {
          model: await stream(),
          options,
          readTool: readTool({ files, tracker: new FileTracker() }),
          readLines,
          systemPrompt: configuration.prompts.catalog.render("compact_system"),
          nudge: NUDGE,
          autoReadBudget: settings?.compact_auto_read_budget ?? DEFAULTS.compact_auto_read_budget,
          maxInputTokens:
            settings?.compact_worker_max_input_tokens ?? DEFAULTS.compact_worker_max_input_tokens,
        },
        input,
        expectMarks,
        signal,
      );
    },
    readLines,
    recentFiles: () => tracker.recent(),
    commit: async (items) => {
      await recorder.compact(items);
      return recorder.session;
    },
    emit: deps.emit,
    alert: deps.alert,
  });
}
