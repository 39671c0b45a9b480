/**
 * Makes texts safe to show: whatever a host, a proxy or a library says of a request may hold its
 * key, in any of the spellings that JSON, HTML and URLs have for it.
 */
import { messageOf } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import type { ApiKey } from "./auth.ts";

/** Longest error text that leaves `model/`, in bytes of UTF-8. */
export const MAX_ERROR_BYTES = 2048;

/** Makes any failure text safe to show: no key, no credentials in URLs, one line, bounded. */
type Scrub = (text: string) => string;

/** What is shorter stands in place of a key where none is needed, and would spoil every text. */
const MIN_SECRET_CHARACTERS = 4;
/** From so many characters on the beginning of a key is hidden like the whole. */
const MIN_PREFIX_CHARACTERS = 12;

/** The scrubber for requests made with `key`. */
export function createScrub(key: ApiKey | undefined): Scrub {
  const hide = lazily(() =>
    key === undefined || key.value.length < MIN_SECRET_CHARACTERS
      ? (text: string): string => text
      : createHider(key.value),
  );
  return (text) => {
    const clean = hide()(messageOf(text))
      // Keys of the usual shape that a proxy may quote from its own configuration.
      .replace(/\bsk-[A-Za-z0-9_-]{16,}/g, "[key]")
      .replace(/(\/\/)[^/@\s]*@/g, "$1")
      .replace(/([?&](?:key|api_key|token)=)[^&\s"']+/gi, "$1[key]");
    return bounded(clean, MAX_ERROR_BYTES);
  };
}

/** Puts `[key]` in the place of `value` and of its long beginnings, however they are spelled. */
function createHider(value: string): Scrub {
  const spelled = [...value].map(spellings);
  const head = new RegExp(spelled.slice(0, MIN_PREFIX_CHARACTERS).join(""), "gi");
  // One by one: a pattern for the whole would be nested as deeply as the key is long.
  const rest = spelled.slice(MIN_PREFIX_CHARACTERS).map((source) => new RegExp(source, "iy"));
  return (raw) => {
    // First as it is: a key may look as if something in it were escaped.
    const text = raw.replaceAll(value, "[key]");
    let clean = "";
    let from = 0;
    head.lastIndex = 0;
    for (let found = head.exec(text); found !== null; found = head.exec(text)) {
      let end = head.lastIndex;
      for (const character of rest) {
        character.lastIndex = end;
        if (!character.test(text)) break;
        end = character.lastIndex;
      }
      clean += `${text.slice(from, found.index)}[key]`;
      from = end;
      head.lastIndex = end;
    }
    return clean + text.slice(from);
  };
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "amp",
  "<": "lt",
  ">": "gt",
  '"': "quot",
  "'": "apos",
};

/** The source of a pattern for one printable ASCII character as it is, or escaped. */
function spellings(character: string): string {
  if (/[a-z0-9]/i.test(character)) return character;
  const code = character.charCodeAt(0);
  const hex = code.toString(16).padStart(2, "0");
  const named = ENTITIES[character];
  return `(?:${[
    `\\\\{1,3}u00${hex}`,
    `%${hex}`,
    `&#0*${code};`,
    `&#x0*${hex};`,
    ...(named === undefined ? [] : [`&${named};`]),
    // Last: `&` is the beginning of `&amp;`, too. In JSON within JSON there are three backslashes.
    `\\\\{0,3}\\${character}`,
  ].join("|")})`;
}

/** `text` cut to `limit` bytes of UTF-8 at a character, with a mark where it was cut. */
function bounded(text: string, limit: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text;
  const mark = "…";
  const decoder = new TextDecoder();
  const head = decoder.decode(bytes.subarray(0, limit - Buffer.byteLength(mark)), { stream: true });
  return head + mark;
}
