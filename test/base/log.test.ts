import { expect, test } from "bun:test";

test("a line of the log moves no cursor, whatever it quotes", () => {
  const program =
    `import { log } from "${import.meta.dir}/../../src/base/log.ts";` +
    'log("warn", "a \\u001b]0;X\\u0007 b", new Error("c \\u001b[2J d"));';
  const { stderr } = Bun.spawnSync([process.execPath, "-e", program]);
  expect(stderr.toString()).toBe("pod: warn: a ]0;X b (c [2J d)\n");
});
