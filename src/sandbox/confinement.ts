/**
 * Whether and how a Pod's commands are confined: manifest policy and kernel on one side, the words
 * for people and models on the other. Pure; `mode = "enforce"` never becomes less by itself.
 */
import { type KernelSupport, missingProtections } from "./landlock.ts";
import { MAX_RULES, type Ruleset } from "./ruleset.ts";

/** `[sandbox]` of the resolved manifest. */
export interface SandboxPolicy {
  readonly mode: "enforce" | "warn" | "off";
  /** Canonical paths beside the scope that commands may write; no link in them is followed any more. */
  readonly write: readonly string[];
  readonly network: "allow" | "deny";
  /** Whether commands can reach programs that listen on local (Unix) sockets. */
  readonly local_sockets: "allow" | "deny";
  /** Names of environment variables that commands get although they look like secrets. */
  readonly env: readonly string[];
}

/**
 * Without `truncate` (ABI 3, Linux 6.2) any file of the user can be emptied, so that the promise
 * "nothing outside the scope is written" would be a lie.
 */
export const ENFORCEABLE_ABI = 3;

/** What comes of policy and kernel. */
export type Confinement =
  | {
      readonly kind: "confined";
      readonly support: KernelSupport;
      readonly missing: readonly string[];
    }
  | { readonly kind: "unconfined"; readonly why: string }
  | { readonly kind: "refused"; readonly why: string };

/** Decides it; `why` is a whole sentence for people. */
export function decideConfinement(policy: SandboxPolicy, support: KernelSupport): Confinement {
  if (policy.mode === "off") {
    return { kind: "unconfined", why: 'the manifest says [sandbox] mode = "off"' };
  }
  if (policy.mode === "warn" && support.abi === 0) {
    return { kind: "unconfined", why: "this kernel has no Landlock" };
  }
  if (policy.mode === "enforce" && support.abi < ENFORCEABLE_ABI) {
    const has =
      support.abi === 0
        ? "has no Landlock (Linux 6.2 or later with `landlock` among the active security modules)"
        : `only has Landlock version ${support.abi}, which does not keep files from being truncated (Linux 6.2 does)`;
    return {
      kind: "refused",
      why:
        `commands must be confined to the scope, but this system ${has}; to run them all the ` +
        'same, set `mode = "warn"` (confined as far as possible) or `mode = "off"` in the ' +
        "[sandbox] section of the manifest",
    };
  }
  return { kind: "confined", support, missing: missingProtections(support) };
}

/** What people are told when a Pod's commands are less confined than they could be; or nothing. */
export function confinementAlert(confinement: Confinement): string | undefined {
  switch (confinement.kind) {
    case "refused":
      return `Bash is not available: ${confinement.why}`;
    case "unconfined":
      return `commands of Bash are not confined to the scope: ${confinement.why}`;
    case "confined":
      return confinement.missing.length === 0
        ? undefined
        : `this kernel does not restrict commands of Bash in: ${confinement.missing.join("; ")}`;
  }
}

/** Paths that a text names at most. */
const MAX_NAMED = 20;

function named(paths: readonly string[]): string {
  const shown = paths.slice(0, MAX_NAMED).join(", ");
  return paths.length > MAX_NAMED ? `${shown} and ${paths.length - MAX_NAMED} more` : shown;
}

/** Where commands may write, as the model reads it after a refusal. */
export function describeWritable(ruleset: Ruleset): string {
  const { writable, partial, missing } = ruleset;
  const cut = describeCut(ruleset);
  return [
    `commands can write only in: ${named(writable)} (and below)`,
    ...(partial.length === 0
      ? []
      : [
          `existing files may be changed, but nothing be made, renamed or removed directly in: ${named(partial)} ` +
            "(a denied or delegated path lies below; Write and Edit can)",
        ]),
    ...(missing.length === 0
      ? []
      : [`not there yet (make it with Write first): ${named(missing)}`]),
    ...(cut === undefined ? [] : [cut]),
  ].join("; ");
}

/** What the rules of a command leave out because it would have been too much; or nothing. */
export function describeCut({ cut, readsCut }: Ruleset): string | undefined {
  if (!cut && !readsCut) return undefined;
  const what = readsCut ? (cut ? "readable or writable" : "readable") : "writable";
  return (
    `more than ${MAX_RULES} paths lie beside a denied or delegated one; ` +
    `the rest of them is not ${what} for commands (Read, Write and Edit can)`
  );
}

/** What a refusal looks like in the output of programs (strerror(3), the codes themselves, Java). */
const REFUSED =
  /permission denied|operation not permitted|read-only file system|cross-device link|AccessDenied|out of pty devices|\b(?:EACCES|EPERM|EROFS|EXDEV)\b/i;

/** True when an output tells of something that the system did not let happen. */
export function looksRefused(output: string): boolean {
  return REFUSED.test(output);
}

const NO_LOCAL_SOCKETS =
  "commands have no local (Unix) sockets, because programs that listen on them act outside the sandbox; " +
  'the user can open them with local_sockets = "allow" in the [sandbox] section of the manifest';

/** Refusals with a reason of their own: what outputs name then, and what the model, and its user, should know. */
const REASONS: readonly (readonly [named: RegExp, reason: string])[] = [
  [
    /semlock|shm_open|sem_open|shared_?memory|multiprocessing|\/dev\/shm/i,
    "shared memory and semaphores need /dev/shm, which the user can open to commands with " +
      'write = ["/dev/shm"] in the [sandbox] section of the manifest; threads need none',
  ],
  [
    /\bpty\b|pseudo-?terminal|openpty|ptmx/i,
    "commands have no terminals, and can make none unless the user opens them with " +
      'write = ["/dev/ptmx", "/dev/pts"] in the [sandbox] section of the manifest',
  ],
  [
    /(?:chmod|permissions|temporary file|leading directories|copy|cp:).*(?:operation not permitted|EPERM)|EPERM.*(?:chmod|copy)/i,
    "nothing can be given a set-user-id or set-group-id bit, nor keep it through chmod or a copy (git in a " +
      "directory with such a bit does that; chmod g-s takes it away)",
  ],
];

/** Why an output tells of a refusal, as far as that is known: one sentence each. */
export function reasonsIn(output: string, withoutSockets: boolean): string[] {
  if (!looksRefused(output)) return [];
  const reasons = REASONS.flatMap(([named, reason]) => (named.test(output) ? [reason] : []));
  return withoutSockets && SOCKET.test(output) ? [NO_LOCAL_SOCKETS, ...reasons] : reasons;
}

/** What such outputs name when it was a local socket. */
const SOCKET = /socket|\.sock\b|\bconnect|\bagent\b|docker|d-?bus/i;
