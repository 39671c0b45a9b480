/** A directory with mailboxes in it, for the tests of mailboxes. */
import { Mailbox } from "../../src/controller/mailbox.ts";
import type { PodEvent } from "../../src/protocol/method.ts";
import { temp } from "../support/temp.ts";

/** Ids of sessions. */
export const SESSION = "0196f3a2-7c1e-7b43-9f0a-5d1c2e3f4a5b";
export const LATER = "0196f3a2-7c1e-7b43-9f0a-5d1c2e3f4a5c";
/** A report, and a notice of this id. */
export const event = (message: string): PodEvent => ({
  kind: "errored",
  pod_name: "kid",
  instance: "k",
  message,
});
export const notice = (id: string) => ({ id, text: `text of ${id}`, wake: true });

/** A directory and mailboxes in it; whatever goes wrong is in `troubles`. */
export function post() {
  const dir = temp();
  const troubles: string[] = [];
  return {
    troubles,
    path: (session = SESSION) => dir.join(`${session}.mail`),
    open: (session = SESSION, earlier: string[] = []) =>
      new Mailbox(dir.path, session, (trouble) => troubles.push(trouble), earlier),
    directory: dir.path,
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
