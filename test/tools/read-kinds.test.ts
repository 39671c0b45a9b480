/** Files that are no text: described, refused or decoded, never dumped. */
import { describe, expect, test } from "bun:test";
import { kindOfFile } from "../../src/tools/file-kind.ts";
import { bench, refused } from "./support.ts";

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "string" ? [...part].map((char) => char.charCodeAt(0)) : part,
    ),
  );
const PNG = bytes("\u0089PNG\r\n\u001a\n", [0, 0, 0, 13], "IHDR", [0, 0, 2, 128, 0, 0, 1, 224]);

describe("the kind of a file", () => {
  test.each([
    ["PNG image, 640 x 480", PNG],
    ["GIF image, 3 x 2", bytes("GIF89a", [3, 0, 2, 0])],
    [
      "JPEG image, 300 x 200",
      bytes([0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 17, 8, 0, 200, 1, 44, 3, 1, 0, 0]),
    ],
    [
      "WebP image, 17 x 9",
      bytes("RIFF", [0, 0, 0, 0], "WEBPVP8X", [10, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 8, 0, 0]),
    ],
    ["PNG image", bytes("\u0089PNG\r\n\u001a\n")],
    ["JPEG image", bytes([0xff, 0xd8, 0xff])],
  ])("of a picture has its size: %s", (what, content) => {
    expect(kindOfFile(content)).toEqual({ kind: "image", what });
  });

  test.each([
    ["PDF document", bytes("%PDF-1.7\ntext")],
    ["ELF program or library", bytes("\u007fELF", [2, 0])],
    ["ZIP archive or office document", bytes("PK\u0003\u0004", [0])],
    ["binary data", bytes("text", [0], "text")],
  ])("that is no text has a name: %s", (what, content) => {
    expect(kindOfFile(content)).toEqual({ kind: "binary", what });
  });

  test.each([["BZh is how this text begins"], ["ID3 tags"], [""], ["BM is no picture either"]])(
    "of %j is text",
    (text) => {
      expect(kindOfFile(bytes(text))).toEqual({ kind: "text", encoding: "utf-8" });
    },
  );
});

test("Read describes a picture instead of showing it", async () => {
  await using b = bench();
  const path = b.file("a.txt", PNG);
  expect(await b.call("Read", { file_path: path })).toEqual({
    summary: `PNG image, 640 x 480, ${PNG.length} bytes: ${path} (pictures are not shown)`,
    isError: false,
  });
});

test("Read refuses a binary file politely, and a Write over it as not read", async () => {
  await using b = bench();
  const path = b.file("a.bin", bytes("\u007fELF", [2, 0, 1]));
  expect(await b.call("Read", { file_path: path })).toEqual(
    refused(`file is not text (ELF program or library, 7 bytes): ${path}; Read shows text only`),
  );
  const write = await b.call("Write", { file_path: path, content: "x" });
  expect(write.summary).toContain("file has not been read in this session");
});

test("Read decodes UTF-16 that has its mark", async () => {
  await using b = bench();
  const path = b.file("a.txt", Buffer.from("\ufeffone\ntwo\n", "utf16le"));
  const { summary, content } = await b.call("Read", { file_path: path });
  expect([summary, content]).toEqual([`Read 2 line(s) from ${path}`, "     1\tone\n     2\ttwo\n"]);
});

test("Read shows a notebook as its cells, and as JSON when a part is asked for", async () => {
  await using b = bench();
  const image = "A".repeat(5000);
  const notebook = {
    nbformat: 4,
    cells: [
      { cell_type: "markdown", source: ["# Title\n", "words"] },
      {
        cell_type: "code",
        source: "print(1)\n",
        outputs: [
          { output_type: "stream", text: ["1\n"] },
          { output_type: "display_data", data: { "image/png": image, "text/plain": "<Figure>" } },
          { output_type: "error", ename: "KeyError", evalue: "'x'" },
        ],
      },
    ],
  };
  const path = b.file("a.ipynb", JSON.stringify(notebook, null, 1));
  const { summary, content } = await b.call("Read", { file_path: path });
  expect(summary).toBe(`Read notebook of 2 cell(s) from ${path}`);
  expect(content).toBe(
    "--- cell 1 [markdown]\n# Title\nwords\n\n--- cell 2 [code]\nprint(1)\n[output] 1\n" +
      "[output: image/png, 5000 characters; text/plain, 8 characters]\n[error] KeyError: 'x'\n",
  );
  const raw = await b.call("Read", { file_path: path, limit: 3 });
  expect(raw.content).toStartWith('     1\t{\n     2\t "nbformat": 4,\n');
  const edit = { file_path: path, old_string: "print(1)", new_string: "print(2)" };
  expect((await b.call("Edit", edit)).isError).toBe(false);
});

test("Read shows a file that is only called a notebook as the text it is", async () => {
  await using b = bench();
  const path = b.file("a.ipynb", "{ broken");
  expect((await b.call("Read", { file_path: path })).content).toBe("     1\t{ broken\n");
});
