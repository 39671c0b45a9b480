/**
 * `pod __confine`: restricts itself and becomes the shell. It runs for every command, so it imports
 * next to nothing. Whatever cannot be applied ends it before the shell exists: it fails closed, and
 * says why in the file the order came in. It may be started ahead of its order, for which it waits.
 * Landlock binds the calling thread; `execve` from that same thread replaces the process, so no other
 * thread is left over.
 */
import { closeSync, fstatSync, ftruncateSync, readSync, writeSync } from "node:fs";
import { errnoCode } from "../base/errors.ts";
import { addressOf, spawnSession, systemCall } from "../base/libc.ts";
import { originalName } from "../base/loader-variables.ts";
import { FILE_RIGHTS, RIGHTS, SIGNAL_SCOPE } from "./landlock.ts";
import { localSocketFilter } from "./local-sockets.ts";
import { networkFilter, privilegeFilter } from "./seccomp.ts";
import { type ConfineSpec, DESCRIPTORS, KEEPER_MARK, REFUSAL_MARK } from "./spec.ts";

/** Exit code when the shell could not be started, as shells use it. */
const CANNOT_EXECUTE = 126;

// prctl(2), close_range(2), openat2(2), landlock(7), seccomp(2), signal(7)
const PR_SET_PDEATHSIG = 1;
const PR_CAPBSET_DROP = 24;
const PR_SET_CHILD_SUBREAPER = 36;
const PR_SET_NO_NEW_PRIVS = 38;
const F_SETFD = 2;
const SIGKILL = 9;
const SIGSTOP = 19;
/** Signals beyond are for programs among themselves; nobody ignores them for others. */
const LAST_SIGNAL = 31;
const SIG_SETMASK = 2;
const SIG_DFL = 0;
const SIG_IGN = 1;
/** SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM. */
const IGNORED_BY_KEEPER = [1, 2, 3, 10, 12, 15];
const AT_FDCWD = -100;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_SYMLINKS = 0x04;
const RULE_PATH_BENEATH = 1;
const SECCOMP_SET_MODE_FILTER = 1;
const ENOENT = 2;
const EACCES = 13;
const EINVAL = 22;
const ELOOP = 40;
const ENOTDIR = 20;

/** Capabilities that root keeps: those that act on files and users (capabilities(7)). */
const KEPT_CAPABILITIES = [
  0, // chown
  1, // dac_override
  3, // fowner
  4, // fsetid
  5, // kill
  6, // setgid
  7, // setuid
  8, // setpcap
  10, // net_bind_service
  13, // net_raw
  18, // sys_chroot
  29, // audit_write
];
const LAST_CAPABILITY = 63;
const CAPABILITY_VERSION_3 = 0x20080522;

class Refusal extends Error {}

function must(result: number, what: string): number {
  if (result >= 0) return result;
  throw new Refusal(`${what} failed (errno ${-result})`);
}

const text = (value: string): Uint8Array => Buffer.from(`${value}\0`);

/** Does it. Returns only when it failed, with the exit code. */
export function confine(env: Readonly<Record<string, string | undefined>>): number {
  try {
    // Nothing comes when the Pod has ended, or needs no further shell.
    if (readSync(DESCRIPTORS.control, new Uint8Array(1)) !== 1) return 0;
    const spec = readSpec();
    must(systemCall("dup3", 1, 2, 0), "one descriptor for output and errors");
    // What is left open beyond our own (a descriptor that leaked into the Pod) is nobody's business.
    must(systemCall("close_range", DESCRIPTORS.spec + 1, 0xffff_ffff, 0), "close_range");
    // Bun has set close-on-exec on what it did not know; the keeper needs both.
    for (const fd of [DESCRIPTORS.lock, DESCRIPTORS.spec]) {
      must(systemCall("fcntl", fd, F_SETFD, 0), "fcntl");
    }
    dieWith(spec.parent);
    process.chdir(spec.cwd);
    // Orphans below the shell become its children: it sees when the last of them is gone.
    must(systemCall("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "child subreaper");
    const { ruleset, denyNetwork, denyLocalSockets } = spec;
    if (ruleset !== undefined || denyNetwork || denyLocalSockets) {
      must(systemCall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    }
    if (ruleset !== undefined) {
      dropCapabilities();
      restrict(ruleset);
      if (spec.keeper !== undefined) startKeeper(spec, spec.keeper);
      must(filterCalls(privilegeFilter(process.arch)), "seccomp");
    }
    // On their own: a kernel without Landlock has these all the same.
    if (denyNetwork) must(filterCalls(networkFilter(process.arch)), "seccomp");
    if (denyLocalSockets) must(filterCalls(localSocketFilter(process.arch)), "seccomp");
    restoreSignals();
    execute(spec, env);
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error));
  }
  return CANNOT_EXECUTE;
}

function readSpec(): ConfineSpec {
  const bytes = Buffer.alloc(fstatSync(DESCRIPTORS.spec).size);
  readSync(DESCRIPTORS.spec, bytes, 0, bytes.length, 0);
  return JSON.parse(bytes.toString("utf8")) as ConfineSpec;
}

function refuse(reason: string): void {
  try {
    ftruncateSync(DESCRIPTORS.spec, 0);
    writeSync(DESCRIPTORS.spec, REFUSAL_MARK + reason, 0);
  } catch {
    writeSync(2, `pod: ${reason}\n`);
  }
}

/** The kernel kills the shell when the Pod ends, however it ends; the setting survives `execve`. */
function dieWith(parent: number): void {
  must(systemCall("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "parent death signal");
  if (systemCall("getppid") !== parent) throw new Refusal("the pod has ended");
}

/** A struct sigaction. */
function signalAction(handler: number): BigUint64Array {
  return new BigUint64Array([BigInt(handler), 0n, 0n, 0n]);
}

/** Bun ignores some signals, which `execve` would pass on: a writer to a closed pipe would run on. */
function restoreSignals(): void {
  const byDefault = signalAction(SIG_DFL);
  for (let signal = 1; signal <= LAST_SIGNAL; signal += 1) {
    if (signal !== SIGKILL && signal !== SIGSTOP) {
      systemCall("rt_sigaction", signal, byDefault, 0, 8);
    }
  }
  must(systemCall("rt_sigprocmask", SIG_SETMASK, new BigUint64Array(1), 0, 8), "signal mask");
}

/** Root without what would undo the rest: modules, raw devices, mounts, tracing, reboot. */
function dropCapabilities(): void {
  if (process.geteuid?.() !== 0) return;
  let kept = 0;
  for (const capability of KEPT_CAPABILITIES) kept |= 1 << capability;
  for (let capability = 0; capability <= LAST_CAPABILITY; capability += 1) {
    if (KEPT_CAPABILITIES.includes(capability)) continue;
    // Capabilities that this kernel does not know are EINVAL; without setpcap there is little to drop.
    if (systemCall("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0) === -EINVAL) break;
  }
  const header = new Uint32Array([CAPABILITY_VERSION_3, 0]);
  const sets = new Uint32Array(6); // effective, permitted, inheritable: of the lower 32, of the upper
  must(systemCall("capget", header, sets), "reading capabilities");
  for (let at = 0; at < 3; at += 1) sets[at] = (sets[at] ?? 0) & kept;
  sets.fill(0, 3);
  sets[0] = sets[1] ?? 0;
  must(systemCall("capset", header, sets), "dropping capabilities");
}

function howToOpen(flags: number, resolve: number): BigUint64Array {
  return new BigUint64Array([BigInt(flags), 0n, BigInt(resolve)]);
}

/** Builds the ruleset and applies it. A path that is gone, or became a link, is granted to nobody. */
function restrict(ruleset: NonNullable<ConfineSpec["ruleset"]>): void {
  const { fs, net, scoped, rules } = ruleset;
  const attributes = new BigUint64Array([BigInt(fs), BigInt(net), BigInt(scoped)]);
  // An older kernel takes a longer structure as long as what it does not know is zero.
  const handle = must(
    systemCall("landlock_create_ruleset", attributes, attributes.byteLength, 0),
    "landlock_create_ruleset",
  );
  const how = howToOpen(O_PATH | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
  const rule = new Uint8Array(12); // struct landlock_path_beneath_attr, packed
  const view = new DataView(rule.buffer);
  for (const [path, rights] of rules) {
    const fd = systemCall("openat2", AT_FDCWD, text(path), how, how.byteLength);
    if (fd < 0) {
      if ([ENOENT, EACCES, ELOOP, ENOTDIR].includes(-fd)) continue;
      throw new Refusal(`cannot open ${path} (errno ${-fd})`);
    }
    const add = (bits: number): number => {
      if (bits === 0) return 0;
      view.setBigUint64(0, BigInt(bits), true);
      view.setInt32(8, fd, true);
      return systemCall("landlock_add_rule", handle, RULE_PATH_BENEATH, rule, 0);
    };
    let outcome = add(rights & fs);
    // A file where a directory was expected takes only the rights of files.
    if (outcome === -EINVAL) outcome = add(rights & fs & FILE_RIGHTS);
    closeSync(fd);
    must(outcome, `landlock_add_rule for ${path}`);
  }
  must(systemCall("landlock_restrict_self", handle, 0), "landlock_restrict_self");
  closeSync(handle);
}

/**
 * Starts the keeper in the domain that was just entered, then enters one within it: the keeper may signal
 * and look into what is in there, and nothing in there can do that to the keeper.
 */
function startKeeper(spec: ConfineSpec, keeper: readonly string[]): void {
  // A keeper that could reach the Pod would end everything of this user when it clears up.
  if (maySignal(spec.parent)) throw new Refusal("signals are not confined");
  const argv = pointers(keeper);
  // Not the mark: who looks for what a dead Pod left behind must not end what clears it up.
  // Nor anything else of it: the directory of a program that no command can replace, and no more.
  const env = pointers([`PATH=${spec.program.slice(0, spec.program.lastIndexOf("/"))}`]);
  // An end that comes now must not hit between the mark and the keeper, nor the keeper, which keeps this.
  const ignored = signalAction(SIG_IGN);
  for (const signal of IGNORED_BY_KEEPER) systemCall("rt_sigaction", signal, ignored, 0, 8);
  writeSync(DESCRIPTORS.spec, KEEPER_MARK); // the file is open for appending
  const failure = spawnSession(text(spec.program), argv.table, env.table);
  if (failure !== 0) {
    const size = `${argv.texts.length + env.texts.length} arguments and variables`;
    throw new Refusal(`cannot execute ${spec.program} (errno ${failure}; ${size})`);
  }
  // A domain that says nothing of moving and linking between directories forbids it.
  const refer = RIGHTS.refer;
  restrict({ fs: refer, net: 0, scoped: SIGNAL_SCOPE, rules: [["/", refer]] });
  // Its pipe and the lock are the keeper's alone.
  must(systemCall("close_range", DESCRIPTORS.control, DESCRIPTORS.lock, 0), "close_range");
}

function maySignal(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoCode(error) !== "EPERM";
  }
}

function filterCalls(filter: Uint8Array): number {
  const program = new BigUint64Array([BigInt(filter.length / 8), addressOf(filter)]);
  return systemCall("seccomp", SECCOMP_SET_MODE_FILTER, 0, program);
}

function execute(spec: ConfineSpec, env: Readonly<Record<string, string | undefined>>): void {
  const variables = Object.entries(env).flatMap(([name, value]) =>
    value === undefined || name.startsWith("BUN_") ? [] : [`${originalName(name)}=${value}`],
  );
  variables.push(spec.mark);
  // Both lists of texts must stay in memory until the kernel has read them.
  const argv = pointers(spec.argv);
  const envp = pointers(variables);
  closeOnExec(DESCRIPTORS.spec);
  const result = systemCall("execve", text(spec.program), argv.table, envp.table);
  throw new Refusal(
    `cannot execute ${spec.program} (errno ${-result}; ${argv.texts.length} arguments)`,
  );
}

function pointers(values: readonly string[]): {
  readonly table: BigUint64Array;
  readonly texts: readonly Uint8Array[];
} {
  const texts = values.map(text);
  return { table: new BigUint64Array([...texts.map(addressOf), 0n]), texts };
}

const CLOSE_RANGE_CLOEXEC = 4;

function closeOnExec(fd: number): void {
  must(systemCall("close_range", fd, fd, CLOSE_RANGE_CLOEXEC), "close_range");
}
