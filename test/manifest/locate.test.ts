import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parse } from "smol-toml";
import { type KeyPath, lineFinder } from "../../src/manifest/locate.ts";

describe("the line of a key", () => {
  const text = `# first [not.a.table]
name = "a"            # 2
dotted . "quoted \\u0041.key" = 1

[pod]
text = """
[fake]
name = 'x' \\"\\"\\"
"""                   # 6 to 9
after = '''
[[fake]]''''          # 10, 11

[model.auth]
kind = "a]#" # 14
[model]
inline = { a = 1, b = { c = [1, { d = 2 }] } }
list = [
  "x", # ]
  { deep = true,
    deeper.still = 1 },
]
[[scope.allow]]
target = "a"
[[scope.allow]] # second
target = "b"
[scope.allow.sub]
x = 1
[ 'a b' . c ]
y=2`;

  test("the document is TOML", () => {
    expect(Object.keys(parse(text))).toContain("scope");
  });

  const cases: [number, KeyPath][] = [
    [1, []],
    [2, ["name"]],
    [3, ["dotted"]],
    [3, ["dotted", "quoted A.key"]],
    [5, ["pod"]],
    [6, ["pod", "text"]],
    [10, ["pod", "after"]],
    [13, ["model", "auth"]],
    [14, ["model", "auth", "kind"]],
    [15, ["model"]],
    [16, ["model", "inline", "b", "c", 1, "d"]],
    [17, ["model", "list"]],
    [18, ["model", "list", 0]],
    [19, ["model", "list", 1, "deep"]],
    [20, ["model", "list", 1, "deeper", "still"]],
    [22, ["scope", "allow"]],
    [22, ["scope", "allow", 0]],
    [23, ["scope", "allow", 0, "target"]],
    [24, ["scope", "allow", 1]],
    [25, ["scope", "allow", 1, "target"]],
    [27, ["scope", "allow", 1, "sub", "x"]],
    [29, ["a b", "c", "y"]],
  ];
  test.each(cases)("line %d has %j", (line, path) => {
    expect(lineFinder(text)(path)).toBe(line);
  });

  const missing: [number, KeyPath][] = [
    [1, ["nothing", "here"]],
    [5, ["pod", "name"]],
    [15, ["model", "ref"]],
    [24, ["scope", "allow", 1, "permission"]],
    [22, ["scope", "allow", 7, "target"]],
    [16, ["model", "inline", "zz"]],
  ];
  test.each(missing)("line %d stands for the absent %j, being its table", (line, path) => {
    expect(lineFinder(text)(path)).toBe(line);
  });

  test("line ends may be CRLF", () => {
    expect(lineFinder("[a]\r\nb = 1\r\nc = 2\r\n")(["a", "c"])).toBe(3);
  });

  test("a name of very many parts takes no time", () => {
    const parts = "a.".repeat(100_000);
    const start = process.cpuUsage().user;
    expect(lineFinder(`x = 1\n${parts}b = 1\n`)(["a", "a"])).toBe(2);
    expect(lineFinder(`x = 1\n[${parts}b]\ny = 1\n`)(["a", "a"])).toBe(2);
    expect(process.cpuUsage().user - start).toBeLessThan(2_000_000);
  });

  test("any text at all gives a line of that text", () => {
    const nasty = fc.string({ unit: fc.constantFrom(..."ab=.[]{}\"'#\\\n ,1"), maxLength: 60 });
    fc.assert(
      fc.property(nasty, fc.array(fc.constantFrom("a", "b", 0, 1)), (document, path) => {
        const line = lineFinder(document)(path);
        expect(line).toBeGreaterThanOrEqual(1);
        expect(line).toBeLessThanOrEqual(document.split("\n").length);
      }),
    );
  });
});

/** Writes TOML piece by piece and remembers the line of every key it writes. */
class Writer {
  text = "";
  readonly expected: [KeyPath, number][] = [];
  get line(): number {
    return this.text.split("\n").length;
  }
  mark(path: KeyPath): void {
    this.expected.push([path, this.line]);
  }
}

type Value =
  | { kind: "raw"; text: string }
  | { kind: "array"; items: Value[]; breaks: boolean }
  | { kind: "table"; entries: [string, Value][]; breaks: boolean };

const keys = fc.oneof(
  fc.stringMatching(/^[A-Za-z0-9_-]{1,5}$/),
  fc.string({ unit: fc.constantFrom(..."a.#[]{}='\"\\ \tü\n"), maxLength: 5 }),
);
const raw = fc
  .constantFrom(
    "1",
    "-2.5e3",
    "true",
    "1979-05-27 07:32:00Z",
    '"# [x] = \\" {"',
    "'\\ # ] }'",
    '""',
    '"""\n[a]\nb = "" # \\"\\"""""',
    "'''\n[[a]] '' \n'''",
    '"""\nend with quotes"""""',
  )
  .map((text) => ({ kind: "raw" as const, text: text.replace('\\"""" """', '\\"\n"""') }));
const uniqueEntries = (value: fc.Arbitrary<Value>) =>
  fc.uniqueArray(fc.tuple(keys, value), { selector: ([key]) => key, maxLength: 3 });
const { value: values } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    raw,
    fc.record({
      kind: fc.constant("array" as const),
      items: fc.array(tie("value"), { maxLength: 3 }),
      breaks: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant("table" as const),
      entries: uniqueEntries(tie("value")),
      breaks: fc.boolean(),
    }),
  ),
}));

const keyText = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key));

function writeValue(writer: Writer, path: KeyPath, value: Value): void {
  if (value.kind === "raw") {
    writer.text += value.text;
    return;
  }
  const pad = value.breaks ? '\n  # ] } "\n' : " ";
  const isArray = value.kind === "array";
  writer.text += isArray ? "[" : "{";
  const entries: [string | number, Value][] = isArray ? [...value.items.entries()] : value.entries;
  for (const [index, [key, inner]] of entries.entries()) {
    if (index > 0) writer.text += ",";
    writer.text += pad;
    writer.mark([...path, key]);
    if (typeof key === "string") writer.text += `${keyText(key)} = `;
    writeValue(writer, [...path, key], inner);
  }
  writer.text += `${pad}${isArray ? "]" : "}"}`;
}

const sections = fc.uniqueArray(
  fc.record({
    name: keys,
    inner: fc.option(keys, { nil: undefined }),
    copies: fc.integer({ min: 0, max: 3 }),
    entries: uniqueEntries(values),
    comment: fc.boolean(),
  }),
  { selector: ({ name }) => name, maxLength: 4 },
);

test("every key of a generated document is found on the line it was written to", () => {
  fc.assert(
    fc.property(sections, (generated) => {
      const writer = new Writer();
      for (const { name, inner, copies, entries, comment } of generated) {
        const names = inner === undefined ? [name] : [name, inner];
        // No copies: a plain table; otherwise that many elements of an array of tables.
        for (let index = 0; index < Math.max(1, copies); index += 1) {
          const path: KeyPath = copies === 0 ? names : [...names, index];
          if (comment) writer.text += '\n# [x] "';
          writer.text += "\n";
          if (index === 0) writer.mark(names);
          writer.mark(path);
          const header = names.map(keyText).join(" . ");
          writer.text += copies === 0 ? `[${header}]` : `[[ ${header} ]] # ]]`;
          for (const [key, value] of entries) {
            writer.text += "\n";
            writer.mark([...path, key]);
            writer.text += `  ${keyText(key)}=`;
            writeValue(writer, [...path, key], value);
          }
        }
      }
      const document: unknown = parse(writer.text);
      const lineOf = lineFinder(writer.text);
      for (const [path, line] of writer.expected) {
        expect(valueAt(document, path)).toBeDefined();
        expect([path, lineOf(path)]).toEqual([path, line]);
      }
    }),
    { numRuns: 300 },
  );
});

function valueAt(value: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (inner, key) => (inner as Record<string | number, unknown>)[key],
    value,
  );
}
