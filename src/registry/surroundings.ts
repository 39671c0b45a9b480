/**
 * What makes a registry less than machine-wide: Pods that are registered in another runtime directory
 * (W8), and file systems whose locks may not hold between machines (W6). Looks, changes nothing.
 */
import { realpathSync, statfsSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { Environment } from "../base/paths.ts";
import { stateOf } from "../base/process.ts";
import { printable } from "../base/text.ts";
import { ownerOf } from "./allocation.ts";
import { inspectTable } from "./table.ts";

/** A runtime directory in which Pods are registered that may live. */
export interface OtherRegistry {
  readonly path: string;
  readonly pods: readonly string[];
}

/**
 * Every runtime base that a Pod of this user could have resolved with fewer or other variables, but
 * `base`, as far as it is ours and Pods in it are not proven dead. Never throws.
 */
export function otherRegistries(env: Environment, base: string | undefined): OtherRegistry[] {
  const uid = process.geteuid?.();
  // A relative value, or an empty one, would lead into the working directory.
  const below = (value: string | undefined, ...tail: string[]): string[] =>
    value !== undefined && isAbsolute(value) ? [canonical(join(value, ...tail))] : [];
  const candidates = [
    ...below(env.INSOMNIA_HOME, "run"),
    ...below(env.XDG_RUNTIME_DIR, "insomnia"),
    ...(uid === undefined ? [] : below(`/run/user/${uid}`, "insomnia")),
    ...below(env.HOME, ".insomnia", "run"),
  ];
  const here = base === undefined ? undefined : canonical(base);
  return [...new Set(candidates)]
    .filter((path) => path !== here && isOwnedBy(path, uid))
    .map((path) => ({ path, pods: podsIn(path) }))
    .filter(({ pods }) => pods.length > 0);
}

function podsIn(base: string): string[] {
  return inspectTable(base)
    .allocations.filter((entry) => stateOf(ownerOf(entry)) !== "dead")
    .map((entry) => entry.pod_name);
}

function isOwnedBy(path: string, uid: number | undefined): boolean {
  try {
    return statSync(path).uid === uid;
  } catch {
    return false;
  }
}

function canonical(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Kinds of file systems that several machines may share, by the number that statfs(2) gives (linux/magic.h). */
const NETWORK_KINDS: Readonly<Record<number, string>> = {
  0x6969: "NFS",
  0xff534d42: "CIFS",
  0xfe534d42: "SMB2",
  0x517b: "SMB",
  0x01021997: "9p",
  0x65735546: "FUSE",
  0x5346414f: "AFS",
  0x00c36400: "Ceph",
  0x73757245: "Coda",
  0x0bd00bd0: "Lustre",
  0x7461636f: "OCFS2",
  0x01161970: "GFS2",
  0x6a656a63: "virtiofs",
};

/** The name of a network file system by its number on Linux; undefined for any other kind. */
export function networkKind(type: number): string | undefined {
  return NETWORK_KINDS[type >>> 0];
}

/** What a root that starts below `base` should say: one sentence each, with what to do. */
export function surroundingWarnings(env: Environment, base: string): string[] {
  const warnings = otherRegistries(env, base).map(({ path, pods }) => {
    const names = pods
      .slice(0, 3)
      .map((name) => printable(name))
      .join(", ");
    const more = pods.length > 3 ? ", …" : "";
    return (
      `other pods are registered in ${path} (${names}${more}) and do not see this one: their paths ` +
      `are not protected from each other; use one runtime directory for all (INSOMNIA_RUNTIME_DIR)`
    );
  });
  const kind = process.platform === "linux" ? kindOf(base) : undefined;
  if (kind !== undefined) {
    warnings.push(
      `the runtime directory ${base} is on ${kind}, where locks may not reach other machines; ` +
        "set INSOMNIA_RUNTIME_DIR to a directory on a local disk",
    );
  }
  return warnings;
}

function kindOf(path: string): string | undefined {
  try {
    return networkKind(statfsSync(path).type);
  } catch {
    return undefined;
  }
}
