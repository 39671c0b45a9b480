/**
 * What is mounted where, as the kernel tells this process (proc(5), `/proc/<pid>/mountinfo`). A file
 * system can be seen at several places (bind mounts, subvolumes); what that means for scopes is
 * decided in `scope/aliases.ts`. Where there is no /proc the list is empty.
 */
import { readFileSync } from "node:fs";

/** One mount: the part `root` of the file system `device` is seen at `point`. */
export interface Mount {
  /** `major:minor`; the same for every mount of one file system. */
  readonly device: string;
  /** Path inside the file system. */
  readonly root: string;
  /** Path in this process's name space. */
  readonly point: string;
}

/** The mounts this process sees, in the order in which they were made; later ones hide earlier ones. */
export function readMounts(): Mount[] {
  try {
    return parseMounts(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return [];
  }
}

/** Reads the text of a `mountinfo` file; lines that are not of its format are left out. */
export function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [, , device, root, point] = line.split(" ");
    if (device === undefined || root === undefined || point === undefined) continue;
    // `nsfs` and the like have roots that are no paths.
    if (root.startsWith("/"))
      mounts.push({ device, root: unescaped(root), point: unescaped(point) });
  }
  return mounts;
}

/** Blank, tab, line feed and backslash are written as octal numbers. */
function unescaped(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
