/**
 * A test's side of the tracer: one process that follows one traced process after the other. Where
 * the platform or its rules do not allow that, `tracerRefusal` says why, and tests skip.
 */
import { join } from "node:path";
import { linesOf } from "../../registry/actor.ts";
import { within } from "../temp.ts";
import { callTable } from "./calls.ts";
import type { Call, TraceReply, TraceRequest } from "./protocol.ts";

const DEADLINE_MS = 30_000;

/** What was seen; `hit` when the call at which something should happen was reached. */
export interface Traced {
  readonly calls: readonly Call[];
  readonly hit: boolean;
}

export interface Tracer extends AsyncDisposable {
  /** Resolves when the processes are followed; `done` when they are free again, or gone. */
  follow(request: TraceRequest): Promise<{ readonly done: Promise<Traced> }>;
}

/** Starts a tracer. */
export function startTracer(): Tracer {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "tracer.ts")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
    env: { ...process.env },
  });
  const lines = linesOf(child.stdout);
  const next = async (): Promise<TraceReply> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the tracer ended");
    return JSON.parse(value) as TraceReply;
  };
  return {
    async follow(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      await child.stdin.flush();
      const first = await within(next(), DEADLINE_MS, "the tracer to attach");
      if (first.kind !== "seized") throw new Error("ptrace is refused");
      const done = next().then((reply): Traced => {
        if (reply.kind !== "traced") throw new Error(`unexpected: ${reply.kind}`);
        return reply;
      });
      done.catch(() => undefined);
      return { done };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await within(child.exited, DEADLINE_MS, "the tracer's end");
    },
  };
}

/** Why processes cannot be traced here; undefined when they can. */
export async function tracerRefusal(): Promise<string | undefined> {
  if (process.platform !== "linux") return "ptrace is for Linux";
  if (callTable(process.arch) === undefined) return `no call numbers for ${process.arch}`;
  const command = [process.execPath, join(import.meta.dir, "probe.ts")];
  const probe = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", env: { ...process.env } });
  await using tracer = startTracer();
  try {
    await within(linesOf(probe.stdout).next(), DEADLINE_MS, "the probe");
    const { done } = await tracer.follow({ pid: probe.pid, whose: "own", root: "/" });
    probe.stdin.write("\n");
    await probe.stdin.flush();
    await within(done, DEADLINE_MS, "the probe's end");
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    probe.kill("SIGKILL");
    await probe.exited;
  }
}
