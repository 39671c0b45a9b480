/** Commands for people, run by a Pod's confined command, which cannot see what they look for. */
import { expect, test } from "bun:test";
import { podBinary } from "../support/binary.ts";
import { startRoot } from "../support/pod.ts";
import { CONFINES } from "../tools/shell-support.ts";

test.skipIf(!CONFINES)(
  "pod ls and pod doctor say that a confined command sees little",
  async () => {
    await using pod = await startRoot({
      rules: [
        { match: "^RUN (.*)$", calls: [{ tool: "Bash", input: { command: "$1" } }] },
        { text: "done" },
      ],
    });
    const run = `INSOMNIA_RUNTIME_DIR=${pod.world.runtime} ${podBinary()}`;
    for (const command of ["ls", "ls --json", "doctor"]) {
      const before = pod.events.length;
      await pod.runToEnd(`RUN ${run} ${command} 2>&1 >/dev/null`);
      const said = pod.events
        .slice(before)
        .flatMap((event) => (event.event === "tool_result" ? [event.data.output] : []));
      expect(said).toEqual([expect.stringContaining("this is a confined command of a Pod: ")]);
    }
    expect((await pod.world.cli("ls")).stderr).toBe("");
    expect((await pod.world.cli("doctor")).stderr).toBe("");
  },
);
