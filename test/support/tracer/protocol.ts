/** What a test and its tracer say to each other, one JSON line each. */
import type { Errno } from "./calls.ts";

/** A process to follow between its markers, and what shall happen at one of its calls. */
export interface TraceRequest {
  /** The process that sets the markers; the first one. */
  readonly pid: number;
  /** Further processes that live already and count as its children. */
  readonly also?: readonly number[];
  /** Whose calls count: those of `pid`, or those of every other process that is followed. */
  readonly whose: "own" | "children";
  /** Only calls about paths below this directory count, and those on sockets. */
  readonly root: string;
  readonly fault?: Fault;
}

/** What happens at call `index`, counted from 0. */
export interface Fault {
  readonly index: number;
  readonly how: "before" | "after" | Errno;
}

/** A call that counted. */
export interface Call {
  readonly name: string;
  readonly path: string;
}

/** `seized`: the process may begin. Then one `traced`, or `refused` at once. */
export type TraceReply =
  | { readonly kind: "seized" }
  | { readonly kind: "refused" }
  | { readonly kind: "traced"; readonly calls: readonly Call[]; readonly hit: boolean };

/** Opening this path, which does not exist, begins what is counted. */
export const BEGIN_MARK = "/pod-trace/begin";
/** Opening this path ends it and sets the processes free. */
export const END_MARK = "/pod-trace/end";
