/** The processes of this one that were started ahead and wait for an order to become a shell. */
import { readdirSync, readFileSync } from "node:fs";
import { eventually } from "../support/pod.ts";

export function waitingTrampolines(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return (
          Number(parent) === process.pid &&
          state !== "Z" &&
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("__confine")
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** The only one that waits, once it does nothing else. */
export async function theWaitingOne(): Promise<number> {
  let found: number[] = [];
  // Its command line can be read an instant after it was started.
  await eventually(() => (found = waitingTrampolines()).length === 1, "one trampoline");
  const [pid] = found;
  if (pid === undefined || pid <= 1) throw new Error("no trampoline");
  // Up, and reading from its pipe: before that the runtime itself looks at the directory it starts in.
  const reads = new RegExp(`^${process.arch === "arm64" ? 63 : 0} 0x3 `);
  await eventually(
    () => reads.test(readFileSync(`/proc/${pid}/syscall`, "utf8")),
    "the trampoline to wait",
  );
  return pid;
}
