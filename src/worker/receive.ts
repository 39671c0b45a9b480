/**
 * The answer to one request: the model's stream is fed to a fold until it is over or the run is aborted,
 * even when the iterator hangs. Never rejects for a fault of the model, which the fold keeps.
 */
import { messageOf } from "../base/errors.ts";
import type { ModelRequest, ModelStream } from "../model/model.ts";
import type { ResponseFold } from "./fold.ts";

/**
 * Feeds the stream to the fold until its last event, its end, or an abort, whichever is first. An
 * iterator that ignores the signal is left behind: nothing it yields later is looked at.
 */
export async function receive(
  model: ModelStream,
  request: ModelRequest,
  fold: ResponseFold,
  signal: AbortSignal,
): Promise<"over" | "aborted"> {
  const { promise: over, resolve, reject } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  let listening = true;
  const pump = async (): Promise<void> => {
    try {
      for await (const event of model(request, signal)) {
        if (!listening || signal.aborted) break;
        try {
          if (!fold.accept(event)) continue;
        } catch (error) {
          return reject(error); // a fault of ours, not of the model
        }
        // Said before the iterator is closed, because closing may hang.
        resolve();
        break;
      }
    } catch (error) {
      if (listening) fold.fail(messageOf(error));
    }
    resolve();
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    void pump();
    await over;
  } finally {
    listening = false;
    signal.removeEventListener("abort", stop);
  }
  return signal.aborted && !fold.finished ? "aborted" : "over";
}
