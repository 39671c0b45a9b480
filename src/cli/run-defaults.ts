/** What `pod run` uses where no manifest says it. */
import { basename } from "node:path";
import type { Fallback } from "../manifest/load.ts";

const DEFAULT_MODEL = "anthropic/claude-sonnet-4-6";

/** Name, scope and model of a Pod on `cwd` (absolute). `tail` tells Pods of one directory apart. */
export function runFallback(cwd: string, tail = "xxxx"): Fallback {
  return { name: nameFrom(cwd, tail), writable: cwd, model: { ref: DEFAULT_MODEL } };
}

/** The directory's name, made a valid one, with the tail. */
function nameFrom(cwd: string, tail: string): string {
  const stem = basename(cwd)
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "");
  return `${(stem || "pod").slice(0, 40)}-${tail}`;
}
