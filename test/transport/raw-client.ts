/** A bare socket for tests: bytes in, lines out, every kind of rudeness towards the server. */
import { within } from "../support/temp.ts";

const DEADLINE_MS = 10_000;

/** A connected socket. Disposal terminates it. */
export interface RawClient extends Disposable {
  /** Resolves when the kernel has taken all bytes; rejects when the other side is gone. */
  write(data: string | Uint8Array): Promise<void>;
  /** The next line, without its end; undefined when the server has closed. */
  line(): Promise<string | undefined>;
  /** All lines up to the end of the connection. */
  rest(): Promise<string[]>;
  halfClose(): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

/** Connects; with `paused` nothing is ever read from the socket until `resume`. */
export async function connectRaw(path: string, paused = false): Promise<RawClient> {
  const decoder = new TextDecoder();
  const lines: string[] = [];
  let partial = "";
  let over = false;
  let changed = Promise.withResolvers<void>();
  let writable = Promise.withResolvers<void>();
  const change = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const finish = (): void => {
    over = true;
    change();
    writable.resolve();
  };
  const socket = await Bun.connect({
    unix: path,
    allowHalfOpen: true,
    socket: {
      open: (opened) => {
        if (paused) opened.pause();
      },
      data: (_socket, chunk) => {
        const pieces = (partial + decoder.decode(chunk, { stream: true })).split("\n");
        partial = pieces.pop() ?? "";
        lines.push(...pieces);
        change();
      },
      drain: () => {
        writable.resolve();
        writable = Promise.withResolvers<void>();
      },
      end: (ended) => {
        finish();
        ended.end();
      },
      close: finish,
      error: finish,
    },
  });
  const line = async (): Promise<string | undefined> => {
    while (lines.length === 0 && !over) {
      await within(changed.promise, DEADLINE_MS, "a line from the server");
    }
    return lines.shift();
  };
  return {
    line,
    rest: async () => {
      const all: string[] = [];
      for (let next = await line(); next !== undefined; next = await line()) all.push(next);
      return all;
    },
    write: async (data) => {
      let bytes = typeof data === "string" ? Buffer.from(data) : data;
      for (;;) {
        const written = socket.write(bytes);
        if (written < 0 || over) throw new Error("the server is gone");
        bytes = bytes.subarray(written);
        if (bytes.length === 0) return;
        await within(writable.promise, DEADLINE_MS, "the server to read");
      }
    },
    halfClose: () => socket.shutdown(),
    terminate: () => socket.terminate(),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    [Symbol.dispose]: () => socket.terminate(),
  };
}
