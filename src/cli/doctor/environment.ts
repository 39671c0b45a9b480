/**
 * The variables that name the base directories: relative, contradictory, another user's, and other
 * directories that a differently started Pod would use (W8). Reads, changes nothing.
 */
import { statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { type BaseDirectories, type Environment, resolveBases } from "../../base/paths.ts";
import { type OtherRegistry, otherRegistries } from "../../registry/surroundings.ts";
import { type Finding, listed, ok, problem, quoted, warning } from "./finding.ts";

const VARIABLES = [
  "INSOMNIA_HOME",
  "INSOMNIA_CONFIG_DIR",
  "INSOMNIA_DATA_DIR",
  "INSOMNIA_RUNTIME_DIR",
  "XDG_CONFIG_HOME",
  "XDG_RUNTIME_DIR",
  "HOME",
] as const;

/** What is known about the environment. */
interface EnvironmentFacts {
  /** Variables that are set, with their values. */
  readonly set: Environment;
  /** Those that are not absolute paths. */
  readonly relative: readonly string[];
  /** The bases as the absolute ones among them resolve. */
  readonly bases: BaseDirectories;
  /** Variables whose directory exists and belongs to another user, with that user's id. */
  readonly foreign: readonly { readonly name: string; readonly uid: number }[];
  readonly uid: number | undefined;
  /** Other runtime directories in which Pods are registered. */
  readonly others: readonly OtherRegistry[];
}

/** Gathers the facts; never throws. */
export function environmentFacts(env: Environment): EnvironmentFacts {
  const set: Record<string, string> = {};
  for (const name of VARIABLES) {
    const value = env[name];
    if (value !== undefined && value !== "") set[name] = value;
  }
  const relative = Object.keys(set).filter((name) => !isAbsolute(set[name] ?? ""));
  const usable = Object.fromEntries(
    Object.entries(set).filter(([name]) => !relative.includes(name)),
  );
  const bases = resolveBases(usable);
  const uid = process.geteuid?.();
  const foreign = Object.entries(usable).flatMap(([name, path]) => {
    const owner = ownerOf(path);
    return owner === undefined || owner === uid ? [] : [{ name, uid: owner }];
  });
  return { set, relative, bases, foreign, uid, others: otherRegistries(usable, bases.runtime) };
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined;
  }
}

/** Findings on the variables. */
export function checkEnvironment(facts: EnvironmentFacts): Finding[] {
  const findings = [
    ...facts.relative.map((name) =>
      problem(
        "environment",
        `${name} is not an absolute path: "${facts.set[name]}"`,
        `export ${name} with an absolute path, or unset it`,
      ),
    ),
    ...unresolved(facts),
    ...contradictions(facts),
  ];
  if (findings.length === 0) {
    const used = Object.keys(facts.set).filter((name) => name !== "HOME");
    const names = used.length === 0 ? "HOME alone" : used.join(", ");
    findings.push(ok("environment", `base directories follow from ${names}`));
  }
  return [...findings, otherRegistriesFinding(facts)];
}

function unresolved({ bases }: EnvironmentFacts): Finding[] {
  const missing = (["config", "data", "runtime"] as const).filter(
    (role) => bases[role] === undefined,
  );
  if (missing.length === 0) return [];
  return [
    problem(
      "environment",
      `no variable tells the ${missing.join(", ")} directory`,
      "set HOME or INSOMNIA_HOME",
    ),
  ];
}

function contradictions({ set, foreign, uid }: EnvironmentFacts): Finding[] {
  const findings: Finding[] = [];
  const home = set.INSOMNIA_HOME;
  const runtime = set.INSOMNIA_RUNTIME_DIR;
  if (home !== undefined && runtime !== undefined && runtime !== join(home, "run")) {
    findings.push(
      warning(
        "environment",
        `INSOMNIA_RUNTIME_DIR (${runtime}) is used, not INSOMNIA_HOME's ${join(home, "run")}`,
        "unset one of them unless this is what you want: Pods started with only one are not seen",
      ),
    );
  }
  for (const { name, uid: owner } of foreign) {
    findings.push(
      warning(
        "environment",
        `${name} is a directory of user ${owner}, and you are user ${uid}`,
        `after su or sudo, unset ${name} or set it to a directory of your own (sudo -H, su -)`,
      ),
    );
  }
  return findings;
}

function otherRegistriesFinding({ others }: EnvironmentFacts): Finding {
  const [first] = others;
  if (first === undefined) {
    return ok("other-registries", "no other runtime directory of yours has Pods");
  }
  const which = others.map(({ path, pods }) => `${path} (${listed(pods, 3)})`);
  return warning(
    "other-registries",
    `Pods are registered elsewhere, too, and those do not see these: ${listed(which)}`,
    `see them: INSOMNIA_RUNTIME_DIR=${quoted(first.path)} pod ls; use one directory for all`,
  );
}
