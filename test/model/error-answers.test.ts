/** Errors that a host sends with status 200, in the ways that libraries do not expect. */
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/model/catalog.ts";
import { failureInBody, streamFailure } from "../../src/model/failure.ts";
import { createModel } from "../../src/model/provider.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { type Answer, wireServer } from "../support/wire-server.ts";
import { collect, failureOf, ofType, virtualClock } from "./support.ts";

type Scheme = keyof typeof FORMATS;
const SCHEMES = Object.keys(FORMATS) as Scheme[];

/** The events of one request that is answered so until the third attempt, and the attempts. */
async function answered(scheme: Scheme, answer: Answer) {
  await using server = await wireServer(FORMATS[scheme], (_, n) =>
    n < 3 ? answer : { text: "ok" },
  );
  const model = await createModel(
    resolveModel({ scheme, base_url: server.url, model_id: "m", auth: { kind: "none" } }),
    { env: {}, podName: "p", clock: virtualClock() },
  );
  return { events: await collect(model), attempts: server.requests.length };
}

describe.each(SCHEMES)("%s", (scheme) => {
  const busy = { error: { message: "The model is busy", type: "server_error", code: 503 } };
  const spent = { error: { message: "No money", type: "insufficient_quota", code: 429 } };
  const forms: readonly [string, (value: unknown) => Answer][] = [
    ["event", (value) => ({ raw: `data: ${JSON.stringify(value)}\n\n` })],
    ["body", (value) => ({ raw: JSON.stringify(value), contentType: "application/json" })],
  ];
  test.each(forms)("an error alone as the %s is tried again", async (_, form) => {
    const { events, attempts } = await answered(scheme, form(busy));
    expect(attempts).toBe(3);
    expect(ofType(events, "warning").map(({ message }) => message)).toEqual([
      expect.stringContaining("failed (API error [server_error]: The model is busy); attempt 2"),
      expect.stringContaining("attempt 3 of 4"),
    ]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("money that is spent is not asked for again, as the vendor tells it in a stream", async () => {
    const streamError = { type: "insufficient_quota", message: "No money" };
    const { events, attempts } = await answered(scheme, { streamError });
    expect(attempts).toBe(1);
    expect(JSON.stringify(events)).toContain("No money");
  });

  test.each(forms)("unless it cannot help, as the %s", async (_, form) => {
    const { events, attempts } = await answered(scheme, form(spent));
    expect(failureOf(events)).toBe("API error [insufficient_quota]: No money");
    expect(attempts).toBe(1);
  });
});

describe("an error in place of an answer", () => {
  /** What the libraries throw for an event that they cannot read. */
  const unread = (value: unknown): Error => Object.assign(new Error("Invalid input …"), { value });

  test.each([
    [{ error: { type: "server_error", message: "m" } }, "API error [server_error]: m", true],
    [{ error: { code: 503, message: "m" } }, "API error: m", true],
    [
      { error: { code: 400, status: "INVALID_ARGUMENT", message: "m" } },
      "[INVALID_ARGUMENT]",
      false,
    ],
    [
      { type: "error", error: { type: "overloaded_error", message: "m" } },
      "[overloaded_error]",
      true,
    ],
    [{ error: { code: "insufficient_quota", type: "server_error", message: "m" } }, ": m", false],
  ])("%j", (value, message, retryable) => {
    for (const failure of [streamFailure(unread(value)), failureInBody(JSON.stringify(value))]) {
      expect(failure?.message).toContain(message);
      expect(failure?.message).not.toContain("Invalid input");
      expect(failure?.retryable).toBe(retryable);
    }
  });

  test("may be flat in an event", () => {
    const flat = { type: "error", code: "server_error", message: "m" };
    expect(streamFailure(unread(flat))).toEqual({
      message: "API error [server_error]: m",
      retryable: true,
    });
  });

  test.each(["<html>", "[]", "null", '{"choices":[]}', '{"error":null}', '{"error":{}}', ""])(
    "is not the body %p",
    (body) => {
      expect(failureInBody(body)).toBeUndefined();
    },
  );

  test("is not any other event that cannot be read", () => {
    const failure = streamFailure(unread({ type: "response.created", response: 1 }));
    expect(failure).toEqual({ message: "JSON parse error: Invalid input …", retryable: false });
  });
});
