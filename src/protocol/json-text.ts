/**
 * What a JSON text is made of, told without parsing it: a parser builds all that a line says before anybody
 * can refuse it, and fifteen million brackets take it seconds and a gigabyte. Pure.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const [OPEN_LIST, OPEN_OBJECT] = [0x5b, 0x7b];
const [CLOSE_LIST, CLOSE_OBJECT] = [0x5d, 0x7d];

/** Limits of a text. */
interface Limits {
  /** Lists and objects in each other. */
  readonly depth: number;
  /** Values next to each other, in all lists and objects together. */
  readonly values: number;
}

/**
 * Which limit the text exceeds first, if any, whether it is JSON or not; one look at each character at
 * most. Never says so of JSON that does not exceed it.
 */
export function textExcess(text: string, { depth, values }: Limits): keyof Limits | undefined {
  let open = 0;
  let count = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = stringEnd(text, at);
        break;
      case COMMA:
        count += 1;
        if (count > values) return "values";
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        open += 1;
        if (open > depth) return "depth";
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        open -= 1;
        break;
    }
  }
  return undefined;
}

/** Index of the quotation mark that ends the string which begins at `start`, or of the text's end. */
function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return text.length;
}
