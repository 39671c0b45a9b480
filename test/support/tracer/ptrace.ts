/**
 * `ptrace(2)` and `waitpid(2)` as the tracer needs them, for Linux. Blocks the thread it runs on, so
 * it belongs into a process of its own and never into a test's.
 */
import { dlopen, ptr } from "bun:ffi";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";

const { symbols: libc } = dlopen("libc.so.6", {
  ptrace: { args: ["i64", "i64", "u64", "u64"], returns: "i64" },
  waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
});

// Values of linux/ptrace.h.
const PTRACE_POKEUSER = 6;
const PTRACE_DETACH = 17;
const PTRACE_SYSCALL = 24;
const PTRACE_GETEVENTMSG = 0x4201;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PTRACE_GET_SYSCALL_INFO = 0x420e;
const TRACESYSGOOD = 1;
const TRACEFORK = 2;
const TRACEVFORK = 4;
const TRACECLONE = 8;
const TRACEEXEC = 16;
const EXITKILL = 0x100000;
const WALL = 0x40000000;
const SIGTRAP = 5;
const SYSCALL_STOP = SIGTRAP | 0x80;
/** Offsets of `orig_rax` and `rax` in the x86_64 `struct user`. */
const ORIG_RAX = 120;
const RAX = 80;

const call = (request: number, tid: number, address: bigint, data: bigint): boolean =>
  Number(libc.ptrace(request, tid, BigInt.asUintN(64, address), BigInt.asUintN(64, data))) >= 0;

/** What `waitpid` reported of one thread. */
export type Stop =
  | { readonly kind: "gone"; readonly tid: number }
  | { readonly kind: "syscall"; readonly tid: number }
  | { readonly kind: "signal"; readonly tid: number; readonly signal: number }
  | { readonly kind: "event"; readonly tid: number };

const status = new Int32Array(1);

/** Waits for the next stop of any traced thread; undefined when none is left. */
export function nextStop(): Stop | undefined {
  const tid = libc.waitpid(-1, ptr(status), WALL);
  if (tid < 0) return undefined;
  const word = status[0] ?? 0;
  if ((word & 0xff) !== 0x7f) return { kind: "gone", tid };
  const signal = (word >> 8) & 0xff;
  if (word >> 16 !== 0) return { kind: "event", tid };
  if (signal === SYSCALL_STOP) return { kind: "syscall", tid };
  return { kind: "signal", tid, signal };
}

/** Attaches to every thread of a process; `children` follows what it starts, too. False when refused. */
export function seize(pid: number, children: boolean): boolean {
  const more = children ? TRACEFORK | TRACEVFORK : 0;
  const options = BigInt(TRACESYSGOOD | TRACECLONE | TRACEEXEC | EXITKILL | more);
  const seized = new Set<string>();
  for (let grown = true; grown;) {
    grown = false;
    for (const tid of threadsOf(pid)) {
      if (seized.has(tid)) continue;
      // One that is new may have come with its maker already, or be gone.
      const taken = call(PTRACE_SEIZE, Number(tid), 0n, options);
      if (!taken && seized.size === 0) return false;
      seized.add(tid);
      grown = true;
      if (taken) interrupt(Number(tid));
    }
  }
  return seized.size > 0;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // gone
  }
}

/** Makes a running thread stop, wherever it is. */
export const interrupt = (tid: number): boolean => call(PTRACE_INTERRUPT, tid, 0n, 0n);

/** Lets a stopped thread go on to its next system call, with a signal or without. */
export const proceed = (tid: number, signal = 0): boolean =>
  call(PTRACE_SYSCALL, tid, 0n, BigInt(signal));

/** Lets a stopped thread go for good. */
export const detach = (tid: number, signal = 0): boolean =>
  call(PTRACE_DETACH, tid, 0n, BigInt(signal));

const info = new Uint8Array(88);
const view = new DataView(info.buffer);

/** The system call at whose entry or exit a thread stands. */
export type SyscallInfo =
  | { readonly at: "entry"; readonly number: number; readonly args: readonly bigint[] }
  | { readonly at: "exit"; readonly result: number };

/** Asks what a thread in a system-call stop is doing; undefined when it is dying. */
export function syscallInfo(tid: number): SyscallInfo | undefined {
  if (!call(PTRACE_GET_SYSCALL_INFO, tid, BigInt(info.length), BigInt(ptr(info)))) return undefined;
  if (info[0] === 2) return { at: "exit", result: Number(view.getBigInt64(24, true)) };
  if (info[0] !== 1) return undefined;
  const args = [0, 1, 2, 3, 4, 5].map((index) => view.getBigUint64(32 + 8 * index, true));
  return { at: "entry", number: Number(view.getBigUint64(24, true)), args };
}

/** At the entry: the kernel will skip the call (x86_64 only). */
export const skipCall = (tid: number): boolean => call(PTRACE_POKEUSER, tid, BigInt(ORIG_RAX), -1n);

/** At the exit: the caller sees this result (x86_64 only). */
export const setResult = (tid: number, result: number): boolean =>
  call(PTRACE_POKEUSER, tid, BigInt(RAX), BigInt(result));

const message = new BigUint64Array(1);

/** The new thread or process of a clone or fork event. */
export function newThreadOf(tid: number): number | undefined {
  const told = call(PTRACE_GETEVENTMSG, tid, 0n, BigInt(ptr(message)));
  return told ? Number(message[0]) : undefined;
}

/** The process of a thread; the thread itself when it is gone. */
export function processOf(tid: number): number {
  try {
    const found = /^Tgid:\s+(\d+)/m.exec(readFileSync(`/proc/${tid}/status`, "utf8"));
    return Number(found?.[1] ?? tid);
  } catch {
    return tid;
  }
}

/** What a descriptor, or `cwd`, of a thread leads to; empty when it leads nowhere. */
export function linkOf(tid: number, name: string): string {
  try {
    return readlinkSync(`/proc/${tid}/${name}`);
  } catch {
    return "";
  }
}

/** Up to `length` bytes of a stopped thread's memory. */
export function memoryOf(tid: number, address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let fd: number | undefined;
  try {
    fd = openSync(`/proc/${tid}/mem`, "r");
    return bytes.subarray(0, readSync(fd, bytes, 0, length, Number(address)));
  } catch {
    return bytes.subarray(0, 0);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
