/**
 * The `Bash` tool and its companions for commands that go on in the background (spec
 * worker-and-tools 3.9): what the model reads of them. All that runs a command is loaded with the
 * first call, because most Pods never need it.
 */
import { z } from "zod/v3";
import { lazily } from "../../base/lazy.ts";
import { defineTool, type Tool } from "../tool.ts";
import type { BashSession } from "./bash-session.ts";

const DEFAULT_TIMEOUT_S = 120;
const MAX_TIMEOUT_S = 600;

/** `Bash`, `BashOutput` and `KillBash`; `session` makes what they share at its first call. */
export function bashTools(session: () => BashSession | Promise<BashSession>): Tool[] {
  return [
    defineTool({
      name: "Bash",
      description: DESCRIPTION,
      schema: bashSchema,
      prepare: () => {
        const made = session();
        if (made instanceof Promise) made.then((it) => it.prepare()).catch(() => {});
        else made.prepare();
      },
      execute: async ({ command, timeout, run_in_background }, { signal }) => {
        const made = session();
        // Once loaded, calls of one batch get their scope in the order in which they were made.
        const commands = made instanceof Promise ? await made : made;
        if (run_in_background === true) return await commands.startBackground(command);
        const seconds = Math.min(MAX_TIMEOUT_S, Math.max(1, timeout ?? DEFAULT_TIMEOUT_S));
        return await commands.run(command, seconds, signal);
      },
    }),
    defineTool({
      name: "BashOutput",
      description:
        "Shows what a background command of Bash has written since you last looked, and whether it " +
        "still runs. You are notified of its end: do not call this in a loop.",
      schema: idSchema,
      execute: async ({ bash_id }) => (await session()).read(bash_id),
    }),
    defineTool({
      name: "KillBash",
      description: "Ends a background command of Bash with everything it started.",
      schema: idSchema,
      execute: async ({ bash_id }) => await (await session()).kill(bash_id),
    }),
  ];
}

/** Input of `Bash`. */
export const bashSchema = lazily(() =>
  z.object({
    command: z.string().describe("The command, as for `bash -c`; several lines are fine."),
    timeout: z
      .number()
      .int()
      .min(0)
      .nullable()
      .optional()
      .describe(
        `Seconds after which the command is ended with all it started: 1 to ${MAX_TIMEOUT_S}, ` +
          `${DEFAULT_TIMEOUT_S} unless given. Not for background commands.`,
      ),
    run_in_background: z
      .boolean()
      .nullable()
      .optional()
      .describe("true: return at once and let it go on, for servers and long builds."),
  }),
);

/** Input of `BashOutput` and `KillBash`. */
export const idSchema = lazily(() =>
  z.object({
    bash_id: z.string().describe("The name that Bash gave the background command: `bash_1`, …"),
  }),
);

const DESCRIPTION = `Runs a command with bash and shows what it wrote (stdout and stderr together) and how it ended.

- It starts in your working directory each time; \`cd\`, variables and functions do not carry over. Standard input is empty and there is no terminal.
- It can write only where you may write at this moment (plus \`$TMPDIR\`, a directory of your own that goes with you; /tmp is not yours). "Permission denied" there is your boundary, not an obstacle. Where a path below an allowed directory is denied or delegated, nothing can be made or renamed directly in that directory; use Write and Edit.
- It may be kept from local (Unix) sockets, and then cannot reach an ssh agent, Docker and the like.
- A call lasts until the jobs that it started with \`&\` are over; all else that is left then (nohup, setsid) is ended with it. For what must go on, set \`run_in_background\`.
- Long output is cut to its end; the rest is in a file that Read can open.
- For reading, searching and editing files the tools Read, Grep, Glob, Write and Edit are better.`;
