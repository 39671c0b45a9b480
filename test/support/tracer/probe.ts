/** A process that does nothing but be traced, to learn whether that is allowed. */
import { allowTracing, marked } from "./traced.ts";

allowTracing();
process.stdout.write("ready\n");
for await (const _ of console) await marked(async () => undefined);
