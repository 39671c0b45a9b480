/** Drives `fixtures/subject.ts`: one traced process, its operation, and the call that goes wrong. */
import { join } from "node:path";
import type { Reply } from "../registry/actor.ts";
import { linesOf } from "../registry/actor.ts";
import { within } from "../support/temp.ts";
import { startTracer, type Traced, type Tracer } from "../support/tracer/client.ts";
import type { Fault, TraceRequest } from "../support/tracer/protocol.ts";
import type { Command } from "./fixtures/operation.ts";

/** Longest wait for anything the process does; an operation takes at most some seconds. */
const DEADLINE_MS = 45_000;

export interface Subject extends AsyncDisposable {
  readonly pid: number;
  /** Sends a command and waits for the reply; undefined when the process ended instead. */
  ask(command: Command): Promise<Reply | undefined>;
  /** SIGKILL, unless it is gone; resolves when it is reaped. */
  kill(): Promise<void>;
  /** Resolves with the kernel's word on how it ended. */
  readonly exited: Promise<unknown>;
  /** False when it was killed or has ended. */
  alive(): boolean;
}

/** Starts a subject and waits until it listens. */
export async function startSubject(): Promise<Subject> {
  const command = [process.execPath, join(import.meta.dir, "fixtures/subject.ts")];
  const child = Bun.spawn(command, {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
    // What the runtime keeps for itself is no call of ours.
    env: { ...process.env, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
  });
  const lines = linesOf(child.stdout);
  const next = async (what: string): Promise<string | undefined> => {
    const { value, done } = await within(lines.next(), DEADLINE_MS, what);
    return done === true ? undefined : value;
  };
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await within(child.exited, DEADLINE_MS, "the subject's end");
  };
  if ((await next("the subject to start")) !== "ready") throw new Error("the subject ended");
  return {
    pid: child.pid,
    exited: child.exited,
    kill,
    alive: () => child.exitCode === null && child.signalCode === null,
    async ask(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      await child.stdin.flush();
      const line = await next(JSON.stringify(request));
      return line === undefined ? undefined : (JSON.parse(line) as Reply);
    },
    [Symbol.asyncDispose]: kill,
  };
}

/** A tracer and the subject it follows, for one operation after the other. */
export interface Lane extends AsyncDisposable {
  readonly tracer: Tracer;
  /** The subject; a new one when the last was killed. */
  subject(): Promise<Subject>;
  /** After a check that failed: the subject still holds what nobody expects. */
  reset(): Promise<void>;
}

/** Starts a lane. */
export function startLane(): Lane {
  const tracer = startTracer();
  let current: Subject | undefined;
  return {
    tracer,
    reset: async () => await current?.kill(),
    async subject() {
      if (current === undefined || !current.alive()) current = await startSubject();
      return current;
    },
    async [Symbol.asyncDispose]() {
      await current?.kill();
      await tracer[Symbol.asyncDispose]();
    },
  };
}

/** What came of one traced operation. */
export interface Run {
  readonly traced: Traced;
  /** Undefined when the subject was killed. */
  readonly reply: Reply | undefined;
}

/** What is to be traced. */
export interface Plan {
  readonly operation: string;
  readonly directory: string;
  readonly whose?: TraceRequest["whose"];
  readonly fault?: Fault | undefined;
}

/** Prepares the operation, follows it, and lets the fault happen; `prepared` looks in between. */
export async function runTraced(
  subject: Subject,
  tracer: Tracer,
  plan: Plan,
  prepared: () => void = () => {},
): Promise<Run> {
  const { operation, directory, whose = "own", fault } = plan;
  const ready = await subject.ask({ do: "prepare", operation, directory });
  if (ready?.ok !== true) throw new Error(`${operation} was not prepared: ${ready?.message}`);
  prepared();
  const { done } = await tracer.follow({
    pid: subject.pid,
    also: whose === "children" && Array.isArray(ready.value) ? ready.value.map(Number) : [],
    whose,
    root: directory,
    ...(fault === undefined ? {} : { fault }),
  });
  try {
    const reply = await subject.ask({ do: "run" });
    if (reply === undefined) await within(subject.exited, DEADLINE_MS, "the subject's end");
    return { traced: await within(done, DEADLINE_MS, "the tracer"), reply };
  } catch (error) {
    await subject.kill(); // or the tracer would wait for it
    throw error;
  }
}
