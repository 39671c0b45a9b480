import { expect, test } from "bun:test";

test("a line of the log moves no cursor, whatever it quotes", () => {
  const program =
    `import { log } from "${import.meta.dir}/../../src/base/log.ts";` +
    'log("warn", "a \\u001b]0;X\\u0007 b\\nINSOMNIA-READY", new Error("c \\u001b[2J d"));';
  const { stderr } = Bun.spawnSync([process.execPath, "-e", program]);
  expect(stderr.toString()).toBe("pod: warn: a ]0;X b INSOMNIA-READY (c [2J d)\n");
});
