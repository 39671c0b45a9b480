/**
 * What a project's manifest may not do. It comes with a directory, perhaps a stranger's, and agents
 * that work there can write it: so it may tighten what the user's own layers allow, and never loosen
 * it. What commands and Pods may write beyond the project's root is for the user to say. Looks at
 * links on disk, changes nothing.
 */
import { canonicalPath, isWithin, type ScopeRule } from "../scope/rule.ts";
import { containsRegion, ruleMatches, writeRules } from "../scope/set.ts";
import { dottedKey } from "./issues.ts";
import { type KeyPath, lineFinder } from "./locate.ts";
import { mergeLayers } from "./merge.ts";
import type { Problem } from "./problem.ts";
import type { ManifestLayer } from "./schema.ts";
import { DEFAULTS } from "./sections.ts";

/** A project's manifest and what it stands between. */
interface ProjectBounds {
  /** Base of its paths. */
  readonly root: string;
  readonly file: string;
  readonly text: string;
  readonly layer: ManifestLayer;
  /** The user's layers: that below, and those above the project's. */
  readonly lower: readonly ManifestLayer[];
  readonly upper: readonly ManifestLayer[];
}

const MODES = ["enforce", "warn", "off"];
/** Numbers in `[limits]` of which a smaller one allows less. */
const BOUNDS = ["max_depth", "max_children"] as const;

/** Every key with which the project loosens what the user's layers and the defaults say, by line. */
export function loosenings({ root, file, text, layer, lower, upper }: ProjectBounds): Problem[] {
  const own: ManifestLayer = [...lower, ...upper].reduce(mergeLayers, {});
  const problems: (Problem & { readonly line: number })[] = [];
  const lineOf = lineFinder(text);
  const complain = (key: KeyPath, message: string): void =>
    void problems.push({
      file,
      line: lineOf(key),
      key: dottedKey(key),
      message:
        `a project's manifest may not ${message}; if you want it, say so in your own manifest or ` +
        "in an overlay",
    });
  const { sandbox = {}, scope = {} } = layer;
  // What the user's upper layer says anyway, the project's has no part in.
  const says = (key: keyof typeof sandbox): boolean =>
    sandbox[key] !== undefined && !upper.some((above) => above.sandbox?.[key] !== undefined);
  const mode = own.sandbox?.mode ?? DEFAULTS.mode;
  if (says("mode") && MODES.indexOf(sandbox.mode ?? mode) > MODES.indexOf(mode)) {
    complain(["sandbox", "mode"], `loosen the sandbox (without it: ${mode})`);
  }
  if (says("network") && sandbox.network === "allow" && own.sandbox?.network === "deny") {
    complain(["sandbox", "network"], "open the network that you closed");
  }
  const sockets = own.sandbox?.local_sockets ?? DEFAULTS.local_sockets;
  if (says("local_sockets") && sandbox.local_sockets === "allow" && sockets === "deny") {
    complain(["sandbox", "local_sockets"], "let commands use local sockets");
  }
  const passed = own.sandbox?.env ?? [];
  const secret = says("env") ? (sandbox.env ?? []).filter((name) => !passed.includes(name)) : [];
  if (secret.length > 0) complain(["sandbox", "env"], `pass on ${secret.join(", ")}`);
  for (const [key, message] of raised(layer, own, upper)) complain(key, message);
  const pack = layer.pod?.prompt_pack;
  const isOverridden = upper.some(({ pod }) => pod?.prompt_pack !== undefined);
  if (pack !== undefined && !isOverridden && !isReadable(pack, root, [own, layer])) {
    const where = `from outside the project, or from what Pods may not read: ${pack}`;
    complain(["pod", "prompt_pack"], `take texts for models ${where}`);
  }
  const granted = [
    recursive(root),
    ...writeRules(own.scope?.allow ?? []),
    ...(own.sandbox?.write ?? []).map(recursive),
  ].flatMap((rule) => canonical(rule) ?? []);
  const beyond = (rule: ScopeRule): boolean => {
    const place = canonical(rule);
    return place === undefined || !granted.some((grant) => containsRegion(grant, place));
  };
  const places = says("write") ? (sandbox.write ?? []) : [];
  for (const path of places.filter((it) => beyond(recursive(it)))) {
    complain(["sandbox", "write"], `let commands write outside the project: ${path}`);
  }
  const dropped = upper.some((above) => above.scope?.inherit === false);
  for (const [index, rule] of (scope.allow ?? []).entries()) {
    if (!dropped && rule.permission === "write" && beyond(rule)) {
      const key = ["scope", "allow", index, "target"];
      complain(key, `let Pods write outside the project: ${rule.target}`);
    }
  }
  return problems.sort((a, b) => a.line - b.line);
}

/** Bounds of the user's own that the project's layer raises, where no layer above says them anyway. */
function raised(
  layer: ManifestLayer,
  own: ManifestLayer,
  upper: readonly ManifestLayer[],
): [key: KeyPath, message: string][] {
  const numbers = BOUNDS.flatMap((key): [KeyPath, string][] => {
    const { [key]: bound = Infinity } = own.limits ?? {};
    const { [key]: wanted = 0 } = layer.limits ?? {};
    if (wanted <= bound || upper.some(({ limits }) => limits?.[key] !== undefined)) return [];
    return [[["limits", key], `raise a bound that you set (yours: ${bound})`]];
  });
  const models = own.limits?.child_models;
  const more = (layer.limits?.child_models ?? []).filter((ref) => models?.includes(ref) === false);
  const said = upper.some(({ limits }) => limits?.child_models !== undefined);
  if (more.length === 0 || said) return numbers;
  const message = `let children have models that you do not allow: ${more.join(", ")}`;
  return [...numbers, [["limits", "child_models"], message]];
}

/** True for a path that really lies in the project, where no layer hides it from Pods. */
function isReadable(path: string, root: string, layers: readonly ManifestLayer[]): boolean {
  const [place, base] = [canonicalPath(path), canonicalPath(root)];
  if (!place.ok || !base.ok || !isWithin(place.path, base.path)) return false;
  const hidden = layers.flatMap(({ scope }) => scope?.deny ?? []);
  return !hidden.some((rule) => {
    const denied = rule.permission === "read" ? canonical(rule) : undefined;
    return denied !== undefined && ruleMatches(denied, place.path);
  });
}

function recursive(target: string): ScopeRule {
  return { target, permission: "write", recursive: true };
}

/** The rule where links lead; undefined when that cannot be told. */
function canonical(rule: ScopeRule): ScopeRule | undefined {
  const place = canonicalPath(rule.target);
  return place.ok ? { ...rule, target: place.path } : undefined;
}
