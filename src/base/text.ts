/**
 * Text of others in our messages: nothing in it can move the cursor, pass for another line or fill the
 * screen.
 */

/** `text` with control characters escaped and its length bounded, fit to be quoted in a message. */
export function printable(text: string, limit = 80): string {
  const shown = text.length > limit ? `${text.slice(0, limit)}…` : text;
  // eslint-disable-next-line no-control-regex
  return shown.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => JSON.stringify(c).slice(1, -1));
}

/** Text of a model, a file or another process without control characters but line breaks and tabs. */
export function harmless(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}
