/**
 * What a spawner tells its child, in a file of mode 0600 in the child's directory that the child
 * removes once read: nothing of it is visible in the process list (W44), and the child reads no
 * manifest but this one (W19, W45).
 */
import { readFileSync } from "node:fs";
import { z } from "zod/v3";
import { ioError, messageOf, PodError } from "../base/errors.ts";
import { removeFile, replaceFile } from "../base/files.ts";
import { VERSION } from "../base/version.ts";
import { lazily } from "../base/lazy.ts";

const launchFileSchema = lazily(() =>
  z.object({
    version: z.literal(1),
    /** Version of the program that wrote it. */
    program: z.string().default(""),
    name: z.string(),
    instance: z.string().min(1),
    /** Directories behind `$user` and `$workspace` prompts, as the spawner found them. */
    prompts: z
      .object({
        user: z.string().optional(),
        workspace: z.string().optional(),
        /** Files with prompt texts, lowest first. */
        packs: z.array(z.string()).optional(),
      })
      .default({}),
    /** Variables that hold models' keys, so that the child's commands get none of them either. */
    secrets: z.array(z.string()).default([]),
    /** The resolved manifest as JSON; the manifest layer checks it. */
    manifest: z.unknown(),
    /** Session directory of the spawner. */
    store: z.string(),
    /** The spawner, as the child's session is to name it. */
    parent: z.object({ name: z.string(), lineage: z.string() }).optional(),
    /** Session that the child goes on with. */
    session: z.string().optional(),
  }),
);
export type LaunchFile = z.infer<ReturnType<typeof launchFileSchema>>;

/** Writes the file; private, complete or not there. Throws `io` with the path. */
export function writeLaunchFile(path: string, content: LaunchFile): void {
  try {
    replaceFile(path, JSON.stringify(content));
  } catch (error) {
    throw ioError(`cannot write ${path}`, error);
  }
}

/** Reads the file and removes it. Throws `invalid_argument` when it is missing or not ours. */
export function takeLaunchFile(path: string): LaunchFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new PodError("invalid_argument", `cannot read launch file ${path}: ${messageOf(error)}`);
  }
  removeFile(path);
  try {
    const content: unknown = JSON.parse(text);
    return isOurs(content) ? content : launchFileSchema().parse(content);
  } catch (error) {
    throw new PodError(
      "invalid_argument",
      `launch file ${path} was not written by this version of pod: ${messageOf(error)}`,
    );
  }
}

/**
 * True for what this very program wrote: as the type says, whole, and from nobody but its spawner.
 * Spares the schema, which would cost every child 1 ms.
 */
function isOurs(content: unknown): content is LaunchFile {
  if (typeof content !== "object" || content === null) return false;
  return (
    "version" in content &&
    content.version === 1 &&
    "program" in content &&
    content.program === VERSION
  );
}
