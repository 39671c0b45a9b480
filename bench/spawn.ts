/**
 * `bun run bench/spawn.ts`: what it costs that every agent is a process. Prints a table, or JSON with
 * `--json`; what the figures mean stands in bench/README.md. Every measurement is taken beside one
 * of a hello-world compiled in the same way, one after the other, so that both see the same machine.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureChildren } from "./children.ts";
import { countFrom, machine, programAt, runBench } from "./program.ts";
import { measureSettled, writeManifests } from "./settled.ts";
import { Hello, measureStart } from "./start.ts";
import { type Figure, renderTable } from "./stats.ts";
import { ModelServer, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/spawn.ts [options]
  --pod PATH      program to measure (default: dist/pod)
  --rounds N      measurements of each kind (default: 30; of fresh parents a third)
  --only LIST     groups of figures: start, children, settled (default: all)
  --quick         leave out the idle Pod's system calls, which take 45 s
  --runtime DIR   put the runtime directory there, for example on another file system
  --json          print JSON`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
      rounds: { type: "string", default: "30" },
      only: { type: "string", default: "start,children,settled" },
      quick: { type: "boolean", default: false },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const pod = await programAt(values.pod);
  const rounds = countFrom(values.rounds, USAGE);
  const groups = values.only.split(",");
  if (process.platform !== "linux") throw new Error("the figures come from the kernel of Linux");

  const workspace = new Workspace(pod, values.runtime);
  const measuredOn = machine();
  const hello = await Hello.build(workspace);
  const server = await ModelServer.start(workspace);
  writeManifests(workspace, server.url);
  const figures: Figure[] = [];
  const measure = async (group: string, work: () => Promise<Figure[]>): Promise<void> => {
    if (!groups.includes(group)) return;
    console.error(`measuring: ${group} …`);
    figures.push(...(await work()));
  };
  const fresh = Math.ceil(rounds / 3);
  await hello.run(); // the first of all pays for the disk
  await measure("children", () =>
    measureChildren(workspace, server, hello, { single: rounds, fresh }),
  );
  await measure("start", () => measureStart(workspace, server, hello, rounds));
  await measure("settled", () => measureSettled(workspace, hello, values.quick));
  figures.unshift(...hello.figures());
  figures.sort((a, b) => (a.id < b.id ? -1 : 1));

  const host = measuredOn.after();
  if (values.json) return console.log(JSON.stringify({ machine: host, figures }, null, 2));
  console.log(`${host.processors} processors, Bun ${host.bun}`);
  console.log(
    `load ${host.load_before?.toFixed(1)} before, ${host.load_after?.toFixed(1)} after\n`,
  );
  console.log(renderTable(figures));
}

await runBench(main);
