/** What a command may do, from the Pod's scope and its manifest at the moment it starts. */
import type { Confinement, SandboxPolicy } from "../../sandbox/confinement.ts";
import { fileView } from "../../sandbox/file-view.ts";
import { planRuleset, type Ruleset } from "../../sandbox/ruleset.ts";
import type { ConfineSpec } from "../../sandbox/spec.ts";
import { canonicalPath, type ScopeRule } from "../../scope/rule.ts";
import type { Scope } from "../../scope/set.ts";
import type { LiveScope } from "../live-scope.ts";

/** What the rules are made of. */
interface RuleSources {
  readonly scope: LiveScope;
  readonly policy: SandboxPolicy;
  /** Directories of the program itself. */
  readonly guarded: readonly string[];
  /** What other Pods may write now. */
  readonly foreign: () => readonly ScopeRule[];
}

/** The rules of one command. */
interface CommandRules {
  /** For the words of its result; undefined when it is not confined. */
  readonly ruleset: Ruleset | undefined;
  /** For the trampoline. */
  readonly kernel: ConfineSpec["ruleset"];
  /** Where it may write, for those who want to hand over a part. */
  readonly writes: Scope;
}

/** Plans them; `temporary` is the directory that commands have beside the scope. */
export function planRules(
  confinement: Confinement,
  { scope, policy, guarded, foreign }: RuleSources,
  temporary: string,
): CommandRules {
  if (confinement.kind !== "confined") {
    // Whatever it writes: nothing can be handed over while it runs.
    const everything: ScopeRule = { target: "/", permission: "write", recursive: true };
    return { ruleset: undefined, kernel: undefined, writes: { allow: [everything], deny: [] } };
  }
  const now = scope.current();
  const { support } = confinement;
  const extra = policy.write;
  const ruleset = planRuleset(
    {
      scope: now,
      extra,
      foreign: foreign(),
      guarded: canonicalPaths(guarded),
      own: canonicalPaths([temporary]),
      handled: support.fs,
    },
    fileView,
  );
  const extras = extra.map((target) => ({ target, permission: "write", recursive: true }) as const);
  return {
    ruleset,
    kernel: {
      fs: support.fs,
      net: policy.network === "allow" ? 0 : support.net,
      scoped: support.scoped,
      rules: ruleset.rules,
    },
    // What children hold now may be written later: rules go with a directory that is moved there.
    writes: { allow: [...now.allow, ...extras], deny: scope.given().deny },
  };
}

/** As the kernel sees them; a path that cannot be resolved is left out. */
export function canonicalPaths(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const result = canonicalPath(path);
    return result.ok ? [result.path] : [];
  });
}
