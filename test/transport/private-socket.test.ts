import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isPodError } from "../../src/base/errors.ts";
import { bindPrivately } from "../../src/transport/private-socket.ts";
import { temp } from "../support/temp.ts";

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const listen = (unix: string) => Bun.listen({ unix, socket: { data: () => undefined } });

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("private socket", () => {
  test("mode is 0600 from the moment the socket exists, whatever the umask", async () => {
    await using dir = temp();
    const before = process.umask(0);
    try {
      let first = -1;
      const bound = bindPrivately(dir.join("sock"), (unix) => {
        const listener = listen(unix);
        first = modeOf(unix);
        return listener;
      });
      expect(first).toBe(0o600);
      expect(modeOf(dir.join("sock"))).toBe(0o600);
      expect(process.umask()).toBe(0);
      bound.stop();
    } finally {
      process.umask(before);
    }
  });

  test("the final path is taken over in one step, when the listener is ready", async () => {
    await using dir = temp();
    writeFileSync(dir.join("sock"), "stale");
    const bound = bindPrivately(dir.join("sock"), (unix) => {
      const listener = listen(unix);
      expect(statSync(dir.join("sock")).isFile()).toBe(true);
      return listener;
    });
    expect(statSync(dir.join("sock")).isSocket()).toBe(true);
    expect(readdirSync(dir.path)).toEqual(["sock"]);
    bound.stop();
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("a socket left between bind and rename is replaced", async () => {
    await using dir = temp();
    writeFileSync(dir.join(".s"), "left over");
    bindPrivately(dir.join("sock"), listen).stop();
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("a name that vanishes before the rename is bound again", async () => {
    await using dir = temp();
    let attempts = 0;
    const bound = bindPrivately(dir.join("sock"), (unix) => {
      attempts += 1;
      const listener = listen(unix);
      if (attempts === 1) listener.stop(true); // what an older listener's stop does to the name
      return listener;
    });
    expect(attempts).toBe(2);
    expect(statSync(dir.join("sock")).isSocket()).toBe(true);
    bound.stop();
  });

  test("stop leaves a newer listener's socket alone", async () => {
    await using dir = temp();
    const older = bindPrivately(dir.join("sock"), listen);
    const newer = bindPrivately(dir.join("sock"), listen);
    const { ino } = statSync(dir.join("sock"));
    older.stop();
    expect(statSync(dir.join("sock")).ino).toBe(ino);
    newer.stop();
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("stop is content when the file or its directory is gone", async () => {
    await using dir = temp();
    mkdirSync(dir.join("pod"));
    const bound = bindPrivately(dir.join("pod", "sock"), listen);
    await dir[Symbol.asyncDispose]();
    bound.stop();
  });

  test("a failure names the path and leaves nothing behind", async () => {
    await using dir = temp();
    mkdirSync(dir.join("sock"));
    const error = thrown(() => bindPrivately(dir.join("sock"), listen));
    expect(isPodError(error, "io")).toBe(true);
    expect(String(error)).toContain(`cannot listen on ${dir.join("sock")}`);
    expect(readdirSync(dir.path)).toEqual(["sock"]);
    const missing = thrown(() => bindPrivately(dir.join("no", "sock"), listen));
    expect(isPodError(missing, "io")).toBe(true);
  });

  test("a path that the kernel cannot take is refused before anything is touched", async () => {
    await using dir = temp();
    const long = join(dir.path, "x".repeat(120), "sock");
    let asked = false;
    const error = thrown(() =>
      bindPrivately(long, (unix) => {
        asked = true;
        return listen(unix);
      }),
    );
    expect(isPodError(error, "path_too_long")).toBe(true);
    expect(asked).toBe(false);
  });
});
