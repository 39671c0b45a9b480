/**
 * One Pod's conversation with its record: history, session log, what was restored, and the prompt and
 * options that belong to it.
 */
import { log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { Recorder } from "../controller/recorder.ts";
import type { RequestOptions } from "../model/model.ts";
import type { Scope } from "../scope/set.ts";
import type { Setup } from "../session/setup.ts";
import type { Spawner } from "../spawn/children.ts";
import { History } from "../worker/history.ts";
import type { TurnCounter } from "../worker/turn-counter.ts";
import type { Configuration } from "./configuration.ts";
import { fromLoggedConfig, requestOptions, toLoggedConfig } from "./request-options.ts";

/** What a recording needs from the Pod around it. */
interface RecordingDependencies {
  readonly self: Spawner;
  readonly session: string;
  /** What the Pod was given when it started. */
  readonly scope: Scope;
  /** The prompt of a new session. */
  readonly systemPrompt: () => string;
  readonly moved: (session: string) => Promise<void>;
  readonly alert: (level: "warn" | "error", message: string) => void;
  readonly tellModel: (text: string) => void;
}

/** The conversation of a Pod. */
export interface Recording {
  readonly history: History;
  readonly recorder: Recorder;
  readonly turns: TurnCounter;
  readonly system: () => string;
  readonly options: RequestOptions;
}

/** Makes the recording of a Pod; for a restored one `resumeRecording` must follow. */
export function makeRecording(
  configuration: Configuration,
  deps: RecordingDependencies,
): Recording {
  const { manifest, cwd, promptDirectories, restored, store } = configuration;
  const parent = parentOf(configuration);
  const { self, scope } = deps;
  const stored = restored?.state.systemPrompt ?? undefined;
  const system = stored === undefined ? deps.systemPrompt : () => stored;
  const config = restored?.state.config;
  const options = config === undefined ? requestOptions(manifest) : fromLoggedConfig(config);
  const turns = { current: restored?.state.turns ?? 0 };
  const recorder = new Recorder(
    {
      store,
      config: toLoggedConfig(options),
      turns,
      setup: () => ({
        name: self.name,
        instance: self.instance,
        program: VERSION,
        cwd,
        manifest,
        prompts: {
          ...promptDirectories,
          packs: [...(promptDirectories.packs ?? [])],
        },
        scope: { allow: [...scope.allow], deny: [...scope.deny] },
        parent,
      }),
      systemPrompt: system,
      moved: deps.moved,
      alert: deps.alert,
      tellModel: deps.tellModel,
    },
    deps.session,
    restored,
  );
  const history = new History(recorder.append, restored?.state.items);
  return { history, recorder, turns, system, options };
}

/**
 * Whose child the Pod is, also when it was brought back alone and nobody is its parent now: its reports
 * wait for that one, and it comes back below it.
 */
export function parentOf({ manifest, parent, restored }: Configuration): Setup["parent"] {
  if (parent !== undefined) return parent.launch?.parent ?? null;
  const before = restored?.state.setup;
  return before?.name === manifest.pod.name ? before.parent : null;
}

/** Closes what the end of the process before has left open, and says what had to be mended. */
export async function resumeRecording(
  { recorder, history }: Recording,
  { restored }: Configuration,
  alert: RecordingDependencies["alert"],
): Promise<void> {
  if (restored === undefined) return;
  for (const repair of restored.repairs) {
    log("warn", repair);
    alert("warn", repair);
  }
  await recorder.resume(history, restored);
}
