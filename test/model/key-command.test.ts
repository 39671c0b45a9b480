import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import { runKeyCommand } from "../../src/model/key-command.ts";
import { temp, within } from "../support/temp.ts";

const env = { PATH: process.env.PATH, GREETING: "from-env", BUN_OPTIONS: "--nonsense" };
const shell = (script: string): string[] => ["/bin/sh", "-c", script];
async function problem(command: readonly string[], timeoutMs?: number): Promise<string> {
  try {
    await runKeyCommand(command, env, timeoutMs);
  } catch (error) {
    return isPodError(error, "invalid_manifest") ? error.message : `unexpected ${String(error)}`;
  }
  return "none";
}

describe("a key command", () => {
  test("gives its output without blanks around it; arguments are not split", async () => {
    expect(await runKeyCommand(shell("printf '  %s\\n\\n' abc-123"), env)).toBe("abc-123");
    expect(await runKeyCommand(["printf", "%s", "a b"], env)).toBe("a b");
  });

  test("gets the environment, less what would take over a Bun program", async () => {
    expect(await runKeyCommand(shell('echo "$GREETING$BUN_OPTIONS"'), env)).toBe("from-env");
  });

  test("that fails is told with its last complaint, without arguments and without the key", async () => {
    const text = await problem(
      shell("echo sk-secret; echo first >&2; echo no sk-secret >&2; exit 3"),
    );
    expect(text).toBe(
      "model configuration error: key command `/bin/sh …` failed with exit code 3: no [key]",
    );
  });

  test.each([
    [["/no/such/program"], "cannot be run: no such program"],
    [shell("true"), "printed nothing"],
    [shell("kill -9 $$"), "was ended by SIGKILL"],
    [shell("head -c 100000 /dev/zero | tr '\\0' x"), "printed more than 16384 bytes"],
  ])("%j is refused", async (command, text) => {
    expect(await problem(command)).toEndWith(` ${text}`);
  });

  test("that takes too long is ended", async () => {
    expect(await problem(["sleep", "60"], 100)).toEndWith("did not end within 0.1 s");
  });

  test("whose child keeps the output open does not hold the start", async () => {
    const started = performance.now();
    const text = await problem(shell("echo key; sleep 5 &"));
    expect(text).toEndWith("left its output open");
    expect(performance.now() - started).toBeLessThan(4500);
  });

  test.each([
    ["that ended", "echo key; sleep 20 & echo $! >&2", 60_000, "left its output open"],
    ["that took too long", "sleep 20 & echo $! >&2; exec sleep 20", 300, "within 0.3 s"],
  ])(
    "%s lets us end although its child keeps the output open, and the child lives",
    async (_, script, timeoutMs, text) => {
      await using dir = temp();
      const pidFile = dir.join("pid");
      const program = `
        import { runKeyCommand } from "${import.meta.dir}/../../src/model/key-command.ts";
        const script = ${JSON.stringify(script.replace(">&2", `> ${pidFile}`))};
        runKeyCommand(["/bin/sh", "-c", script], { PATH: process.env.PATH }, ${timeoutMs})
          .catch((error) => console.log(error.message));
      `;
      await Bun.write(dir.join("program.ts"), program);
      const child = Bun.spawn([process.execPath, dir.join("program.ts")], { stderr: "inherit" });
      const printed = child.stdout.text();
      try {
        expect(await within(child.exited, 4000, "end of the process")).toBe(0);
        expect(await printed).toEndWith(`${text}\n`);
        // It may be an agent that the program started for later.
        expect(() => process.kill(Number(readFileSync(pidFile, "utf8")), 0)).not.toThrow();
      } finally {
        child.kill("SIGKILL");
        process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL");
      }
    },
  );
});
