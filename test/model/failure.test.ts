import { describe, expect, test } from "bun:test";
import {
  apiFailure,
  connectFailure,
  isRetryableStatus,
  parseRetryAfter,
} from "../../src/model/failure.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");

describe("an error answer", () => {
  test("is told with status, code and message", () => {
    const body = JSON.stringify({
      type: "error",
      error: { type: "rate_limit_error", message: "m" },
    });
    expect(apiFailure(429, body, "3", NOW)).toEqual({
      message: "API error (status: 429) [rate_limit_error]: m",
      retryable: true,
      retryAfterMs: 3000,
    });
  });

  test.each([
    ['{"error":{"message":"no type"}}', "API error (status: 400): no type"],
    ['{"message":"flat","type":"t"}', "API error (status: 400) [t]: flat"],
    ["<html>gateway</html>\n", "API error (status: 400): <html>gateway</html>"],
    ['{"error":"text"}', 'API error (status: 400): {"error":"text"}'],
    ["", "API error (status: 400): no further information"],
  ])("with body %p is %p", (body, message) => {
    expect(apiFailure(400, body, null, NOW)).toEqual({ message, retryable: false });
  });

  test("may be retried for these statuses only", () => {
    const all = Array.from({ length: 300 }, (_, i) => 300 + i);
    const retried = all.filter(isRetryableStatus).filter((status) => status < 500);
    expect(retried).toEqual([408, 425, 429]);
    expect([500, 502, 503, 504, 529, 599].every(isRetryableStatus)).toBe(true);
  });
});

test("Retry-After is seconds or a date", () => {
  expect(parseRetryAfter("2", NOW)).toBe(2000);
  expect(parseRetryAfter("0.5", NOW)).toBe(500);
  expect(parseRetryAfter("Thu, 01 Jan 2026 00:00:30 GMT", NOW)).toBe(30_000);
  expect(parseRetryAfter("Wed, 31 Dec 2025 00:00:00 GMT", NOW)).toBe(0);
  for (const junk of ["soon", "-5", "+5", "-0.5", "5 5", "1e3", "0x10", "-5s", ""]) {
    expect([junk, parseRetryAfter(junk, NOW)]).toEqual([junk, undefined]);
  }
  expect(parseRetryAfter(null, NOW)).toBeUndefined();
});

test("a refused connection is retried, a bad certificate is not", () => {
  const refused = Object.assign(new Error("Unable to connect"), { code: "ECONNREFUSED" });
  expect(connectFailure("h:1", refused)).toEqual({
    message: "HTTP error: cannot connect to h:1: connection refused",
    retryable: true,
  });
  const expired = Object.assign(new Error("certificate has expired"), { code: "CERT_HAS_EXPIRED" });
  expect(connectFailure("h", expired).retryable).toBe(false);
});
