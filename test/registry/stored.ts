/** The registry's files as they stand on disk, written, read and told apart by tests. */
import { readFileSync, statSync } from "node:fs";
import type { Allocation } from "../../src/registry/allocation.ts";
import { loadTable, saveTable, tablePaths } from "../../src/registry/table.ts";

/** The moment at which tests load a table. */
export const NOW = 1_700_000_000_000;

/** Writes a table of just these. */
export function save(base: string, ...allocations: Allocation[]): void {
  saveTable(base, { allocations, rest: {} });
}

/** The table as an operation loads it, mended where that is needed. */
export function load(base: string) {
  return loadTable(base, NOW);
}

/** Changes whenever the table is written. */
export function version(base: string): number {
  return statSync(tablePaths(base).file).ino;
}

/** An object in a file. */
export function json(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}
