/** The Bash tool: long output, and what of it is kept in a file. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MAX_SPILLS } from "../../src/tools/shell/spills.ts";
import { pathIn, shellBench } from "./shell-support.ts";

describe("long output", () => {
  test("of 80 lines is shown whole, of 81 its end with a file for Read (75)", async () => {
    await using bench = shellBench();
    expect((await bench.bash("seq 1 80")).content?.split("\n")).toHaveLength(81);
    const { content = "" } = await bench.bash("seq 1 81");
    const [header, first] = content.split("\n");
    const path = pathIn(header);
    expect(header).toBe(`[showing last 80 of 81 lines — full output (234 bytes) at ${path}]`);
    expect(first).toBe("2");
    expect(path).toMatch(/\/rooms\/[0-9a-f-]{36}\/bash-output\/bash-[0-9a-zA-Z]{6}\.log$/);
    const read = await bench.call("Read", { file_path: path });
    expect(read.summary).toBe(`Read 81 line(s) from ${path}`);
  });

  test("of 12288 bytes in one line is shown whole, of 12289 its end with a file (76)", async () => {
    await using bench = shellBench();
    const whole = await bench.bash("head -c 12288 /dev/zero | tr '\\0' a");
    expect(whole.content).toBe("a".repeat(12_288));
    const { content = "" } = await bench.bash("head -c 12289 /dev/zero | tr '\\0' a");
    const path = pathIn(content);
    expect(readFileSync(path, "utf8")).toBe("a".repeat(12_289));
    expect(content.length).toBeLessThan(12_288 + 300);
  });

  test("of wide lines fits under the limit for tool results, and begins at a line", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash(
      "for i in $(seq 1 100); do printf '%s:%01000d\\n' $i 0; done",
    );
    expect(Buffer.byteLength(content)).toBeLessThan(16_384);
    const [header, first = ""] = content.split("\n");
    expect(header).toMatch(/^\[showing last 12 of 100 lines — full output \(\d+ bytes\) at /);
    expect(first).toMatch(/^89:0/);
  });

  test("beyond 256 KiB is counted in bytes, and whole in its file", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash("seq 1 100000");
    const path = pathIn(content);
    expect(content).toStartWith(
      `[showing last 80 lines (tail of 588895-byte output) — full at ${path}]\n99921\n`,
    );
    expect(readFileSync(path, "utf8").length).toBe(588_895);
  });

  test("that is cut in a character loses the whole character", async () => {
    await using bench = shellBench();
    const { content = "" } = await bench.bash(
      "for i in $(seq 1 6200); do printf 'é'; done; echo .",
    );
    expect(content).not.toContain("\uFFFD");
  });

  test("is kept for the last commands only", async () => {
    await using bench = shellBench();
    const paths: string[] = [];
    for (let n = 0; n <= MAX_SPILLS; n += 1) {
      paths.push(pathIn((await bench.bash("seq 1 81")).content));
    }
    expect(paths.map((path) => existsSync(path))).toEqual([
      false,
      ...Array.from({ length: MAX_SPILLS }, () => true),
    ]);
  }, 60_000);

  test("leaves nothing behind when the tools end (79)", async () => {
    const bench = shellBench();
    await using _ = bench;
    const { content } = await bench.bash("seq 1 81");
    expect(existsSync(pathIn(content))).toBe(true);
    await bench.close();
    expect(existsSync(pathIn(content))).toBe(false);
    expect(readdirSync(join(bench.runtime, "me"))).toEqual(["shell.lock"]);
  });
});
