/**
 * The paths of a manifest, found by the list in the schema (FIX 14): made absolute while a layer is
 * still plain data, checked again after the merge. Join only: no `..`, `~` or `$VAR` is expanded
 * (spec manifest 2.1).
 */
import { isAbsolute } from "node:path";
import { componentsOf } from "../scope/rule.ts";
import { PATH_KEYS } from "./schema.ts";

/** `path` below the absolute directory `base` unless it is absolute; `.` and empty parts vanish. */
export function joinBase(base: string, path: string): string {
  if (isAbsolute(path)) return path;
  return `/${[...componentsOf(base), ...componentsOf(path)].join("/")}`;
}

/** A copy of a layer's data with every path absolute; what is not a path, or not text, stays as it is. */
export function absolutePaths(data: unknown, base: string): unknown {
  const absolute = (path: string): string => (path === "" ? path : joinBase(base, path));
  return PATH_KEYS.reduce((value, key) => mapStrings(value, key, absolute), data);
}

/** The values of a path key (an element of `PATH_KEYS`) that are not absolute. */
export function relativePaths(data: unknown, key: readonly string[]): string[] {
  const found: string[] = [];
  mapStrings(data, key, (path) => {
    if (!isAbsolute(path)) found.push(path);
    return path;
  });
  return found;
}

/** `data` with `change` applied to the strings at `key`; tables on the way are copied, not changed. */
function mapStrings(
  data: unknown,
  key: readonly string[],
  change: (text: string) => string,
): unknown {
  const [name, ...rest] = key;
  if (name === undefined) return typeof data === "string" ? change(data) : data;
  if (name === "*") {
    return Array.isArray(data) ? data.map((element) => mapStrings(element, rest, change)) : data;
  }
  if (typeof data !== "object" || data === null || Array.isArray(data)) return data;
  const inner = Object.entries(data).find(([entry]) => entry === name);
  return inner === undefined ? data : { ...data, [name]: mapStrings(inner[1], rest, change) };
}
