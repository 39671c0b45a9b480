/** What the benchmark programs have in common: how they end, and the machine their figures are from. */
import { cpus, loadavg } from "node:os";

/** The machine, with the load when this was called; `after` adds the load when all was measured. */
export function machine() {
  const before = { processors: cpus().length, bun: Bun.version, load_before: loadavg()[0] };
  return { after: () => ({ ...before, load_after: loadavg()[0] }) };
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
