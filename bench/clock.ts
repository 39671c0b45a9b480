/**
 * One clock for all processes of a measurement: `CLOCK_MONOTONIC`. What Bun offers counts from the
 * start of each process or follows corrections of the wall clock, and differs between processes.
 */
import { dlopen, ptr } from "bun:ffi";

const CLOCK_MONOTONIC = 1; // Linux
const libc = dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } });
const timespec = new BigInt64Array(2); // seconds, nanoseconds

/** Milliseconds since some moment before the machine started; comparable between processes. */
export function now(): number {
  libc.symbols.clock_gettime(CLOCK_MONOTONIC, ptr(timespec));
  const [seconds = 0n, nanoseconds = 0n] = timespec;
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
}
