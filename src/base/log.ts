/**
 * The log of a Pod: one line per record on standard error, which for a child is `stderr.log`.
 * Bounded, so that a Pod that complains for ever does not fill the disk (W11).
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { messageOf } from "./errors.ts";
import { openPrivateLog } from "./files.ts";
import { duplicateOnto } from "./libc.ts";
import { harmless } from "./text.ts";

/** Bytes that one process logs at most; the last line says that the limit was met. */
const MAX_LOG_BYTES = 1024 * 1024;
const MAX_LINE_CHARACTERS = 4096;

/** Lines that are kept until the log has its place. */
const MAX_EARLY_LINES = 100;

let written = 0;
let early: string[] | undefined = [];

/** Writes one line, `pod: level: message (cause)`; never throws, never blocks a caller's work. */
export function log(level: "info" | "warn" | "error", message: string, cause?: unknown): void {
  const detail = cause === undefined ? "" : ` (${messageOf(cause)})`;
  // It may quote what others wrote, and may be read on a terminal.
  const text = harmless(`pod: ${level}: ${message}${detail}`).replaceAll(/\s*\n\s*/g, " ");
  writeLine(text.slice(0, MAX_LINE_CHARACTERS));
}

/** Writes a line of the start and end protocol as it is (spec manifest 7.5); never throws. */
export function writeLine(line: string): void {
  if (written > MAX_LOG_BYTES) return;
  written += Buffer.byteLength(line) + 1;
  const text =
    written > MAX_LOG_BYTES ? "pod: warn: log limit reached; further lines are dropped" : line;
  if (early !== undefined && early.length < MAX_EARLY_LINES) early.push(text);
  try {
    writeSync(2, `${text}\n`);
  } catch {
    // Nowhere left to say it.
  }
}

/**
 * Makes the file at `path` this process's standard error, with the lines of its start; whoever had it
 * before hears no more. Where there is no room for it, what is said from now on goes nowhere.
 */
export function moveLog(path: string): void {
  let fd: number;
  try {
    fd = openPrivateLog(path, true);
  } catch {
    fd = openSync("/dev/null", "w");
  }
  duplicateOnto(fd, 2);
  closeSync(fd);
  const lines = early ?? [];
  early = undefined;
  try {
    writeSync(2, lines.map((line) => `${line}\n`).join(""));
  } catch {
    // The disk is full.
  }
}
