/** What a deny rule of `read` hides in a file system is not to be had from the disk below it. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { CONFINES, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

const DISKS = existsSync("/dev")
  ? readdirSync("/dev")
      .map((name) => `/dev/${name}`)
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true)
  : [];
/** One that has a byte to read; only root and the group of disks can look. */
const disk = DISKS.find(
  (path) => Bun.spawnSync(["head", "-c1", path], { stderr: "ignore" }).stdout.length === 1,
);

describe.skipIf(!CONFINES)("where something is hidden from commands", () => {
  const hidden = (root: string) => [rule("read", `${root}/hidden`)];

  test.skipIf(disk === undefined)("disks are, too", async () => {
    const command = `head -c1 ${disk} | wc -c`;
    await using open = shellBench();
    expect((await open.bash(command)).content).toBe("1\n");
    await using closed = shellBench({ deny: hidden });
    expect((await closed.bash(command)).content).toContain("Permission denied");
  });

  test("so is every other device, by its directory", async () => {
    // As a disk, where the machine of the tests lets nobody open one.
    const command = "(exec 7</dev/ptmx) && echo opened";
    await using open = shellBench();
    expect((await open.bash(command)).content).toBe("opened\n");
    await using closed = shellBench({ deny: hidden });
    expect((await closed.bash(command)).content).toContain("Permission denied");
  });

  test("the devices that every command has are not, nor shared memory", async () => {
    await using bench = shellBench({ deny: hidden, write: () => ["/dev/shm"] });
    const { content } = await bench.bash(
      "head -c1 /dev/zero | wc -c; head -c1 /dev/urandom | wc -c; cat </dev/null; echo a | cat /dev/stdin; " +
        "cat <(echo b); f=$(mktemp /dev/shm/pod-XXXXXX); echo c >$f; cat $f; rm $f",
    );
    expect(content).toBe("1\n1\na\nb\nc\n");
  });
});
