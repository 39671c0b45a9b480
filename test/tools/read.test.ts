import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { within } from "../support/temp.ts";
import { bench, failed, refused, rule } from "./support.ts";

test("31: Read numbers lines and says how many", async () => {
  await using b = bench();
  const path = b.file("a.txt", "alpha\nbeta\ngamma\n");
  expect(await b.call("Read", { file_path: path })).toEqual({
    summary: `Read 3 line(s) from ${path}`,
    content: "     1\talpha\n     2\tbeta\n     3\tgamma\n",
    isError: false,
  });
});

test("32: offset and limit choose lines, and the summary says which", async () => {
  await using b = bench();
  const path = b.file("a.txt", "1\n2\n3\n4\n5\n");
  const result = await b.call("Read", { file_path: path, offset: 1, limit: 2 });
  expect(result.summary).toBe(`Read 2 line(s) [2..3] of 5 from ${path}`);
  expect(result.content).toBe("     2\t2\n     3\t3\n");
});

test("33: an offset past the end shows nothing and says where the end is", async () => {
  await using b = bench();
  const path = b.file("a.txt", "1\n2\n3\n4\n5\n");
  const result = await b.call("Read", { file_path: path, offset: 10 });
  expect(result.summary).toBe(
    `Read 0 line(s) [11..10] of 5 from ${path} (the file has only 5 line(s))`,
  );
  expect(result.content).toBe("");
  const next = await b.call("Read", { file_path: path, offset: 5 });
  expect(next.summary).toEndWith("(the file has only 5 line(s))");
});

test("34: limit 0 shows one line; null means the default", async () => {
  await using b = bench();
  const path = b.file("a.txt", "1\n2\n3");
  const one = await b.call("Read", { file_path: path, limit: 0 });
  expect(one.content).toBe("     1\t1\n");
  const all = await b.call("Read", { file_path: path, limit: null, offset: null });
  expect(all.summary).toBe(`Read 3 line(s) from ${path}`);
});

test("a limit equal to the number of lines shows the whole file; 2000 is the default", async () => {
  await using b = bench();
  const path = b.file("a.txt", "x\n".repeat(2001));
  const whole = await b.call("Read", { file_path: path, limit: 2001 });
  expect(whole.summary).toBe(`Read 2001 line(s) from ${path}`);
  const part = await b.call("Read", { file_path: path });
  expect(part.summary).toBe(`Read 2000 line(s) [1..2000] of 2001 from ${path}`);
});

test("35: a carriage return at the end of a line goes, one inside stays", async () => {
  await using b = bench();
  const path = b.file("a.txt", "one\r\nt\rwo\r\n");
  const result = await b.call("Read", { file_path: path });
  expect(result.content).toBe("     1\tone\n     2\tt\rwo\n");
});

test("36: an empty file has no lines, and Edit finds nothing in it", async () => {
  await using b = bench();
  const path = b.file("a.txt", "");
  const result = await b.call("Read", { file_path: path });
  expect(result).toEqual({ summary: `Read 0 line(s) from ${path}`, content: "", isError: false });
  const edit = { file_path: path, old_string: "a", new_string: "b" };
  expect(await b.call("Edit", edit)).toEqual(refused(`string not found in file: ${path}`));
});

test("37: a relative or empty path is refused", async () => {
  await using b = bench();
  for (const path of ["a.txt", "./a.txt", ""]) {
    expect(await b.call("Read", { file_path: path })).toEqual(
      refused(`path must be absolute: ${path}`),
    );
  }
});

test("38: a directory is refused", async () => {
  await using b = bench();
  expect(await b.call("Read", { file_path: b.root })).toEqual(
    refused(`path is a directory: ${b.root}`),
  );
});

test("39: missing inside the scope is not found, missing or there outside is outside", async () => {
  await using b = bench();
  const inside = b.path("none.txt");
  expect(await b.call("Read", { file_path: inside })).toEqual(failed(`file not found: ${inside}`));
  writeFileSync(`${b.outside}/there`, "secret");
  for (const name of ["none", "there"]) {
    const path = `${b.outside}/${name}`;
    expect(await b.call("Read", { file_path: path })).toEqual(
      refused(`path is outside allowed scope: ${path}`),
    );
  }
});

test("40: a path that cannot be used as it is written is refused with the reason", async () => {
  await using b = bench();
  b.file("a.txt", "x");
  const long = b.path("x/".repeat(2100));
  for (const [path, message] of [
    [b.path("nosuch/../../etc/passwd"), "path contains `..`, which is not accepted: PATH"],
    [`${b.outside}/../work/a.txt`, "path contains `..`, which is not accepted: PATH"],
    [
      b.path("a\0.txt"),
      `path contains a NUL character, which is not accepted: ${b.path("a")}\\u0000.txt`,
    ],
    [b.path("\ud83d"), "path is not valid Unicode, which is not accepted: PATH"],
    [long, `path is longer than 4095 bytes, which is not accepted: ${long.slice(0, 256)}…`],
  ] as const) {
    const refusal = refused(message.replace("PATH", path));
    expect(await b.call("Read", { file_path: path })).toEqual(refusal);
    expect(await b.call("Write", { file_path: path, content: "x" })).toEqual(refusal);
    expect(await b.call("Grep", { pattern: "x", path })).toEqual(refusal);
    expect(await b.call("Glob", { pattern: "*", path })).toEqual(refusal);
  }
});

test("a link to a name that is no text is outside, wherever it is", async () => {
  await using b = bench();
  for (const directory of [b.root, b.outside]) {
    const bad = Buffer.concat([Buffer.from(`${directory}/bad`), Buffer.from([0xff])]);
    writeFileSync(bad, "x");
    symlinkSync(bad, `${directory}/link`);
    const path = `${directory}/link`;
    expect(await b.call("Read", { file_path: path })).toEqual(
      refused(`path is outside allowed scope: ${path}`),
    );
  }
});

test("41: a link to a file outside is refused for reading and writing", async () => {
  await using b = bench();
  const target = `${b.outside}/secret`;
  writeFileSync(target, "secret");
  const link = b.path("link");
  symlinkSync(target, link);
  const outside = refused(`path is outside allowed scope: ${link}`);
  expect(await b.call("Read", { file_path: link })).toEqual(outside);
  expect(await b.call("Write", { file_path: link, content: "x" })).toEqual(outside);
  expect(await Bun.file(target).text()).toBe("secret");
});

test("a link inside the scope is read through, a broken one is not found", async () => {
  await using b = bench();
  b.file("real.txt", "hello\n");
  symlinkSync("real.txt", b.path("link"));
  symlinkSync("none", b.path("broken"));
  expect((await b.call("Read", { file_path: b.path("link") })).content).toBe("     1\thello\n");
  const broken = b.path("broken");
  expect(await b.call("Read", { file_path: broken })).toEqual(failed(`file not found: ${broken}`));
});

test("a denied path is outside although its directory is granted", async () => {
  await using b = bench((root) => [rule("read", `${root}/secret`)]);
  const path = b.file("secret/key", "x");
  expect(await b.call("Read", { file_path: path })).toEqual(
    refused(`path is outside allowed scope: ${path}`),
  );
});

test("a file used as a directory is an I/O error with the system's words", async () => {
  await using b = bench();
  const path = `${b.file("a.txt", "x")}/b`;
  expect(await b.call("Read", { file_path: path })).toEqual(
    failed(`I/O error at ${path}: Not a directory (os error 20)`),
  );
});

test("bytes that are not UTF-8 are shown as replacement characters and a BOM stays", async () => {
  await using b = bench();
  const path = b.file("a.bin", Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff, 0x0a, 0xe2, 0x82, 0x0a]));
  const result = await b.call("Read", { file_path: path });
  expect(result.content).toBe("     1\t\uFEFFa\uFFFD\n     2\t\uFFFD\n");
});

test("a line of a megabyte is one line, and how to see the end of it is said", async () => {
  await using b = bench();
  const path = b.file("wide.txt", `short\n${"x".repeat(1024 * 1024)}\nshort\n`);
  const read = async (offset: number) =>
    await b.call("Read", { file_path: path, offset, limit: 1 });
  const result = await read(1);
  const command = "sed -n 2p FILE | cut -b 16001-28000";
  expect(result.summary).toBe(
    `Read 1 line(s) [2..2] of 3 from ${path} ` +
      `(line 2 has 1048576 bytes; what is cut off of it can be seen with Bash: ${command})`,
  );
  expect(result.content?.length).toBe(1024 * 1024 + 8);
  const whole = await b.call("Read", { file_path: path });
  expect(whole.summary).toContain(`Read 3 line(s) from ${path} (line 2 has 1048576 bytes; `);
  for (const offset of [0, 2]) expect((await read(offset)).summary).toEndWith(path);
  // The command shows what it is said to show.
  const shown = Bun.spawnSync(["sh", "-c", command.replace("FILE", "wide.txt")], { cwd: b.root });
  expect(shown.stdout.toString()).toBe(`${"x".repeat(12_000)}\n`);
});

test("numbers that are negative, fractional or text are input errors", async () => {
  await using b = bench();
  const path = b.file("a.txt", "x");
  for (const limit of [-1, 1.5, "1"]) {
    const result = await b.call("Read", { file_path: path, limit });
    expect(result.summary).toStartWith(
      "Tool execution failed: Invalid argument: invalid Read input: limit: ",
    );
  }
  expect((await b.call("Read", {})).summary).toContain("missing field `file_path`");
});

test("a FIFO, a socket and a device are refused without waiting", async () => {
  await using b = bench();
  const fifo = b.path("fifo");
  spawnSync("mkfifo", [fifo]);
  const result = await within(b.call("Read", { file_path: fifo }), 2000, "reading a FIFO");
  expect(result).toEqual(refused(`path is a FIFO, not a regular file: ${fifo}`));
  const write = b.call("Write", { file_path: fifo, content: "x" });
  expect(await within(write, 2000, "writing a FIFO")).toEqual(result);
  using server = Bun.listen({ unix: b.path("sock"), socket: { data() {} } });
  void server;
  expect((await b.call("Read", { file_path: b.path("sock") })).summary).toContain(
    "path is a socket, not a regular file",
  );
});

test("a file above 10 MiB is refused with both numbers, one of exactly 10 MiB is read", async () => {
  await using b = bench();
  const limit = 10 * 1024 * 1024;
  const large = b.file("large", Buffer.alloc(limit + 1, "a"));
  const result = await b.call("Read", { file_path: large });
  expect(result.summary).toContain(`${large} has ${limit + 1} bytes, the limit is ${limit}`);
  const fits = b.file("fits", Buffer.alloc(limit, "a"));
  expect((await b.call("Read", { file_path: fits, limit: 1 })).isError).toBe(false);
});

test("names with blanks, newlines and other scripts are read", async () => {
  await using b = bench();
  mkdirSync(b.path("ein ordner"));
  const path = b.file("ein ordner/zeile\n日本語.txt", "ja\n");
  expect((await b.call("Read", { file_path: path })).content).toBe("     1\tja\n");
});
