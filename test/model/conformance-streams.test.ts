/** What every wire format must do alike with the bytes of an answer: large, split, cut, silent, unwanted. */
import { describe, expect, test } from "bun:test";
import type { ModelEvent } from "../../src/model/model.ts";
import { SYSTEM_CLOCK } from "../../src/model/retry.ts";
import { REMOTE_LIMITS } from "../../src/model/transport.ts";
import { within } from "../support/temp.ts";
import { conformance, SCHEMES, TOOLS } from "./conformance.ts";
import { collect, failureOf, ofType, request } from "./support.ts";

/** For hosts that fall silent. */
const STALLED = { ...REMOTE_LIMITS, idleMs: 600 };

describe.each(SCHEMES)("%s", (scheme) => {
  const { encode, eventsUntil, modelAt, serve } = conformance(scheme);

  test("a stalled stream meets the idle limit and frees the connection", async () => {
    const answer = { text: ["part-1", "part-2"] };
    await using server = await serve(() => ({
      ...answer,
      stallAfter: eventsUntil(answer, "part-1"),
    }));
    const events = await collect(await modelAt(server.url, { limits: STALLED }));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["part-1"]);
    expect(ofType(events, "text_done")).toEqual([]);
    expect(failureOf(events)).toBe(`HTTP error: ${server.host} sent nothing for 0.6 s`);
    expect(server.requests).toHaveLength(1);
    await server.disconnected(1);
  });

  test("a connection cut in the middle fails, and nothing unfinished counts as finished", async () => {
    const seen = Promise.withResolvers<void>();
    const answer = { text: ["part-1", "part-2"], calls: [{ id: "call-a", name: "Read" }] };
    await using server = await serve(() => ({
      ...answer,
      cutAfter: eventsUntil(answer, "part-1"),
      cutWhen: seen.promise,
    }));
    const model = await modelAt(server.url);
    const events: ModelEvent[] = [];
    for await (const event of model.stream(request(), new AbortController().signal)) {
      events.push(event);
      if (event.type === "text_delta") seen.resolve();
    }
    expect(failureOf(events)).toContain("the connection was closed unexpectedly");
    expect(ofType(events, "text_done")).toEqual([]);
    expect(ofType(events, "tool_done")).toEqual([]);
    expect(server.requests).toHaveLength(1);
  });

  test("a body that ends early fails, however politely it ended", async () => {
    const answer = { text: ["part-1", "part-2"], calls: [{ id: "call-a", name: "Read" }] };
    await using server = await serve(() => ({
      raw: encode(answer).slice(0, eventsUntil(answer, "part-1")),
    }));
    const events = await collect(await modelAt(server.url));
    expect(failureOf(events)).toBe(
      `HTTP error: ${server.host} ended the connection before the answer was complete`,
    );
    expect(ofType(events, "text_done")).toEqual([]);
    expect(ofType(events, "tool_done")).toEqual([]);
  });

  test("data that is not JSON fails with the text that was not", async () => {
    const events = encode({ text: "part-1" }).slice(0, -2);
    await using server = await serve(() => ({ raw: [...events, "data: {oops\n\n"] }));
    const message = failureOf(await collect(await modelAt(server.url)));
    expect(message).toStartWith("JSON parse error: ");
    expect(message).toContain("oops");
  });

  test("an answer of 5 MB arrives whole", async () => {
    const part = "0123456789abcdé".repeat(64);
    const text = Array.from({ length: 5300 }, () => part);
    await using server = await serve(() => ({ text }));
    const events = await collect(await modelAt(server.url));
    const whole = ofType(events, "text_done")[0]?.text ?? "";
    expect(Buffer.byteLength(whole)).toBeGreaterThan(5_000_000);
    expect(whole === text.join("")).toBe(true);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  }, 60_000);

  test("a single event of 5 MB arrives whole", async () => {
    const text = "0123456789abcdé".repeat(64 * 5300);
    await using server = await serve(() => ({ text }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_done")[0]?.text === text).toBe(true);
  }, 60_000);

  test("bytes may be split anywhere, also within a character", async () => {
    await using server = await serve(() => ({
      thinking: { text: "søg", signature: "s" },
      text: ["grüße 🙂 ", "終わり"],
      calls: [{ id: "t", name: "Read", input: { file_path: "/日本" } }],
      byteByByte: true,
    }));
    const events = await collect(await modelAt(server.url), request({ tools: TOOLS }));
    expect(ofType(events, "text_done")[0]?.text).toBe("grüße 🙂 終わり");
    expect(JSON.parse(ofType(events, "tool_done")[0]?.arguments ?? "")).toEqual({
      file_path: "/日本",
    });
    expect(
      ofType(events, "thinking_done")
        .map(({ item }) => item.text)
        .join(""),
    ).toBe("søg");
  });

  test("an abort ends the stream at once, before, during and between answers", async () => {
    const answer = { text: ["part-1", "part-2"] };
    await using server = await serve((_, n) =>
      n === 1
        ? { text: "x", stallAfter: 0 }
        : n === 2
          ? { ...answer, stallAfter: eventsUntil(answer, "part-1") }
          : { status: 529, headers: { "retry-after": "50" } },
    );
    const run = async (until: "arrival" | ModelEvent["type"]): Promise<ModelEvent[]> => {
      const abort = new AbortController();
      const model = await modelAt(server.url, { clock: SYSTEM_CLOCK });
      const arrived = server.requests.length + 1;
      if (until === "arrival") void server.arrived(arrived).then(() => abort.abort());
      const seen: ModelEvent[] = [];
      const end = (async () => {
        for await (const event of model.stream(request(), abort.signal)) {
          seen.push(event);
          if (event.type === until) abort.abort();
        }
      })();
      await within(end, 5000, "end after the abort");
      return seen;
    };
    expect(await run("arrival")).toEqual([]);
    expect((await run("text_delta")).map(({ type }) => type)).toEqual(["text_delta"]);
    expect((await run("warning")).map(({ type }) => type)).toEqual(["warning"]);
    await server.disconnected(2);
  });
});
