/**
 * The yardstick: the least that a program made by `build.ts` can do. It prints one line and ends;
 * with `--idle` it stays until it is killed, so that its memory can be measured; with `--listen PATH`
 * it listens at a socket first, as the least that a Pod could be. `process.stdout` would load Node's
 * streams and treble the time.
 */
import { VERSION } from "../src/base/version.ts";

const NEVER_MS = 0x7fff_ffff;

if (Bun.argv[2] === "--listen") {
  Bun.listen({ unix: Bun.argv[3] ?? "", socket: { data: () => undefined } });
}
console.log(VERSION); // what the build's smoke test expects
if (Bun.argv[2] === "--idle") setTimeout(() => undefined, NEVER_MS);
