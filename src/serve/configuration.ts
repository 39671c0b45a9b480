/**
 * From flags and environment to everything a Pod is made of, before anything is registered: all that
 * can be wrong is found here, in the order of spec manifest 7.4, and nothing has to be undone.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf, PodError } from "../base/errors.ts";
import {
  assertPodName,
  assertSocketPath,
  type BaseDirectories,
  ensurePrivateDirectory,
  type Environment,
  podPaths,
  requireRuntimeBase,
  requireSessionsDirectory,
  resolveBases,
} from "../base/paths.ts";
import { VERSION } from "../base/version.ts";
import { findPromptDirectories, type PromptDirectories } from "../manifest/discover.ts";
import { type Fallback, type LoadOptions, searchOf } from "../manifest/load.ts";
import { parseResolvedManifest, receivedManifest } from "../manifest/render.ts";
import type { Manifest, ManifestLayer } from "../manifest/schema.ts";
import type { ResolvedModel } from "../model/catalog.ts";
import type { Model } from "../model/model.ts";
import { checkRequestOptions, createModel } from "../model/provider.ts";
import { type LaunchFile, takeLaunchFile } from "../spawn/launch-file.ts";
import type { OpenedSession } from "../session/open.ts";
import { withFixedPaths } from "./fixed-paths.ts";
import { loadCascade } from "./load-cascade.ts";
import { childModels, type PodModels, rootModels } from "./models.ts";
import { preparePrompts, type Prompts } from "./prompts.ts";
import { requestOptions } from "./request-options.ts";
import { guardedDirectories } from "./root-scope.ts";

/** The flags of a Pod process (spec manifest 7.1). */
export interface PodOptions {
  readonly userManifest?: string | false | undefined;
  readonly project?: string | false | undefined;
  readonly manifestFile?: string | undefined;
  readonly overlay?: string | undefined;
  readonly overlayFile?: string | undefined;
  readonly store?: string | undefined;
  readonly adopt?: boolean;
  readonly callback?: string | undefined;
  /** File written by the spawner; only with `adopt`. */
  readonly launch?: string | undefined;
  /** Session to go on with. */
  readonly session?: string | undefined;
  /** Go on as the session recorded, under this instance id; only with `session`. */
  readonly recorded?: string | undefined;
  /** What the options of a command say, above every manifest layer; see `loadManifest`. */
  readonly given?: ManifestLayer | undefined;
  /** For what no manifest layer says; see `loadManifest`. */
  readonly fallback?: Fallback;
}

/** A Pod that could be started. */
export interface Configuration {
  readonly manifest: Manifest;
  readonly model: Model;
  readonly models: PodModels;
  readonly cwd: string;
  /** Runtime base directory. */
  readonly base: string;
  readonly store: string;
  /** Where prompt texts are; a child finds the same ones. */
  readonly promptDirectories: PromptDirectories;
  readonly prompts: Prompts;
  /** Directories of the program itself, which its agents must not write. */
  readonly guarded: readonly string[];
  readonly instance: string;
  /** The session that is gone on with, locked; whoever takes the configuration closes it. */
  readonly restored: OpenedSession | undefined;
  /** What the spawner said; set for a child. */
  readonly parent: { readonly socket: string; readonly launch: LaunchFile | undefined } | undefined;
}

/** Reads and checks everything. Throws `PodError`s worded for `error: …` on the terminal. */
export async function configure(
  options: PodOptions,
  env: Environment,
  cwd: string,
): Promise<Configuration> {
  const launch = options.launch === undefined ? undefined : takeLaunchFile(options.launch);
  const bases = resolveBases(env);
  const here = canonicalCwd(cwd);
  const store = resolve(here, requireSessionsDirectory(bases, launch?.store ?? options.store));
  const base = requireRuntimeBase(bases);
  const session = launch?.session ?? options.session;
  const place = { launch, bases, cwd: here, store, base, env };
  if (session === undefined) return await complete(options, place, undefined);
  let restored: OpenedSession;
  // Loaded by those that need it: most Pods are new.
  const { restoreSession } = await import("./restore.ts");
  try {
    restored = await restoreSession(store, session, base);
  } catch (error) {
    throw named("failed to restore pod", error);
  }
  try {
    return await complete(options, place, restored);
  } catch (error) {
    restored.log.close();
    throw error;
  }
}

/** Where a Pod is started, and what its spawner said. */
interface Place extends Pick<Configuration, "cwd" | "store" | "base"> {
  readonly launch: LaunchFile | undefined;
  readonly bases: BaseDirectories;
  readonly env: Environment;
}

async function complete(
  options: PodOptions,
  { launch, bases, cwd, store, base, env }: Place,
  restored: OpenedSession | undefined,
): Promise<Configuration> {
  const load = loadOptions(options, env, cwd);
  const { recorded } = options;
  const returning =
    recorded === undefined || restored === undefined
      ? undefined
      : { ...(await import("./restore.ts")), restored };
  const setup = returning?.recordedSetup(returning.restored);
  const loaded = launch === undefined && setup === undefined ? await loadCascade(load) : undefined;
  const manifest =
    setup !== undefined
      ? parseResolvedManifest(setup.manifest) // again, because the program may have changed since
      : loaded !== undefined
        ? withFixedPaths(loaded.manifest)
        : receivedManifest(launch?.manifest, launch?.program === VERSION);
  if (returning !== undefined && setup !== undefined) {
    returning.assertUnmoved(manifest, setup, returning.restored.log.id);
  }
  try {
    ensurePrivateDirectory(store);
  } catch (error) {
    throw new PodError("io", `failed to initialize store at "${store}": ${messageOf(error)}`);
  }
  const { name } = manifest.pod;
  assertPodName(name);
  assertSocketPath(podPaths(base, name).socket);
  const handed = setup?.prompts ?? launch?.prompts;
  const promptDirectories =
    handed === undefined ? findPromptDirectories(searchOf(load)) : given(handed);
  const what = options.adopt === true ? "spawned pod" : "pod";
  try {
    const models =
      launch === undefined
        ? await rootModels(manifest, loaded?.layers ?? [], bases, env)
        : childModels(manifest, bases, env, launch.secrets);
    const model = await modelFor(models.own, manifest, env);
    // A child has it from one that has started.
    if (launch === undefined) await assertSummariser(models, manifest, env);
    return {
      manifest,
      model,
      models,
      cwd,
      base,
      store,
      promptDirectories,
      prompts: await preparePrompts(manifest, promptDirectories),
      guarded: guardedDirectories(base, store, bases),
      instance: launch?.instance ?? recorded ?? crypto.randomUUID(),
      restored,
      parent: options.callback === undefined ? undefined : { socket: options.callback, launch },
    };
  } catch (error) {
    throw named(`failed to create ${what}`, error);
  }
}

/** What the cascade is loaded with. */
export function loadOptions(options: PodOptions, env: Environment, cwd: string): LoadOptions {
  const { userManifest, project, manifestFile, overlay, overlayFile } = options;
  const { given, fallback } = options;
  const bases = resolveBases(env);
  return {
    ...{ cwd, bases, userManifest, project, manifestFile, overlay, overlayFile, given, fallback },
    home: env.HOME,
  };
}

/** Throws when the first compaction, perhaps hours later, would find no key or no scenario (FIX 13). */
async function assertSummariser(
  { compaction }: PodModels,
  manifest: Manifest,
  env: Environment,
): Promise<void> {
  try {
    if (compaction !== undefined) await modelFor(compaction, manifest, env);
  } catch (error) {
    throw named("compaction.model", error);
  }
}

/** A model with its key or its scenario; throws what is wrong with either. */
async function modelFor(
  resolved: ResolvedModel,
  manifest: Manifest,
  env: Environment,
): Promise<Model> {
  await checkRequestOptions(resolved, requestOptions(manifest));
  return await createModel(resolved, {
    env,
    podName: manifest.pod.name,
    userAgent: `pod/${VERSION}`,
  });
}

/** The same error with a prefix that says what failed. */
export function named(prefix: string, error: unknown): PodError {
  const code = error instanceof PodError ? error.code : "internal";
  const data = error instanceof PodError ? error.data : {};
  return new PodError(code, `${prefix}: ${messageOf(error)}`, { cause: error, data });
}

/** Without keys that have no value: absent means that there is no such library. */
function given({ user, workspace, packs }: LaunchFile["prompts"]): PromptDirectories {
  return {
    ...(packs === undefined ? {} : { packs }),
    ...(user === undefined ? {} : { user }),
    ...(workspace === undefined ? {} : { workspace }),
  };
}

/** The working directory without links; throws the start-up error of spec manifest 7.6. */
export function canonicalCwd(cwd: string): string {
  try {
    return realpathSync.native(cwd);
  } catch (error) {
    throw new PodError(
      "io",
      `failed to create pod: failed to resolve pwd ${cwd}: ${messageOf(error)}`,
    );
  }
}
