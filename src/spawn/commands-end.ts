/**
 * The shell commands of a Pod that may write where something is to be handed to a child: each keeps what it
 * could write when it started, so nothing is handed over before they are gone.
 */
import { PodError } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import type { Allocation } from "../registry/allocation.ts";
import type { ScopeRule } from "../scope/rule.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { ToolError } from "../tools/tool.ts";

/** How long a reservation waits for shell commands that may write in its region. */
const COMMANDS_WAIT_MS = 60_000;

/**
 * What `reserve` returns once it is not undefined, which says that a shell command may write in the region:
 * then it is asked again when one of these has ended. Throws what `reserve` throws; `ToolError` when a
 * command goes on; `cancelled`.
 */
export async function onceFree(
  scope: LiveScope,
  rules: readonly ScopeRule[],
  signal: AbortSignal,
  reserve: () => Promise<Allocation | undefined>,
): Promise<Allocation> {
  const deadline = performance.now() + COMMANDS_WAIT_MS;
  for (;;) {
    const entry = await reserve();
    if (entry !== undefined) return entry;
    await commandsEnd(scope, rules, deadline, signal);
  }
}

/**
 * Waits until one of the shell commands that may write in the region has ended; at once when there is none.
 * Throws `ToolError` for those that go on until they are told to end, and when the time is over;
 * `cancelled`. `deadline` as `performance.now()` has it.
 */
async function commandsEnd(
  scope: LiveScope,
  rules: readonly ScopeRule[],
  deadline: number,
  signal: AbortSignal,
): Promise<void> {
  const writers = scope.writersIn(rules);
  const [first] = writers;
  if (first === undefined) return;
  const lasting = writers.find((writer) => writer.lasting);
  const patience = deadline - performance.now();
  if (lasting !== undefined || patience <= 0) {
    const { label } = lasting ?? first;
    throw new ToolError(
      "invalid_argument",
      `a shell command that may write there still runs: \`${label}\`; ` +
        (lasting === undefined ? "wait for its end" : "end it with KillBash first"),
    );
  }
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) resolve();
  try {
    const ends = writers.map(({ ended }) => ended);
    await settlesWithin(Promise.race([...ends, aborted]), patience);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  if (signal.aborted) {
    throw new PodError("cancelled", "the run was cancelled; nothing was reserved");
  }
}
