/** What the kernel says of a process (proc(5)): what it holds open, its children, its memory. Linux. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Why tests with these figures are skipped elsewhere. */
export const HAS_PROC = process.platform === "linux";

/** What the open descriptors of a process lead to, sorted; numbers of pipes and sockets left out. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, "")];
      } catch {
        return []; // closed meanwhile
      }
    })
    .toSorted();
}

/** Pids of the children of a process, zombies as well. */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return Number(parent) === pid;
      } catch {
        return false; // gone
      }
    })
    .map(Number);
}

/** Memory that a process has made itself, in MiB: not the program's text, which others share or not. */
export function ownMemoryOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = /^Anonymous:\s+(\d+) kB$/m.exec(text)?.[1];
  if (kilobytes === undefined) throw new Error("no anonymous memory in smaps_rollup");
  return Number(kilobytes) / 1024;
}
