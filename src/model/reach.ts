/**
 * Whether a host can be connected to at all. `fetch` does not say when a connection stands, so a host
 * that thinks for minutes looks like one that no packet reaches; a second connection tells them apart.
 */

/** Asks whether a connection can be made; resolves, never rejects, soon after the signal aborts. */
export type Reach = (signal: AbortSignal) => Promise<boolean>;

/** A `Reach` that opens and closes a TCP connection to the host of `url`, within `timeoutMs`. */
export function reachOf(url: string, timeoutMs: number): Reach {
  const { hostname, port, protocol } = new URL(url);
  const target = {
    // The brackets of an IPv6 address belong to the URL only.
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? (protocol === "http:" ? 80 : 443) : Number(port),
  };
  return async (signal) => {
    // Not `Bun.connect`: an attempt that is under way could not be withdrawn and would keep the
    // process alive for minutes.
    const { connect } = await import("node:net");
    if (signal.aborted) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), timeoutMs);
    const stop = (): void => resolve(false);
    signal.addEventListener("abort", stop, { once: true });
    const socket = connect({ host: target.hostname, port: target.port });
    socket.once("connect", () => resolve(true)).on("error", stop);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      socket.destroy();
    }
  };
}
