/** The file system as ruleset planning sees it: names and kinds, links never followed. */
import { type Dirent, lstatSync, readdirSync } from "node:fs";
import type { EntryKind, FileView } from "./ruleset.ts";

interface Kinds {
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

function kindOf(entry: Kinds): EntryKind {
  if (entry.isDirectory()) return "directory";
  return entry.isSymbolicLink() ? "link" : "file";
}

/** The real file system, as it is at each call. */
export const fileView: FileView = {
  kind(path) {
    const info = lstatSync(path, { throwIfNoEntry: false });
    return info === undefined ? "missing" : kindOf(info);
  },
  list(path) {
    let entries: Dirent[];
    try {
      entries = readdirSync(path, { withFileTypes: true });
    } catch {
      return []; // what cannot be listed is not granted
    }
    return entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
  },
};
