/**
 * The tracer's process: takes requests on standard input, follows the system calls of the processes
 * they name, and kills or fails one of them when told. Everything is synchronous: while it waits for
 * a traced process it does nothing else. What it follows dies with it (PTRACE_O_EXITKILL).
 */
import { readSync, writeSync } from "node:fs";
import { type CallSpec, callTable, ERRNO, makesThread, mayCreate } from "./calls.ts";
import { BEGIN_MARK, type Call, END_MARK, type TraceReply, type TraceRequest } from "./protocol.ts";
import * as ptrace from "./ptrace.ts";

const MAX_PATH = 4096;
const table = callTable(process.arch);

function textAt(tid: number, address: bigint): string {
  const bytes = ptrace.memoryOf(tid, address, MAX_PATH);
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end < 0 ? bytes.length : end).toString("utf8");
}

/** The path as the kernel would find it, without links followed. */
function absolute(tid: number, directory: number, path: string): string {
  const through = /^\/proc\/(?:self|thread-self)\/fd\/(\d+)(.*)$/s.exec(path);
  if (through !== null) return ptrace.linkOf(tid, `fd/${through[1]}`) + (through[2] ?? "");
  if (path.startsWith("/")) return path;
  const from = ptrace.linkOf(tid, directory === -100 ? "cwd" : `fd/${directory}`);
  return path === "" ? from : `${from}/${path}`;
}

function word(
  tid: number,
  args: readonly bigint[],
  where: { at: number; indirect: boolean },
): number {
  const value = args[where.at] ?? 0n;
  if (!where.indirect) return Number(value & 0xffffffffn);
  const bytes = ptrace.memoryOf(tid, value, 8);
  return bytes.length === 8 ? bytes.readUInt32LE(0) : 0;
}

/** What a call is about; undefined when it does not count wherever it goes. */
function subjectOf(tid: number, spec: CallSpec, args: readonly bigint[]): string | undefined {
  const number = (at: number): number => Number(BigInt.asIntN(32, args[at] ?? 0n));
  const { shape } = spec;
  if (spec.thread !== undefined && makesThread(word(tid, args, spec.thread))) return undefined;
  switch (shape.kind) {
    case "process":
      return spec.name === "execve" ? textAt(tid, args[0] ?? 0n) : "";
    case "fd":
      return ptrace.linkOf(tid, `fd/${number(shape.at)}`);
    case "address": {
      const bytes = ptrace.memoryOf(tid, args[shape.at] ?? 0n, Math.min(number(2), 110));
      const path = bytes.subarray(2);
      const end = path.indexOf(0);
      return path.subarray(0, end < 0 ? path.length : end).toString("utf8");
    }
    case "path":
      return absolute(tid, -100, textAt(tid, args[shape.at] ?? 0n));
    case "at":
      return absolute(tid, number(shape.dir), textAt(tid, args[shape.at] ?? 0n));
  }
}

class Trace {
  readonly #request: TraceRequest;
  readonly #calls: Call[] = [];
  readonly #threads = new Map<number, number>();
  /** Threads inside the call that is to go wrong at its exit. */
  readonly #struck = new Set<number>();
  #counting = false;
  #ending = false;
  #hit = false;

  constructor(request: TraceRequest) {
    this.#request = request;
  }

  attach(): boolean {
    const { pid, also = [], whose } = this.#request;
    return [pid, ...also].every((one) => ptrace.seize(one, whose === "children"));
  }

  /** Follows until the end mark, or until nobody is left. */
  follow(): TraceReply {
    for (let stop = ptrace.nextStop(); stop !== undefined; stop = ptrace.nextStop()) {
      const { tid } = stop;
      if (stop.kind === "gone") {
        this.#threads.delete(tid);
        continue;
      }
      if (!this.#threads.has(tid)) {
        this.#threads.set(tid, ptrace.processOf(tid));
        if (this.#ending) ptrace.interrupt(tid);
      }
      if (stop.kind === "syscall") this.#atSyscall(tid);
      const signal = stop.kind === "signal" ? stop.signal : 0;
      if (this.#ending) {
        // A failed call must still be seen to fail.
        if (this.#struck.has(tid)) ptrace.proceed(tid, signal);
        else if (ptrace.detach(tid, signal)) this.#threads.delete(tid);
      } else ptrace.proceed(tid, signal);
    }
    return { kind: "traced", calls: this.#calls, hit: this.#hit };
  }

  #atSyscall(tid: number): void {
    const info = ptrace.syscallInfo(tid);
    if (info === undefined) return;
    const { fault } = this.#request;
    if (info.at === "exit") {
      if (!this.#struck.delete(tid) || fault === undefined) return;
      if (fault.how === "after") this.#kill(tid);
      else if (fault.how !== "before") ptrace.setResult(tid, -ERRNO[fault.how]);
      return;
    }
    const call = this.#counted(tid, info.number, info.args);
    if (call === undefined) return;
    this.#calls.push(call);
    if (fault?.index !== this.#calls.length - 1) return;
    this.#hit = true;
    if (fault.how === "before") return this.#kill(tid);
    if (fault.how !== "after") ptrace.skipCall(tid);
    this.#struck.add(tid);
  }

  #kill(tid: number): void {
    try {
      process.kill(this.#threads.get(tid) ?? tid, "SIGKILL");
    } catch {
      // It was faster.
    }
  }

  #counted(tid: number, number: number, args: readonly bigint[]): Call | undefined {
    const spec = table?.get(number);
    if (spec === undefined) return undefined;
    const own = this.#threads.get(tid) === this.#request.pid;
    const isOpen = spec.flags !== undefined;
    if (!(own && isOpen) && !this.#counting) return undefined;
    const path = subjectOf(tid, spec, args);
    if (path === undefined) return undefined;
    if (own && isOpen && path === BEGIN_MARK) this.#counting = true;
    if (own && isOpen && path === END_MARK) this.#end();
    if (!this.#counting || own !== (this.#request.whose === "own")) return undefined;
    if (spec.flags !== undefined && !mayCreate(word(tid, args, spec.flags))) return undefined;
    const { root } = this.#request;
    // Only manners between those who wait for the registry's lock: it depends on the moment.
    if (spec.name === "flock" && path === root) return undefined;
    const matters =
      spec.shape.kind === "process" ||
      path === root ||
      path.startsWith(`${root}/`) ||
      (spec.shape.kind === "fd" && path.startsWith("socket:"));
    // Inode numbers differ from run to run.
    const shown = path.startsWith("socket:") ? "socket" : path.replace(root, "");
    return matters ? { name: spec.name, path: shown } : undefined;
  }

  #end(): void {
    this.#counting = false;
    this.#ending = true;
    for (const tid of this.#threads.keys()) ptrace.interrupt(tid);
  }
}

function* lines(): Generator<string> {
  const chunk = Buffer.alloc(65_536);
  let rest = "";
  for (let length = readSync(0, chunk); length > 0; length = readSync(0, chunk)) {
    const pieces = (rest + chunk.toString("utf8", 0, length)).split("\n");
    rest = pieces.pop() ?? "";
    yield* pieces;
  }
}

const say = (reply: TraceReply): number => writeSync(1, `${JSON.stringify(reply)}\n`);

for (const line of lines()) {
  const trace = new Trace(JSON.parse(line) as TraceRequest);
  const attached = table !== undefined && trace.attach();
  say(attached ? { kind: "seized" } : { kind: "refused" });
  const result = trace.follow();
  if (attached) say(result);
}
