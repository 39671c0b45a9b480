/** A word for commands that look at Pods when a Pod's confined command runs them: they look in vain. */
import type { Environment } from "../base/paths.ts";
import { hasNoNewPrivileges } from "../base/process.ts";
import { isCommandOfPod } from "../sandbox/marked-processes.ts";
import type { Streams } from "./output.ts";

/** Says it once on standard error. */
export function noteConfinement(env: Environment, err: Streams["err"]): void {
  if (!isCommandOfPod(env) || hasNoNewPrivileges("self") !== true) return;
  err.write(
    "note: this is a confined command of a Pod: it can neither connect to Pods nor look at their " +
      "processes and locks, so live ones seem unresponsive or dead; what ListPods says counts\n",
  );
}
