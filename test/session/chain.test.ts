/** The hash chain and the entry format, against the vectors of the contract (spec 5.2, 5.3). */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { openLine, sealEntry } from "../../src/session/chain.ts";
import type { Entry } from "../../src/session/entry.ts";
import { parseEntry } from "../../src/session/entry.ts";
import { fromLogged, toLogged } from "../../src/session/logged-item.ts";
import { VECTORS, VECTOR_ENTRIES } from "./vectors.ts";

const bytes = (line: string): Uint8Array => Buffer.from(line.replace(/\n$/, ""));

test("the five vector lines come out byte for byte and verify in their order (94)", () => {
  let head: string | undefined;
  for (const [index, entry] of VECTOR_ENTRIES.entries()) {
    const sealed = sealEntry(entry, head);
    expect(sealed.line).toBe(`${VECTORS[index]}\n`);
    const opened = openLine(bytes(sealed.line), head);
    expect(opened).toMatchObject({ ok: true, head: sealed.head });
    ({ head } = sealed);
  }
});

test("escapes hash as the reference's do (95)", () => {
  const content = 'é\n\t"\\/\b\f\u001f\u007f\u2028\u{1F600}';
  const entry: Entry = { kind: "user_input", ts: 1, segments: [{ kind: "text", content }] };
  expect(sealEntry(entry, undefined).head).toBe(
    "27311f4a0373bf902b7a70291b490230cc285451b94b05cbc9df9a978d10a39f",
  );
});

test("a line verifies by its text, whatever order and numbers it is written with", () => {
  // As the reference writes a float: a re-serialisation would lose the `.0`.
  const json = '{"kind":"config_changed","ts":1,"config":{"temperature":1.0}}';
  const hasher = new Bun.CryptoHasher("sha256").update(new Uint8Array(32)).update(json);
  const line = `{"hash":"${hasher.digest("hex")}","prev_hash":null,${json.slice(1)}`;
  expect(openLine(bytes(line), undefined)).toMatchObject({ ok: true, json });
});

test("a line that does not follow the one before it is refused", () => {
  const first = sealEntry({ kind: "turn_end", ts: 1, turn_count: 1 }, undefined);
  const second = sealEntry({ kind: "turn_end", ts: 2, turn_count: 2 }, first.head);
  expect(openLine(bytes(second.line), undefined)).toMatchObject({ ok: false });
  expect(openLine(bytes(first.line), first.head)).toMatchObject({ ok: false });
});

test("any flipped bit of a line is found", () => {
  const sealed = sealEntry(
    { kind: "user_input", ts: 5, segments: [{ kind: "text", content: "grüße \u{1F600}" }] },
    undefined,
  );
  const line = bytes(sealed.line);
  for (let at = 0; at < line.length * 8; at += 1) {
    const changed = Uint8Array.from(line);
    changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7));
    expect(openLine(changed, undefined).ok).toBe(false);
  }
});

test("malformed strings are made well-formed, so that the line can be read again", () => {
  const { line } = sealEntry(
    { kind: "user_input", ts: 1, segments: [{ kind: "text", content: "a\ud800b" }] },
    undefined,
  );
  const opened = openLine(bytes(line), undefined);
  expect(opened.ok && parseEntry(opened.json).ok).toBe(true);
});

test("an entry of an unknown kind is no mistake, a known kind with wrong content is (103)", () => {
  expect(parseEntry('{"kind":"future_thing","ts":1,"x":[1]}')).toEqual({
    ok: true,
    entry: undefined,
  });
  expect(parseEntry('{"kind":"turn_end","ts":1,"turn_count":"1"}')).toMatchObject({ ok: false });
  expect(parseEntry("[1]")).toMatchObject({ ok: false });
});

test("a reasoning item keeps its encrypted part and its vendor's data, not id and status (107)", () => {
  const item = {
    type: "reasoning",
    id: "i000007",
    text: "hm",
    encrypted_content: "enc",
    status: "completed",
    provider: { anthropic: { signature: "sig" } },
  } as const;
  const { id: _id, status: _status, ...kept } = item;
  expect(fromLogged(toLogged(item))).toEqual(kept);
  expect(Object.keys(toLogged(item))).toEqual(["kind", "text", "encrypted_content", "provider"]);
  const call = {
    type: "tool_call",
    call_id: "c",
    name: "T",
    arguments: "{}",
    provider: { google: { thoughtSignature: "sig" } },
  } as const;
  expect(fromLogged(toLogged(call))).toEqual(call);
  const notice = { type: "message", role: "system", content: [], notice: "exit:1" } as const;
  expect(fromLogged(toLogged({ ...notice, content: [] }))).toEqual({ ...notice, content: [] });
});

test("items survive the way to the log and back", () => {
  const text = fc.string();
  const item = fc.oneof(
    fc.record({
      type: fc.constant("message" as const),
      role: fc.constantFrom("user" as const, "assistant" as const, "system" as const),
      content: fc.array(
        fc.oneof(
          fc.record({ type: fc.constant("text" as const), text }),
          fc.record({ type: fc.constant("refusal" as const), refusal: text }),
        ),
      ),
    }),
    fc.record({
      type: fc.constant("tool_call" as const),
      call_id: text,
      name: text,
      arguments: text,
    }),
    fc.record(
      { type: fc.constant("tool_result" as const), call_id: text, summary: text, content: text },
      { requiredKeys: ["type", "call_id", "summary"] },
    ),
  );
  fc.assert(
    fc.property(item, (value) => {
      expect(fromLogged(JSON.parse(JSON.stringify(toLogged(value))))).toEqual(value);
    }),
  );
});
