/**
 * Children that a Pod had started and that left nothing to bring back: no process and no session that
 * can be read. They must be named, to people and to the model, because nothing else will. Pure but for
 * the look at the directory of sessions.
 */
import { findByName } from "../registry/kinship.ts";
import { describeProblem, listSessions } from "../session/catalog.ts";
import type { ChildStart } from "../session/setup.ts";
import type { SpawnContext } from "./context.ts";

/** A child that left nothing to bring back. */
export interface LostChild extends ChildStart {
  /** Logs of which nobody can tell whose they are, `FILE:LINE reason`: one of them may be its own. */
  readonly damaged: readonly string[];
}

/** The starts, oldest first, whose child is neither alive nor in a session. */
export function lostChildren(context: SpawnContext): LostChild[] {
  const { record, registry, self, store, lineage } = context;
  if (record.starts.length === 0) return [];
  const table = registry.peek();
  const all = listSessions(store);
  const damaged = all.flatMap((one) =>
    one.setup === undefined ? (describeProblem(one) ?? []) : [],
  );
  const heirs = new Set(record.starts.map(({ instance }) => instance));
  const kept = new Set(
    all.flatMap(({ setup }) =>
      setup !== undefined && (setup.parent?.lineage === lineage || heirs.has(setup.instance))
        ? [setup.name]
        : [],
    ),
  );
  const isLost = ({ name }: ChildStart): boolean => {
    const holder = findByName(table, name);
    // A stranger may have the name.
    const descends = [holder?.delegated_from, ...(holder?.lineage ?? []).map((a) => a.pod_name)];
    return !kept.has(name) && (holder === undefined || !descends.includes(self.name));
  };
  return record.starts.filter(isLost).map((start) => ({ ...start, damaged }));
}
