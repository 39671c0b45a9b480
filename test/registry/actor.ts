/** Drives `fixtures/actor.ts`: a real process that registers, delegates, locks and dies on demand. */
import { join } from "node:path";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { within } from "../support/temp.ts";

/** Longest wait for one reply; under load a start takes a second. */
const DEADLINE_MS = 20_000;

/**
 * What an actor can be asked; `grab` and `drop` lock a file, the rest is the registry's own API.
 * `joinResolved` is `join` with a scope whose targets are resolved first, as a manifest's are.
 */
export type Request =
  | { readonly op: "grab" | "drop"; readonly path: string }
  | {
      readonly op:
        | "register"
        | "delegate"
        | "adopt"
        | "release"
        | "join"
        | "joinResolved"
        | "joinChild"
        | "leave"
        | "takeLife"
        | "removeLife"
        | "releaseLife"
        | "lifeState"
        | "lifeRace";
      readonly base: string;
      readonly name: string;
      /** Default: the name with `-1`. */
      readonly instance?: string;
      readonly allow?: readonly ScopeRule[];
      readonly deny?: readonly ScopeRule[];
      readonly session?: string;
      readonly child?: { readonly name: string; readonly instance: string };
      readonly waitMs?: number;
      /** A pipe that is read to its end while the operation holds the lock. */
      readonly blockOn?: string;
      readonly rounds?: number;
    };

/** A reply as it came: a value, or the code and text of a refusal. */
export type Reply =
  | { readonly ok: true; readonly value?: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** A running actor. */
export interface Actor extends AsyncDisposable {
  readonly pid: number;
  /** Sends a request; replies come in the order of the requests. */
  ask(request: Request): Promise<Reply>;
  /** As `ask`, but a refusal throws its text. */
  tell(request: Request): Promise<unknown>;
  /** SIGKILL; resolves when the kernel has reported the end and the process is reaped. */
  kill(): Promise<void>;
}

/** The command that runs a fixture of this folder. */
export function fixture(name: string, ...args: string[]): string[] {
  return [process.execPath, join(import.meta.dir, "fixtures", name), ...args];
}

/** Starts an actor and waits until it listens. */
export async function actor(): Promise<Actor> {
  const child = Bun.spawn(fixture("actor.ts"), {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
    env: { ...process.env },
  });
  const lines = linesOf(child.stdout);
  const next = async (what: string): Promise<string> => {
    const { value, done } = await within(lines.next(), DEADLINE_MS, what);
    if (done === true) throw new Error(`the actor ended: ${what}`);
    return value;
  };
  // Replies are read one after the other, whoever asked.
  let tail: Promise<unknown> = next("the actor to start");
  await tail;
  const ask = async (request: Request): Promise<Reply> => {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    await child.stdin.flush();
    const turn = tail.then(async () => JSON.parse(await next(JSON.stringify(request))) as Reply);
    tail = turn.catch(() => undefined);
    return await turn;
  };
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await within(child.exited, DEADLINE_MS, "the actor's end");
  };
  return {
    pid: child.pid,
    ask,
    tell: async (request) => {
      const reply = await ask(request);
      if (!reply.ok) throw new Error(`${request.op} was refused: ${reply.code}: ${reply.message}`);
      return reply.value;
    },
    kill,
    [Symbol.asyncDispose]: kill,
  };
}

/** Several actors, started at once. */
export async function actors(count: number): Promise<Actor[] & AsyncDisposable> {
  const all = await Promise.all(Array.from({ length: count }, actor));
  return Object.assign(all, {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(all.map((one) => one.kill()));
    },
  });
}

/** Lines of a stream, without the line feeds; a last piece without one is dropped. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    yield* pieces;
  }
}
