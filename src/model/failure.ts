/**
 * What went wrong with a request, in the words of spec manifest 4.8 ("Client error forms") and with
 * the one fact that decides about a retry. Pure. Texts are raw here; `Scrub` cleans them.
 */
import { errnoCode, messageOf } from "../base/errors.ts";

/** A failed attempt. `retryable` says that another try may help; whether it is allowed is `retry.ts`. */
export interface Failure {
  readonly message: string;
  readonly retryable: boolean;
  /** Wait that the server asked for, in milliseconds. */
  readonly retryAfterMs?: number;
  /** The host did not accept the key, or not for this. */
  readonly keyRefused?: boolean;
}

/** 408, 425, 429 and every 5xx, 529 (overloaded) included (manifest FIX 11, worker W25). */
export function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status <= 599);
}

/** `API error (status: 429) [rate_limit_error]: message`; status and code are optional parts. */
function formatApiError(
  status: number | undefined,
  code: string | undefined,
  message: string,
): string {
  return (
    "API error" +
    (status === undefined ? "" : ` (status: ${status})`) +
    (code === undefined ? "" : ` [${code}]`) +
    `: ${message}`
  );
}

/** An account without money has none in a minute either, though its status is 429. */
const SPENT = /"insufficient_quota"/;

/** Failure of an answer with status >= 300: code and message from a JSON body, else the whole body. */
export function apiFailure(
  status: number,
  body: string,
  retryAfter: string | null,
  now: number,
): Failure {
  const { code, message, retryDelay } = readErrorBody(body);
  const retryAfterMs = parseRetryAfter(retryAfter, now) ?? parseRetryAfter(retryDelay, now);
  // Gemini answers a wrong key with 400.
  const keyRefused =
    status === 401 || status === 403 || (status === 400 && /\bAPI_KEY_INVALID\b/.test(body));
  return {
    message: formatApiError(status, code, message === "" ? "no further information" : message),
    retryable: isRetryableStatus(status) && !SPENT.test(body),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(keyRefused ? { keyRefused } : {}),
  };
}

/** Failure of a request that got no answer at all; `proxy` is who was to pass it on. */
export function connectFailure(host: string, error: unknown, proxy?: string): Failure {
  const code = errnoCode(error) ?? "";
  // A certificate does not become valid by asking again.
  const certificate = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL/.test(code);
  const way = proxy === undefined ? "" : ` through the proxy ${proxy}`;
  return {
    message: `HTTP error: cannot connect to ${host}${way}: ${describeNetworkError(error)}`,
    retryable: !certificate && code !== "ERR_INVALID_URL",
  };
}

const NETWORK_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ConnectionRefused: "connection refused",
  ECONNRESET: "the connection was closed unexpectedly",
  ConnectionClosed: "the connection was closed unexpectedly",
  ENOTFOUND: "no such host",
};

/** A network error without the runtime's advice to programmers. */
export function describeNetworkError(error: unknown): string {
  const code = errnoCode(error);
  return (code === undefined ? undefined : NETWORK_ERRORS[code]) ?? messageOf(error);
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3) as milliseconds from `now`; undefined when unreadable. */
export function parseRetryAfter(value: string | null | undefined, now: number): number | undefined {
  const text = value?.trim() ?? "";
  // With `s` it stands in the body of some errors.
  const seconds = /^(\d+(?:\.\d+)?)s?$/.exec(text)?.[1];
  if (seconds !== undefined) return Math.round(Number(seconds) * 1000);
  // `Date.parse` takes "-5" for a year; a date of this header begins with the day of the week.
  const date = /^[a-z]/i.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** An error that the vendor's library reports inside a stream or instead of one. */
interface StreamError {
  readonly code: string | undefined;
  readonly message: string;
  /** What the vendor would have answered, had it not been streaming already. */
  readonly impliedStatus: number | undefined;
}

/**
 * Reads an `error` event of a stream. Undefined when the thrown value is not the vendor's error but
 * the library's complaint about data that it could not read.
 */
export function readStreamError(error: unknown): StreamError | undefined {
  if (!isObject(error)) return undefined;
  const message = typeof error.message === "string" ? error.message : "";
  if (typeof error.responseBody === "string" && typeof error.statusCode === "number") {
    const body = readErrorBody(error.responseBody);
    return {
      code: body.code,
      message: message === "" ? body.message : message,
      impliedStatus: SPENT.test(error.responseBody) ? 402 : error.statusCode,
    };
  }
  // The library's own complaints are instances of its error classes; what it could not read may be
  // an error all the same, in another form than it knows.
  if (error instanceof Error) return readStreamError(errorIn("value" in error && error.value));
  const code = codeOf(error);
  if (code === undefined && message === "") return undefined;
  return { code, message, impliedStatus: statusOf(error) };
}

/** The error that an event or a body consists of; undefined when it is something else. */
function errorIn(outer: unknown): unknown {
  // Gemini wraps its errors in a list.
  const value: unknown = Array.isArray(outer) ? outer[0] : outer;
  if (!isObject(value)) return undefined;
  if (isObject(value.error)) return value.error;
  return value.type === "error" ? value : undefined;
}

/**
 * Failure of an answer with a good status that holds an error: a whole body, or the first event of
 * a stream. Undefined when it holds anything else.
 */
export function failureInBody(body: string): Failure | undefined {
  const json = body
    .replace(/^(?:(?:(?:event|id|retry)?:.*)?\r?\n)*data:/, "")
    .split(/\r?\n\r?\n/)[0];
  try {
    const error = errorIn(JSON.parse(json ?? ""));
    return readStreamError(error) === undefined ? undefined : streamFailure(error);
  } catch {
    return undefined;
  }
}

/**
 * Failure of an answer that holds an error or cannot be read. As long as nothing of the answer was
 * shown, an error event is as good as the status it stands for (W3); the caller knows that.
 */
export function streamFailure(error: unknown): Failure {
  const reported = readStreamError(error);
  if (reported === undefined) {
    return { message: `JSON parse error: ${messageOf(error)}`, retryable: false };
  }
  const { code, message, impliedStatus } = reported;
  return {
    message: formatApiError(undefined, code, message),
    retryable: impliedStatus !== undefined && isRetryableStatus(impliedStatus),
  };
}

/** What the vendors call the kind of an error: `type`, `status` or `code`. */
function codeOf(error: Readonly<Record<string, unknown>>): string | undefined {
  return [error.type, error.status, error.code].find(
    (value): value is string => typeof value === "string" && value !== "" && value !== "error",
  );
}

/** What the vendors call errors for which they have a status when they are not streaming. */
const STATUS_OF_KIND: Readonly<Record<string, number>> = {
  overloaded_error: 529,
  rate_limit_error: 429,
  rate_limit_exceeded: 429,
  RESOURCE_EXHAUSTED: 429,
  api_error: 500,
  server_error: 500,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
};

function statusOf(error: Readonly<Record<string, unknown>>): number | undefined {
  if (SPENT.test(JSON.stringify([error.type, error.code]))) return 402;
  const number = [error.statusCode, error.status, error.code].find(
    (value): value is number => typeof value === "number" && value >= 400 && value <= 599,
  );
  return number ?? STATUS_OF_KIND[codeOf(error) ?? ""];
}

function readErrorBody(body: string): {
  code: string | undefined;
  message: string;
  retryDelay?: string;
} {
  try {
    const outer: unknown = JSON.parse(body);
    const parsed: unknown = Array.isArray(outer) ? outer[0] : outer;
    const error = isObject(parsed) && isObject(parsed.error) ? parsed.error : parsed;
    if (isObject(error) && typeof error.message === "string" && error.message !== "") {
      const retryDelay = (Array.isArray(error.details) ? error.details : [])
        .map((detail: unknown) => (isObject(detail) ? detail.retryDelay : undefined))
        .find((delay) => typeof delay === "string");
      return {
        code: codeOf(error),
        message: error.message,
        ...(typeof retryDelay === "string" ? { retryDelay } : {}),
      };
    }
  } catch {
    // Not JSON: a gateway's page, shown as it is.
  }
  return { code: undefined, message: body.trim() };
}

/** True for anything whose keys can be read, a list as well. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
