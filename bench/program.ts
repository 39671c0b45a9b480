/** What the benchmark programs have in common: how they end, and the machine their figures are from. */
import { cpus, loadavg } from "node:os";
import { resolve } from "node:path";

/** The machine, with the load when this was called; `after` adds the load when all was measured. */
export function machine() {
  const before = { processors: cpus().length, bun: Bun.version, load_before: loadavg()[0] };
  return { after: () => ({ ...before, load_after: loadavg()[0] }) };
}

/** The machine in one line, for people. */
export function machineLine(): string {
  return `${cpus().length} processors, Bun ${Bun.version}, load ${loadavg()[0]?.toFixed(1)}`;
}

/** The program to measure as an absolute path. Throws when it is not there. */
export async function programAt(path: string): Promise<string> {
  const program = resolve(path);
  if (await Bun.file(program).exists()) return program;
  throw new Error(`there is no ${program}; run: bun run build`);
}

/** A whole number from 1 on. Throws the usage. */
export function countFrom(text: string, usage: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new Error(usage);
  return count;
}

/** Runs a benchmark to its end; a mistake is one line. Exits, because channels may still be open. */
export async function runBench(main: () => Promise<void>): Promise<never> {
  try {
    await main();
    process.exit(0);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}
