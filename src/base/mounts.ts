/**
 * What is mounted where, as the kernel tells this process (proc(5), `/proc/<pid>/mountinfo`). A file
 * system can be seen at several places (bind mounts, subvolumes); what that means for scopes is
 * decided in `scope/aliases.ts`. Where there is no /proc nothing is known.
 */
import { readFileSync } from "node:fs";

/** One mount: the part `root` of the file system `device` is seen at `point`. */
export interface Mount {
  readonly id: number;
  /** The mount on which it was put; one that is not in the list when that cannot be reached. */
  readonly parent: number;
  /** `major:minor`; the same for every mount of one file system. */
  readonly device: string;
  /** Path inside the file system. */
  readonly root: string;
  /** Path in this process's name space. */
  readonly point: string;
}

/** Stands for the parent of mounts whose parent is out of reach. */
const OUTSIDE = -1;

/** The mounts of a name space, ready to be asked. */
export class MountTree {
  /** By the mount below, then by the place on it; what is put on top of a mount has that as its parent. */
  readonly #on = new Map<number, Map<string, Mount>>();
  /** Mounts that can be reached, of file systems that are seen more than once, by device. */
  readonly #shared = new Map<string, Mount[]>();

  constructor(mounts: readonly Mount[]) {
    const ids = new Set(mounts.map(({ id }) => id));
    for (const mount of mounts) {
      const parent = ids.has(mount.parent) && mount.parent !== mount.id ? mount.parent : OUTSIDE;
      const places = this.#on.get(parent) ?? new Map<string, Mount>();
      places.set(mount.point, mount);
      this.#on.set(parent, places);
    }
    const seen = new Map<string, Mount[]>();
    for (const mount of mounts) seen.set(mount.device, [...(seen.get(mount.device) ?? []), mount]);
    for (const [device, all] of seen) {
      if (all.length < 2) continue;
      const visible = all.filter((mount) => this.mountOf(mount.point) === mount);
      if (visible.length > 1) this.#shared.set(device, visible);
    }
  }

  /** The mount by which an absolute path is reached; undefined when that is not known. */
  mountOf(path: string): Mount | undefined {
    let current: Mount | undefined;
    for (const place of placesOn(path)) {
      for (;;) {
        const above = this.#on.get(current?.id ?? OUTSIDE)?.get(place);
        if (above === undefined) break;
        current = above;
      }
    }
    return current;
  }

  /** The mounts that show a file system which others show as well; none for any other. */
  sharing(device: string): readonly Mount[] {
    return this.#shared.get(device) ?? [];
  }

  /** All mounts of file systems that are seen more than once. */
  get shared(): readonly Mount[] {
    return [...this.#shared.values()].flat();
  }
}

/** `/a/b`: `/`, `/a`, `/a/b`. */
function placesOn(path: string): string[] {
  const places = ["/"];
  for (let end = path.indexOf("/", 1); end > 0; end = path.indexOf("/", end + 1)) {
    places.push(path.slice(0, end));
  }
  if (path !== "/") places.push(path);
  return places;
}

/** The mounts that this process sees now. */
export function readMounts(): MountTree {
  try {
    return new MountTree(parseMounts(readFileSync("/proc/self/mountinfo", "utf8")));
  } catch {
    return new MountTree([]);
  }
}

/** Reads the text of a `mountinfo` file; lines that are not of its format are left out. */
export function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [id, parent, device, root, point] = line.split(" ");
    if (device === undefined || root === undefined || point === undefined) continue;
    // `nsfs` and the like have roots that are no paths.
    if (!root.startsWith("/")) continue;
    mounts.push({
      id: Number(id),
      parent: Number(parent),
      device,
      root: unescaped(root),
      point: unescaped(point),
    });
  }
  return mounts;
}

/** Blank, tab, line feed and backslash are written as octal numbers, byte by byte. */
function unescaped(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
