import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { messageOf } from "../../src/base/errors.ts";
import { withPipedOverlay } from "../../src/manifest/pipe.ts";
import { temp } from "../support/temp.ts";

/** A named pipe with a writer that runs `script`, whose `$0` is the pipe. */
function pipe(script: string) {
  const dir = temp();
  const path = dir.join("fifo");
  expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
  const writer = Bun.spawn(["sh", "-c", script, path], { stdio: ["ignore", "ignore", "ignore"] });
  return {
    dir,
    path,
    [Symbol.asyncDispose]: async () => {
      writer.kill("SIGKILL");
      await writer.exited;
      await dir[Symbol.asyncDispose]();
    },
  };
}

const said = async (work: Promise<unknown>): Promise<string> =>
  await work.then(String, (error: unknown) => messageOf(error));

describe("an overlay in a pipe", () => {
  test("is read to its end, however slowly it comes", async () => {
    await using from = pipe('{ printf "a = 1\\n"; sleep 0.1; printf "b = 2\\n"; } > "$0"');
    const options = { overlayFile: "fifo", project: false };
    const read: unknown = await withPipedOverlay(options, from.dir.path);
    expect(read).toEqual({ overlay: "a = 1\nb = 2\n", overlayFile: undefined, project: false });
  });

  test("that is no text, too long or never written is refused", async () => {
    await using binary = pipe('printf "a\\n\\377" > "$0"');
    expect(await said(withPipedOverlay({ overlayFile: binary.path }, "/"))).toBe(
      `failed to load overlay: failed to read manifest ${binary.path}: not valid UTF-8 in line 2`,
    );
    await using endless = pipe('cat /dev/zero > "$0"');
    expect(await said(withPipedOverlay({ overlayFile: endless.path }, "/"))).toEndWith(
      "more than 1048576 bytes",
    );
    await using slow = pipe('while :; do echo "# wait"; sleep 0.01; done > "$0"');
    expect(await said(withPipedOverlay({ overlayFile: slow.path }, "/", 200))).toEndWith(
      "not at its end after 0.2 s",
    );
    await using silent = pipe("true");
    expect(await said(withPipedOverlay({ overlayFile: silent.path }, "/", 100))).toEndWith(
      "not at its end after 0.1 s",
    );
  });

  test("is none when it is a file, or not there", async () => {
    await using dir = temp();
    writeFileSync(dir.join("o.toml"), "a = 1");
    for (const overlayFile of ["o.toml", "nothing", undefined]) {
      expect(await withPipedOverlay({ overlayFile }, dir.path)).toEqual({ overlayFile });
    }
  });
});
