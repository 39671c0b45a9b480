/**
 * Texts the Pod itself puts into a conversation (spec manifest 6.5, protocol 7.7). Other
 * programs look for their markers; change words only around those.
 */

/** A notification as the model gets it: marker, message, and that nobody waits for an answer. */
export function notificationText(message: string): string {
  return (
    `[Notification]\n${message}\n\n` +
    "This is for your information and not a blocking request: nobody waits for an answer. " +
    "Act on it if it matters for your task; otherwise go on with what you were doing."
  );
}

/** What a model reads between a turn that was paused and the request that came instead of going on. */
export const INTERRUPT_NOTE =
  "[The previous turn was interrupted by the user. The user's next request follows.]";
