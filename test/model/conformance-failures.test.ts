/** What every wire format must do alike when a host refuses, fails or does not answer. */
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/model/catalog.ts";
import { createModel } from "../../src/model/provider.ts";
import { REMOTE_LIMITS } from "../../src/model/transport.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { conformance, SCHEMES } from "./conformance.ts";
import { collect, failureOf, ofType, SECRET, virtualClock } from "./support.ts";

/** For hosts that say nothing at all. */
const MUTE = { ...REMOTE_LIMITS, firstByteMs: 250 };

describe.each(SCHEMES)("%s", (scheme) => {
  const { facts, modelAt, serve } = conformance(scheme);

  test("an error in the middle fails the request, with the vendor's words, and is not tried again", async () => {
    await using server = await serve(() => ({
      text: "partial",
      streamError: { type: "overloaded_error", message: "The model is overloaded" },
    }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["partial"]);
    expect(failureOf(events)).toBe("API error [overloaded_error]: The model is overloaded");
    expect(ofType(events, "finish")).toEqual([]);
    expect(server.requests).toHaveLength(1);
  });

  test("an error in place of the answer is tried again, as its status would be", async () => {
    await using server = await serve((_, n) =>
      n < 3
        ? { streamError: { type: "overloaded_error", message: "The model is overloaded" } }
        : { text: "ok" },
    );
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "warning").map(({ message }) => message)).toEqual([
      expect.stringContaining("(API error [overloaded_error]: The model is overloaded); attempt 2"),
      expect.stringContaining("attempt 3 of 4"),
    ]);
    expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["ok"]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("a host that never answers is asked again, then given up", async () => {
    await using server = await serve(() => ({ text: "x", stallAfter: 0 }));
    const events = await collect(await modelAt(server.url, { limits: MUTE }));
    expect(ofType(events, "warning")).toHaveLength(3);
    expect(failureOf(events)).toBe(`HTTP error: no answer from ${server.host} within 0.3 s`);
  });

  test("an answer that goes on for ever meets the total limit", async () => {
    const text = Array.from({ length: 400 }, (_, i) => `${i} `);
    await using server = await serve(() => ({ text, eventDelayMs: 20 }));
    const limits = { ...REMOTE_LIMITS, totalMs: 400 };
    const events = await collect(await modelAt(server.url, { limits }));
    expect(failureOf(events)).toBe(
      `HTTP error: the answer of ${server.host} took longer than 0.4 s`,
    );
    expect(server.requests).toHaveLength(1);
  });

  test.each(["7", () => new Date(Date.now() + 7000).toUTCString()])(
    "a 429 with Retry-After %p is tried again after that time",
    async (value) => {
      await using server = await serve((_, n) =>
        n === 1
          ? {
              status: 429,
              headers: { "retry-after": typeof value === "string" ? value : value() },
              error: { type: "rate_limit_error", message: "slow down" },
            }
          : { text: "ok" },
      );
      const clock = virtualClock();
      const events = await collect(await modelAt(server.url, { clock }));
      expect(clock.slept).toHaveLength(1);
      expect(clock.slept[0]).toBeWithin(3000, 7001);
      expect(ofType(events, "warning")[0]?.message).toStartWith(
        "model request failed (API error (status: 429) [rate_limit_error]: slow down); attempt 2",
      );
      expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
    },
  );

  test("a Retry-After beyond the total is not waited for", async () => {
    await using server = await serve(() => ({
      status: 429,
      headers: { "retry-after": "3600" },
      error: { type: "rate_limit_error", message: "come back later" },
    }));
    const clock = virtualClock();
    const events = await collect(await modelAt(server.url, { clock }));
    expect(clock.slept).toEqual([]);
    expect(failureOf(events)).toEndWith("come back later (the host asks to wait 3600 s)");
  });

  test.each([408, 425, 500, 502, 503, 504, 529])("a %d is tried four times", async (status) => {
    await using server = await serve(() => ({
      status,
      error: { type: "busy", message: "not now" },
    }));
    const clock = virtualClock(0.5);
    const events = await collect(await modelAt(server.url, { clock }));
    expect(server.requests).toHaveLength(4);
    expect(clock.slept).toEqual([500, 1000, 2000]);
    expect(failureOf(events)).toBe(`API error (status: ${status}) [busy]: not now`);
  });

  test("a connection cut before the answer is tried again", async () => {
    await using server = await serve((_, n) =>
      n === 1 ? { text: "x", cutAfter: 0 } : { text: "ok" },
    );
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "warning")).toHaveLength(1);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("a wrong key is told with its source and its host, and never shown", async () => {
    await using server = await serve(() => ({
      status: 401,
      error: { type: "authentication_error", message: `invalid key ${SECRET}` },
    }));
    const message = failureOf(await collect(await modelAt(server.url)));
    expect(message).toBe(
      "API error (status: 401) [authentication_error]: invalid key [key] " +
        `(${server.host} got the key from environment variable TEST_KEY)`,
    );
    expect(server.requests).toHaveLength(1);
  });

  test("a redirect is not followed, so the key stays with its host", async () => {
    await using other = await serve(() => ({ text: "stolen" }));
    await using server = await serve(() => ({
      status: 307,
      headers: { location: `${other.url}${facts.path}` },
      body: "",
    }));
    expect(failureOf(await collect(await modelAt(server.url)))).toContain(
      "redirects are not followed",
    );
    expect(other.requests).toEqual([]);
  });
});

test("Gemini's answer to a wrong key, a 400, is told as one", async () => {
  await using server = await wireServer(FORMATS.gemini, () => ({
    status: 400,
    body: JSON.stringify({
      error: {
        code: 400,
        message: "API key not valid. Please pass a valid API key.",
        status: "INVALID_ARGUMENT",
        details: [
          { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID" },
        ],
      },
    }),
  }));
  const model = await createModel(
    resolveModel({
      scheme: "gemini",
      base_url: server.url,
      model_id: "m",
      auth: { kind: "api_key", env: "TEST_KEY" },
    }),
    { env: { TEST_KEY: SECRET }, podName: "p" },
  );
  expect(failureOf(await collect(model))).toBe(
    "API error (status: 400) [INVALID_ARGUMENT]: API key not valid. Please pass a valid API key. " +
      `(${server.host} got the key from environment variable TEST_KEY)`,
  );
});
