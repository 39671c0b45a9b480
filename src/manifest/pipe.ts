/**
 * An overlay that a person hands over in a pipe, `--overlay-file <(…)` or `/dev/stdin`, so that it is
 * neither in a file nor in the process list. Bounded in size and time. Nothing else is read from pipes:
 * other configuration is found by its place, where anybody may have put one.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { errnoCode, messageOf } from "../base/errors.ts";
import { ManifestError } from "./problem.ts";
import { decodedText, MAX_FILE_BYTES } from "./toml.ts";

/** Who writes may have to ask a person for a password first. */
const LIMIT_MS = 60_000;
/** A pipe that is opened without waiting tells nobody when it can be read. */
const STEP_MS = 10;

/** What says where an overlay is. */
interface OverlayOptions {
  readonly overlay?: string | undefined;
  readonly overlayFile?: string | undefined;
}

/**
 * The options with the text in place of `overlayFile`, when that is a pipe; else as they are. Throws
 * `ManifestError` for what is too long, no text, or not at its end within `limitMs`.
 */
export async function withPipedOverlay<Options extends OverlayOptions>(
  options: Options,
  cwd: string,
  limitMs = LIMIT_MS,
): Promise<Options> {
  const { overlayFile } = options;
  if (overlayFile === undefined) return options;
  const path = resolve(cwd, overlayFile);
  const fd = openedPipe(path);
  if (fd === undefined) return options;
  const prefix = `failed to load overlay: failed to read manifest ${path}`;
  const failure = (message: string, cause?: unknown): ManifestError =>
    new ManifestError([{ prefix, problems: [{ message }] }], cause);
  try {
    const overlay = decodedText(await readToEnd(fd, limitMs), failure);
    return { ...options, overlay, overlayFile: undefined };
  } catch (error) {
    throw error instanceof ManifestError ? error : failure(messageOf(error), error);
  } finally {
    closeSync(fd);
  }
}

/** Undefined for what is no pipe, or cannot be opened: who reads it as a file says why. */
function openedPipe(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  return undefined;
}

async function readToEnd(fd: number, limitMs: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafe(MAX_FILE_BYTES + 1);
  // One with a name is at its end before its writer comes, too.
  const canBegin = !isAnonymous(fd);
  let length = 0;
  const deadline = performance.now() + limitMs;
  while (length <= MAX_FILE_BYTES) {
    const count = readSome(fd, buffer, length);
    if (count === 0 && (length > 0 || !canBegin)) return buffer.subarray(0, length);
    if (performance.now() > deadline) throw new Error(`not at its end after ${limitMs / 1000} s`);
    if (count === undefined || count === 0) await Bun.sleep(STEP_MS);
    else length += count;
  }
  throw new Error(`more than ${MAX_FILE_BYTES} bytes`);
}

/** Undefined when there is nothing yet. */
function readSome(fd: number, buffer: Uint8Array, offset: number): number | undefined {
  try {
    return readSync(fd, buffer, offset, buffer.length - offset, null);
  } catch (error) {
    if (errnoCode(error) === "EAGAIN") return undefined;
    throw error;
  }
}

/** True for a pipe between processes (proc(5)): its writer was there before us. */
function isAnonymous(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith("pipe:");
  } catch {
    return false;
  }
}
