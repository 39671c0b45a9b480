/**
 * What a Pod tells its trampoline: one JSON document on an inherited descriptor, never argv. The
 * same file carries the answer when the confinement cannot be made, so that it is no command's output.
 */

/** Descriptors of the trampoline beside 0 (nothing) and 1 (output; 2 is made a copy of it). */
export const DESCRIPTORS = {
  /** One byte says that the order is there. Its end, that the Pod ended or lets go: then all is cleared up. */
  control: 3,
  /** The lock on the Pod's `shell.lock`: held until everything of the command is gone. */
  lock: 4,
  /** This document, with what is added to it: `KEEPER_MARK`, `CLEARED_MARK`. Never the shell's. */
  spec: 5,
} as const;

/** One rule: a path that is canonical, and Landlock rights for it and what is below. */
export type PathRule = readonly [path: string, rights: number];

/** The document. */
export interface ConfineSpec {
  /** Pid of the Pod: when it is not our parent any more, there is nobody to work for. */
  readonly parent: number;
  /** Where the shell works: entered now, because the trampoline may have been started a while ago. */
  readonly cwd: string;
  /** Absolute path and all arguments, the first of which is the name. */
  readonly program: string;
  readonly argv: readonly string[];
  /** Added to the environment (`NAME=value`): by it its processes are found (marked-processes.ts). */
  readonly mark: string;
  /** Absent: no confinement, only the rest. */
  readonly ruleset?: {
    readonly fs: number;
    readonly net: number;
    readonly scoped: number;
    readonly rules: readonly PathRule[];
  };
  /**
   * Arguments for `program` that make it the keeper (tools/shell/wrapper.ts): started under the ruleset,
   * before the shell is restricted once more, so that nothing of the command can signal it. Only
   * where the ruleset confines signals.
   */
  readonly keeper?: readonly string[];
  /** Sockets for anything but local ones are refused. */
  readonly denyNetwork: boolean;
  /** Local sockets are refused but for connected pairs. */
  readonly denyLocalSockets: boolean;
}

/** First byte of a refusal; a spec starts with a brace. */
export const REFUSAL_MARK = "!";

/** Added to the order just before there is a keeper: without it nothing of the command ever ran. */
export const KEEPER_MARK = "@";

/** Last byte of the file once the keeper has seen that nothing of the command is left. */
export const CLEARED_MARK = "+";
