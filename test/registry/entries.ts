/** Allocations and rules for tests, spelled as shortly as the specification's tables. */
import { readFileSync } from "node:fs";
import { isPodError, type PodError } from "../../src/base/errors.ts";
import { identityOf, type ProcessIdentity, signalGroup } from "../../src/base/process.ts";
import { type Allocation, identityKeys } from "../../src/registry/allocation.ts";
import type { Allocations } from "../../src/registry/kinship.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { within } from "../support/temp.ts";

/** `rule(x)` of the specification: recursive write. */
export const rule = (target: string): ScopeRule => ({
  target,
  permission: "write",
  recursive: true,
});
/** Non-recursive write. */
export const flat = (target: string): ScopeRule => ({ ...rule(target), recursive: false });
/** Recursive read. */
export const reads = (target: string): ScopeRule => ({ ...rule(target), permission: "read" });

/** An allocation of this process with instance `<name>-1` and its own session; a root unless told. */
export function entry(
  name: string,
  allow: readonly ScopeRule[],
  more: Partial<Allocation> & { readonly owner?: ProcessIdentity } = {},
): Allocation {
  const { owner = identityOf(process.pid), ...rest } = more;
  return {
    pod_name: name,
    ...identityKeys(owner),
    socket: `/run/pods/${name}/sock`,
    scope_allow: [...allow],
    scope_deny: [],
    delegated_from: null,
    session_id: `session of ${name}-1`,
    instance: `${name}-1`,
    expires_at: null,
    lineage: [],
    ...rest,
  };
}

/** The entry of a name; throws when there is none. */
export function one(table: Allocations, name: string): Allocation {
  const found = table.find((candidate) => candidate.pod_name === name);
  if (found === undefined)
    throw new Error(`no entry \`${name}\` in ${JSON.stringify(names(table))}`);
  return found;
}

/** Names in table order. */
export const names = (table: Allocations): string[] => table.map(({ pod_name }) => pod_name);

/** The `PodError` that `action` throws; anything else fails the test. */
export function refusal(action: () => unknown): PodError {
  try {
    action();
  } catch (error) {
    if (isPodError(error)) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** As `refusal`, for a promise. */
export async function rejection(promise: Promise<unknown>): Promise<PodError> {
  try {
    await promise;
  } catch (error) {
    if (isPodError(error)) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** Identity of a process that has ended and is reaped: nobody's pid. */
export async function deadOwner(): Promise<ProcessIdentity> {
  const child = Bun.spawn(["sleep", "1000"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
  });
  const identity = identityOf(child.pid);
  child.kill("SIGKILL");
  await child.exited;
  return identity;
}

/** A process that has ended and is not reaped, because its parent never waits (scenario 39). */
export async function zombie(): Promise<AsyncDisposable & { readonly identity: ProcessIdentity }> {
  // The shell becomes a `sleep`, which knows nothing of the child it has.
  const parent = Bun.spawn(["sh", "-c", "sleep 1000 & echo $!; exec sleep 1001"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    detached: true,
  });
  const end = async (): Promise<void> => {
    signalGroup(parent.pid, "SIGKILL");
    await within(parent.exited, 5000, "the zombie's parent to end");
  };
  try {
    const { value } = await within(parent.stdout.getReader().read(), 5000, "the zombie's pid");
    const identity = identityOf(Number(new TextDecoder().decode(value)));
    // Until then the shell would still reap its child.
    await untilProcess(parent.pid, "cmdline", /^sleep/);
    process.kill(identity.pid, "SIGKILL");
    await untilZombie(identity.pid);
    return { identity, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Resolves when the first thread of a process is a zombie; what kills it gives no other sign. */
export async function untilZombie(pid: number): Promise<void> {
  await untilProcess(pid, "stat", /\) Z /);
}

async function untilProcess(pid: number, file: string, shows: RegExp): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!shows.test(readFileSync(`/proc/${pid}/${file}`, "latin1"))) {
    if (performance.now() > deadline) throw new Error(`/proc/${pid}/${file} never shows ${shows}`);
    await new Promise(setImmediate);
  }
}
