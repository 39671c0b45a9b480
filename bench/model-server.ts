/**
 * The model as a process of its own, so that it takes no time from the process that measures: a local
 * server in the Anthropic format that does what the newest text says, and reports over the IPC
 * channel when which request came and when its answer was out, by the clock of `clock.ts`.
 *
 * `spawn N PREFIX TASK DIR` is answered with N SpawnPod calls at once, each child `PREFIX-i` with the
 * task `TASK PREFIX-i`; `stop N PREFIX` with as many StopPod calls; `hold …` is never answered;
 * anything else gets a short text.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { encodeBlocks } from "../test/support/anthropic-server.ts";
import { now } from "./clock.ts";

/** What the server tells: that it listens, that a request came, that an answer was written whole. */
export type ServerReport =
  | { readonly type: "listening"; readonly url: string }
  | { readonly type: "request" | "answered"; readonly text: string; readonly at: number };

interface Body {
  readonly messages: readonly { readonly content: string | readonly Block[] }[];
}
interface Block {
  readonly type: string;
  readonly text?: string;
}

const report = (message: ServerReport): void => void process.send?.(message);

/** Text of the newest message; empty for one that carries tool results. */
function newestText(body: Body): string {
  const content = body.messages.at(-1)?.content ?? "";
  if (typeof content === "string") return content;
  if (content.some(({ type }) => type === "tool_result")) return "";
  return content.map(({ text }) => text ?? "").join("\n");
}

function answerTo(text: string): string {
  const [, count, prefix, task, directory] = /^spawn (\d+) (\S+) (\S+) (\S+)$/m.exec(text) ?? [];
  if (count === undefined) return answerWithoutSpawn(text);
  const calls = Array.from({ length: Number(count) }, (_, index) => {
    const name = `${prefix}-${index}`;
    const scope = [
      { target: `${directory}/${name}`, permission: "write" },
      { target: directory, permission: "read" },
    ];
    return { name: "SpawnPod", input: { name, task: `${task} ${name}`, scope } };
  });
  return encodeBlocks({ calls }).join("");
}

function answerWithoutSpawn(text: string): string {
  const [, count, prefix] = /^stop (\d+) (\S+)$/m.exec(text) ?? [];
  if (count === undefined) return encodeBlocks({ text: "Done." }).join("");
  const calls = Array.from({ length: Number(count) }, (_, index) => ({
    name: "StopPod",
    input: { name: `${prefix}-${index}` },
  }));
  return encodeBlocks({ calls }).join("");
}

async function serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
  const at = now();
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(Buffer.from(chunk as Uint8Array));
  const text = newestText(JSON.parse(Buffer.concat(chunks).toString()) as Body);
  if (!/^hold /m.test(text)) {
    const answer = answerTo(text);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(answer);
    report({ type: "answered", text, at: now() });
  }
  report({ type: "request", text, at });
}

if (import.meta.main) {
  const server = createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
  });
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    report({ type: "listening", url: `http://127.0.0.1:${address.port}` });
  });
  process.once("disconnect", () => process.exit(0));
}
