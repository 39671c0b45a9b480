/**
 * The key of a model: read once, from the given environment, a file or a program (spec manifest 4.5,
 * FIX 28). A key leaves this file only inside an `ApiKey`, for the request header and for `scrub.ts`, which
 * keeps it out of every text.
 */
import { isAbsolute } from "node:path";
import { ioError, isPodError, PodError } from "../base/errors.ts";
import { readRegularFile } from "../base/files.ts";
import type { Environment } from "../base/paths.ts";
import { schemeName, type ResolvedRemoteModel } from "./catalog.ts";
import { commandName } from "./config.ts";

/** Keys are short; a longer file is not a key. */
const MAX_KEY_FILE_BYTES = 16 * 1024;

/** A secret and where it came from (variable, file or program, fit for messages). */
export interface ApiKey {
  readonly value: string;
  readonly source: string;
}

/**
 * The key for `resolved`, or undefined when its auth is `none`. Throws `invalid_manifest` with the
 * texts of 4.5, extended by what was looked at and which host the key is for.
 */
export async function resolveKey(
  resolved: ResolvedRemoteModel,
  env: Environment,
): Promise<ApiKey | undefined> {
  const { auth } = resolved;
  if (auth.kind === "none") return undefined;
  if (auth.kind === "command") {
    const { runKeyCommand } = await import("./key-command.ts");
    return await forHost(resolved.host, async () => {
      const value = await runKeyCommand(auth.command, env);
      return checked({ value, source: commandName(auth.command) });
    });
  }
  const looked: string[] = [];
  if (auth.env !== undefined) {
    const value = env[auth.env]?.trim() ?? "";
    const source = `environment variable ${auth.env}`;
    if (value !== "") return await forHost(resolved.host, () => checked({ value, source }));
    looked.push(
      `environment variable ${auth.env} is ${env[auth.env] === undefined ? "not set" : "empty"}`,
    );
  } else if (auth.withheld === undefined) {
    looked.push("model.auth.env is not given");
  } else {
    looked.push(
      `${auth.withheld.key} is only sent to ${auth.withheld.home} unless model.auth names it`,
    );
  }
  const { file } = auth;
  if (file !== undefined) {
    const read = (): ApiKey | undefined => {
      const value = readKeyFile(file);
      return value === "" ? undefined : checked({ value, source: `file ${file}` });
    };
    const before = auth.env === undefined ? "" : `: ${looked.join("; ")}`;
    const key = await forHost(resolved.host + before, read);
    if (key !== undefined) return key;
    looked.push(`auth.file ${file} is empty`);
  } else {
    looked.push("model.auth.file is not given");
  }
  throw new PodError(
    "invalid_manifest",
    `API key not provided for scheme ${schemeName(resolved.scheme)} ` +
      `(for ${resolved.host}: ${looked.join("; ")})`,
  );
}

/** Says with a failure whose key it was to be, and where it was looked for before. */
async function forHost<Value>(host: string, work: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!isPodError(error)) throw error;
    const { code, data } = error;
    throw new PodError(code, `${error.message} (for ${host})`, { cause: error, data });
  }
}

function readKeyFile(path: string): string {
  if (!isAbsolute(path)) {
    throw new PodError(
      "invalid_manifest",
      `model configuration error: auth.file must be absolute: ${path}`,
    );
  }
  const failed = `model configuration error: failed to read auth.file ${path}`;
  try {
    return new TextDecoder().decode(readRegularFile(path, MAX_KEY_FILE_BYTES)).trim();
  } catch (error) {
    const { message, data } = ioError(failed, error);
    throw new PodError("invalid_manifest", message, { cause: error, data });
  }
}

/** A key with a line break or a blank would be refused by `fetch` with a text that quotes it. */
function checked(key: ApiKey): ApiKey {
  if (/^[\x21-\x7e]+$/.test(key.value)) return key;
  throw new PodError(
    "invalid_manifest",
    `model configuration error: the API key from ${key.source} contains blanks, line breaks or ` +
      "characters outside ASCII",
  );
}
