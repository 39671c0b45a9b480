/**
 * What the orchestration tools of one Pod get to work with. Its parts are asked when they are needed,
 * so that a child is started with what is true then.
 */
import type { Environment } from "../base/paths.ts";
import type { PodEvent } from "../protocol/method.ts";
import type { Registry } from "../registry/registry.ts";
import type { Children, Spawner } from "../spawn/children.ts";
import type { SpawnContext } from "../spawn/context.ts";
import type { Family } from "../spawn/family.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { outputLimit, type OutputLimits } from "../worker/truncate.ts";
import type { Configuration } from "./configuration.ts";
import { childManifest, spawnCommand } from "./settings.ts";

/** The parts of a Pod that have to do with its children. */
interface SpawnerParts {
  readonly self: Spawner;
  readonly registry: Registry;
  readonly scope: LiveScope;
  readonly children: Children;
  readonly family: Family;
  readonly env: Environment;
  readonly output: OutputLimits;
  /** First session of this Pod. */
  readonly lineage: () => string;
  /** What the session log knows of this Pod's children. */
  readonly record: () => SpawnContext["record"];
  /** Sends an event to the parent, if there is one. */
  readonly report: (event: PodEvent) => void;
}

/** The surroundings of one spawner; loads and starts nothing. */
export function spawnContext(
  configuration: Configuration,
  { self, registry, scope, children, family, env, output, lineage, record, report }: SpawnerParts,
): SpawnContext {
  const { manifest, models, cwd, base, store, promptDirectories } = configuration;
  return {
    self,
    cwd,
    registry,
    scope,
    children,
    family,
    limits: {
      maxDepth: manifest.limits.max_depth,
      maxChildren: manifest.limits.max_children,
      readyTimeoutMs: manifest.limits.ready_timeout_ms,
    },
    get command() {
      return spawnCommand(env);
    },
    env: {
      ...models.childEnvironment,
      INSOMNIA_RUNTIME_DIR: base,
      // Keeps JavaScriptCore from touching heap in advance that an idle Pod never needs (0.7 MiB).
      BUN_JSC_useWarmUpMarkedBlocks: "0",
    },
    store,
    get lineage() {
      return lineage();
    },
    get record() {
      return record();
    },
    prompts: promptDirectories,
    maxOutputBytes: outputLimit(output, "ReadPodOutput"),
    models,
    childManifest: (child) => childManifest(configuration, child),
    report,
  };
}
