/**
 * Directories that dead Pods left: moved aside under the registry's lock, so that a successor finds its
 * name free, and deleted later (`sweepGone`). One that somebody lives in is never touched (W11, W14).
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { isPodName, pathExists, podPaths } from "../base/paths.ts";
import type { Allocation } from "./allocation.ts";
import { type Allocations, findByName } from "./kinship.ts";
import { removeIfEmpty, takeLifeIfPresent } from "./life.ts";

/** Takes away what a dead Pod left, unless a successor lives there already. Never throws. */
export function setAsideDirectoryOf(base: string, dead: Allocation): void {
  try {
    takeLifeIfPresent(base, dead.pod_name)?.moveAside();
  } catch (error) {
    log("warn", `could not clean up after pod \`${dead.pod_name}\``, messageOf(error));
  }
}

/**
 * Takes away the directories of Pods that died before they were registered: no entry in `table`, and a
 * free lock or nothing at all in them.
 */
export function setAsideAbandoned(base: string, table: Allocations): void {
  for (const name of readdirSync(base)) {
    if (!isPodName(name) || findByName(table, name) !== undefined) continue;
    if (!statSync(join(base, name), { throwIfNoEntry: false })?.isDirectory()) continue;
    try {
      // Without a lock and with something in it, it was not made by a Pod.
      if (pathExists(podPaths(base, name).lock)) takeLifeIfPresent(base, name)?.moveAside();
      else removeIfEmpty(base, name);
    } catch (error) {
      log("warn", `could not remove what a pod \`${name}\` left`, messageOf(error));
    }
  }
}
