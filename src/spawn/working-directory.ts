/** Where a Pod that comes back worked, looked at before anything is reserved or started for it. */
import { statSync } from "node:fs";

/** What is wrong with `cwd` as the working directory of a Pod, to be said of that Pod; or undefined. */
export function directoryProblem(cwd: string): string | undefined {
  const isThere = statSync(cwd, { throwIfNoEntry: false })?.isDirectory() === true;
  return isThere ? undefined : `its working directory ${cwd} is gone`;
}
