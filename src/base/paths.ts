/**
 * Where things live: base directories from the environment, the files of one Pod, names and the
 * socket path limit. Prediction of a socket path by outsiders and its creation by the Pod are the
 * same function here. Nothing in this file touches the disk except `ensurePrivateDirectory`.
 */
import { lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { errnoCode, ioError, PodError } from "./errors.ts";
import { printable } from "./text.ts";

/** The three base directories; a base that no variable names is undefined. All absolute. */
export interface BaseDirectories {
  readonly config: string | undefined;
  readonly data: string | undefined;
  readonly runtime: string | undefined;
}

/** Environment as a plain table; empty values count as unset (spec registry-and-spawn 1.1). */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Resolves the base directories. A relative value is refused (`invalid_argument`), because it would
 * give every working directory a registry of its own (W8).
 */
export function resolveBases(env: Environment): BaseDirectories {
  const value = (name: string): string | undefined => {
    const raw = env[name];
    if (raw === undefined || raw === "") return undefined;
    if (!isAbsolute(raw)) {
      throw new PodError("invalid_argument", `${name} must be an absolute path, not "${raw}"`);
    }
    return raw;
  };
  const under = (name: string, ...tail: string[]): string | undefined => {
    const base = value(name);
    return base === undefined ? undefined : join(base, ...tail);
  };
  return {
    config:
      value("INSOMNIA_CONFIG_DIR") ??
      under("INSOMNIA_HOME", "config") ??
      under("XDG_CONFIG_HOME", "insomnia") ??
      under("HOME", ".config", "insomnia"),
    data: value("INSOMNIA_DATA_DIR") ?? under("INSOMNIA_HOME") ?? under("HOME", ".insomnia"),
    runtime:
      value("INSOMNIA_RUNTIME_DIR") ??
      under("INSOMNIA_HOME", "run") ??
      under("XDG_RUNTIME_DIR", "insomnia") ??
      under("HOME", ".insomnia", "run"),
  };
}

/** The runtime base, or the start-up error of spec registry-and-spawn 1.1. */
export function requireRuntimeBase(bases: BaseDirectories): string {
  if (bases.runtime !== undefined) return bases.runtime;
  throw new PodError(
    "invalid_argument",
    "could not resolve runtime directory (set INSOMNIA_HOME, INSOMNIA_RUNTIME_DIR, XDG_RUNTIME_DIR, or HOME)",
  );
}

/** The session directory (`--store`, else `<data>/sessions`), or the start-up error of 1.1. */
export function requireSessionsDirectory(
  bases: BaseDirectories,
  store: string | undefined,
): string {
  if (store !== undefined) return store;
  if (bases.data !== undefined) return join(bases.data, "sessions");
  throw new PodError(
    "invalid_argument",
    "could not resolve sessions directory (set --store, INSOMNIA_HOME, INSOMNIA_DATA_DIR, or HOME)",
  );
}

/** Where commands of Pods have their temporary directories, if there is a data directory. */
export function roomsDirectory({ data }: Pick<BaseDirectories, "data">): string | undefined {
  return data === undefined ? undefined : join(data, "rooms");
}

/** Where Pods leave notes for all Pods of this user: those of `base` and those of other runtime directories. */
export function noteDirectories(base: string, { data }: Pick<BaseDirectories, "data">): string[] {
  return data === undefined ? [base] : [base, data];
}

/** Names that a Pod may have (W34); `pods.*` is kept for the registry's own files. */
const POD_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** True when `name` can be a Pod name: a safe single path component that is not reserved. */
export function isPodName(name: string): boolean {
  return POD_NAME.test(name) && !/^pods\./i.test(name);
}

/** Throws `invalid_argument` unless `name` can be a Pod name. */
export function assertPodName(name: string): void {
  if (isPodName(name)) return;
  throw new PodError(
    "invalid_argument",
    `invalid pod name \`${printable(name)}\`: use 1 to 64 letters, digits, \`.\`, \`_\` or \`-\`, ` +
      "starting with a letter or digit, and not a name reserved for the registry (`pods.…`)",
  );
}

/** The files of one Pod below the runtime base (spec registry-and-spawn 1.2). */
export interface PodPaths {
  readonly directory: string;
  readonly socket: string;
  readonly lock: string;
  readonly pid: string;
  readonly status: string;
  readonly manifest: string;
  readonly history: string;
  readonly children: string;
  readonly stderr: string;
  readonly launch: string;
  readonly allocation: string;
  /** Locked while a command of this Pod runs, also after the Pod itself was killed. */
  readonly shellLock: string;
}

/** The paths of Pod `name`; throws for a name that is not a safe component. */
export function podPaths(runtimeBase: string, name: string): PodPaths {
  assertPodName(name);
  const directory = join(runtimeBase, name);
  return {
    directory,
    socket: join(directory, "sock"),
    lock: join(directory, "lock"),
    pid: join(directory, "pid"),
    status: join(directory, "status.json"),
    manifest: join(directory, "manifest.toml"),
    history: join(directory, "history.json"),
    children: join(directory, "spawned_pods.json"),
    stderr: join(directory, "stderr.log"),
    launch: join(directory, "launch.json"),
    allocation: join(directory, "allocation.json"),
    shellLock: join(directory, "shell.lock"),
  };
}

/** Longest socket path the kernel takes, in bytes without the terminator (unix(7): `sun_path`). */
export const MAX_SOCKET_PATH_BYTES = process.platform === "darwin" ? 103 : 107;

/** Throws `path_too_long`, with both numbers, when a socket path cannot be bound (W35). */
export function assertSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new PodError(
    "path_too_long",
    `socket path is ${bytes} bytes, limit is ${MAX_SOCKET_PATH_BYTES}: ${path} ` +
      "(choose a shorter name or set INSOMNIA_RUNTIME_DIR to a shorter directory)",
    { data: { bytes, limit: MAX_SOCKET_PATH_BYTES } },
  );
}

/**
 * Makes `directory` exist with mode 0700 and checks that it is a directory, ours and closed to
 * others (W9). Missing parents are created 0700 too; existing ones are left alone.
 * Throws `insecure_directory` with the command that mends it, or `io`.
 */
export function ensurePrivateDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    // EEXIST: something that is not a directory has the name; told below.
    if (errnoCode(error) !== "EEXIST") throw ioError(`cannot create directory ${directory}`, error);
  }
  const info = statOf(directory);
  if (!info.isDirectory()) {
    throw new PodError(
      "insecure_directory",
      `${directory} is not a directory; remove or rename it`,
    );
  }
  const uid = process.geteuid?.();
  if (uid !== undefined && info.uid !== uid) {
    throw new PodError(
      "insecure_directory",
      `${directory} belongs to user ${info.uid}, not to you (${uid}); ` +
        "set INSOMNIA_RUNTIME_DIR to a directory of your own",
    );
  }
  const mode = info.mode & 0o777;
  if (mode === 0o700) return;
  if ((info.mode & STICKY) !== 0) {
    throw new PodError(
      "insecure_directory",
      `${directory} is a directory that users share; use one of your own inside it`,
    );
  }
  // Without its owner's own rights not even the lock can be opened, and root would not notice.
  const what = (mode & 0o077) === 0 ? "closed to its owner" : "open to other users";
  throw new PodError(
    "insecure_directory",
    `${directory} is ${what} (mode ${mode.toString(8).padStart(4, "0")}); run: chmod 700 ${directory}`,
  );
}

/** Set on directories like /tmp (inode(7)). */
const STICKY = 0o1000;

function statOf(directory: string): Stats {
  try {
    return statSync(directory);
  } catch (error) {
    throw ioError(`cannot look at directory ${directory}`, error);
  }
}

/**
 * True when nothing has that name, not even a link that leads nowhere. What cannot be looked at may be
 * there: who passes over what is missing must not pass over that.
 */
export function isAbsent(path: string): boolean {
  try {
    lstatSync(path);
    return false;
  } catch (error) {
    return errnoCode(error) === "ENOENT" || errnoCode(error) === "ENOTDIR";
  }
}

/** True when the path is there, whatever it is; other failures than "missing" count as there. */
export function pathExists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    return errnoCode(error) !== "ENOENT";
  }
}
