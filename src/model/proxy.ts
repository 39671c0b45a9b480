/**
 * Which proxy the runtime's `fetch` uses for a URL, for messages only: nothing is sent by what is
 * found here. Pure.
 */
import type { Environment } from "../base/paths.ts";

/**
 * Host and port of that proxy, without its credentials; undefined when there is none, and when it
 * cannot be told.
 */
export function proxyOf(url: string, env: Environment): string | undefined {
  const { protocol, hostname, port } = new URL(url);
  const scheme = protocol.slice(0, -1);
  const value = first(env, `${scheme}_proxy`) ?? first(env, "all_proxy");
  if (value === undefined) return undefined;
  const number = port === "" ? (scheme === "http" ? "80" : "443") : port;
  const exempt = (first(env, "no_proxy") ?? "").split(",").map((entry) => entry.trim());
  if (exempt.some((entry) => covers(entry.toLowerCase(), hostname, number))) return undefined;
  return URL.parse(/^[a-z0-9+.-]+:\/\//i.test(value) ? value : `http://${value}`)?.host;
}

/** The variable as the runtime reads it: the lower-case name first, empty is as good as unset. */
function first(env: Environment, name: string): string | undefined {
  return env[name] || env[name.toUpperCase()] || undefined;
}

/** True when an entry of `NO_PROXY` takes the host out, or may: a range of addresses is not read. */
function covers(entry: string, hostname: string, port: string): boolean {
  if (entry === "") return false;
  if (entry === "*" || entry.includes("/")) return true;
  const [name = "", only = port] = entry.startsWith("[") ? [entry] : entry.split(":");
  const domain = name.replace(/^\*?\./, "");
  return only === port && (hostname === domain || hostname.endsWith(`.${domain}`));
}
