/** What the orchestration tools need from the Pod they belong to; built by the composition root. */
import type { PodEvent } from "../protocol/method.ts";
import type { TreeLimits } from "../registry/delegation.ts";
import type { Registry } from "../registry/registry.ts";
import type { ScopeRule } from "../scope/rule.ts";
import type { ChildEnd, ChildStart } from "../session/setup.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import type { Children, Spawner } from "./children.ts";
import type { Family } from "./family.ts";

/** What differs between a spawner's manifest and its child's. */
export interface ChildConfiguration {
  readonly name: string;
  readonly instruction: string | undefined;
  /** The resolved `[model]` table. */
  readonly model: unknown;
  readonly allow: readonly ScopeRule[];
  readonly deny: readonly ScopeRule[];
}

/** One spawner's surroundings. */
export interface SpawnContext {
  readonly self: Spawner;
  readonly cwd: string;
  readonly registry: Registry;
  readonly scope: LiveScope;
  readonly children: Children;
  readonly family: Family;
  readonly limits: TreeLimits & { readonly readyTimeoutMs: number };
  /** Program and leading arguments that start a Pod. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly store: string;
  /** First session of this Pod: how its children's sessions name their parent. */
  readonly lineage: string;
  /** What the session log knows of this Pod's children. */
  readonly record: {
    /** Those that were started and have not ended. */
    readonly starts: readonly ChildStart[];
    childStarted(start: ChildStart): void;
    childEnded(end: ChildEnd): void;
  };
  /** Directories of prompt texts; a child finds the same ones wherever it works (W45). */
  readonly prompts: {
    readonly user?: string | undefined;
    readonly workspace?: string | undefined;
    readonly packs?: readonly string[] | undefined;
  };
  /** Bytes of one tool result; ReadPodOutput hands out no more at once. */
  readonly maxOutputBytes: number;
  /** Models that a child may have; `forChild` without a `ref` gives this Pod's own. */
  readonly models: {
    readonly allowed: readonly string[];
    /** Variables that hold keys; the child is told. */
    readonly keyVariables: readonly string[];
    forChild(ref?: string): Promise<{
      /** The resolved `[model]` table. */
      readonly table: unknown;
      /** Variables with keys that the child must not have. */
      readonly unneeded: readonly string[];
    }>;
    /** The same for a child that comes back with this `[model]` table. */
    unneededBy(table: unknown): Promise<readonly string[]>;
  };
  /** The resolved manifest for a child, as plain JSON data. */
  readonly childManifest: (child: ChildConfiguration) => unknown;
  /** Sends an event to this Pod's own parent, if it has one. */
  readonly report: (event: PodEvent) => void;
}
