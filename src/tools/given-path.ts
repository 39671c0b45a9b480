/**
 * A path as a model gives it, made comparable or refused. A refusal names what is wrong with the words
 * of the path, but nothing that only a look at the disk shows: that may lie outside the scope.
 */
import { canonicalPath, componentsOf } from "../scope/rule.ts";
import { fileError } from "./file-errors.ts";

/** The canonical form of an absolute path; `ToolError` for a path that has none. */
export function canonicalOf(path: string): string {
  if (!path.startsWith("/")) throw fileError.notAbsolute(path);
  const canonical = canonicalPath(path);
  if (canonical.ok) return canonical.path;
  throw isFlawed(path) ? fileError.unusable(path, canonical.reason) : fileError.outside(path);
}

/** True when no disk is needed to see that `canonicalPath` refuses the path. */
function isFlawed(path: string): boolean {
  return (
    path.includes("\0") ||
    !path.isWellFormed() ||
    Buffer.byteLength(path) > 4095 ||
    componentsOf(path).includes("..")
  );
}
