/** Which ids of models are none: those that would lead a request astray. Pure. */
import type { RemoteScheme } from "./builtin.ts";

/**
 * A sentence on what is wrong with a model's id; undefined when nothing is. Ids with `/`, `:`, `@`
 * and dots exist. Gemini has the id in the path of the request, as it is; there `%` has a meaning
 * (`%2e%2e` is `..`), and `\` is another `/`.
 */
export function modelIdFault(id: string, scheme: RemoteScheme): string | undefined {
  const contains = (what: string): string => `model id ${JSON.stringify(id)} contains ${what}`;
  if (/[\s\p{Cc}]/u.test(id)) return contains("blanks or control characters");
  if (/[?#]/.test(id)) return contains("`?` or `#`");
  if (scheme === "gemini" && /[%\\]/.test(id)) return contains("`%` or `\\`");
  return id.split("/").includes("..") ? contains("`..`") : undefined;
}
