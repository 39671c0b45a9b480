/** How a request is answered: taken or refused, to its sender alone, under the id that it came with. */
import { messageOf } from "../base/errors.ts";
import type { WireErrorCode } from "../protocol/event.ts";
import type { Connection } from "../transport/server.ts";

/** How one request is answered. */
export interface Answer {
  accept(): unknown;
  /** `retry`: the same request may be taken later. */
  reject(code: WireErrorCode, message: string, retry?: boolean): unknown;
}

/** The answer to what nobody waits for. */
export const SILENT: Answer = { accept: () => undefined, reject: () => undefined };

/** The answer to a request with this id; without one only a refusal is heard. */
export function answerOn(connection: Connection, id: string | undefined): Answer {
  return {
    accept: () => id !== undefined && connection.send({ event: "ack", data: { id } }),
    reject: (code, message, retry = false) =>
      connection.send({
        event: "error",
        data: { code, message, ...(id === undefined ? {} : { id }), ...(retry ? { retry } : {}) },
      }),
  };
}

/** Answers when `act` is done, with what went wrong if so. */
export async function answerWith(
  answer: Answer,
  act: () => Promise<string | undefined>,
): Promise<void> {
  const problem = await act().catch(messageOf);
  if (problem === undefined) answer.accept();
  else answer.reject("internal", problem);
}
