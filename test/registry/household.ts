/** This process as a spawner in a real registry, whose children are actors. */
import { joinAsRoot } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import type { Actor } from "./actor.ts";
import { rule } from "./entries.ts";

/** Generous limits for delegations. */
export const LIMITS = { maxDepth: 4, maxChildren: 16, readyTimeoutMs: 10_000 };

/** A name with its instance, `<name>-1` unless told. */
export const id = (name: string, instance = `${name}-1`) => ({ name, instance });

/** A scope that writes the targets. */
export const writing = (...targets: string[]) => ({
  allow: targets.map((target) => rule(target)),
  deny: [],
});

/** `a` with /src and session `A`; `give` reserves a path of it, `child` lets an actor adopt that. */
export async function household(base: string) {
  const registry = new Registry(base);
  const a = await joinAsRoot(registry, id("a"), writing("/src"), "A");
  return {
    registry,
    a,
    give: (target: string, name: string) =>
      registry.delegate(id("a"), id(name), [rule(target)], LIMITS),
    child: async (pod: Actor, name: string): Promise<void> => {
      await pod.tell({ op: "joinChild", base, name });
    },
  };
}
