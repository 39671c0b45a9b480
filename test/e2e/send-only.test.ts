/** Clients of compiled Pods that connect, write a line and are gone before anybody looks at them. */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { noteOpenSockets, OPEN_SOCKETS_NOTE } from "../../src/sandbox/open-sockets.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, type RootPod, startWorld } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { CONFINES } from "../tools/shell-support.ts";

const command = [podBinary()];
const CLIENTS = 100;
const AT_ONCE = 10;

/** Writes its arguments as lines and ends, without waiting for anything. */
const CLIENT = `
  const [unix, ...lines] = process.argv.slice(1);
  await Bun.connect({ unix, socket: {
    open: (socket) => {
      const text = lines.join("\\n") + "\\n";
      process.exit(socket.write(text) === text.length ? 0 : 1);
    },
    data: () => {},
  }});`;

async function sendAndDie(pod: RootPod, ...lines: string[]): Promise<void> {
  const client = Bun.spawn([process.execPath, "-e", CLIENT, pod.socket, ...lines], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  expect(await within(client.exited, 20_000, "the end of a client")).toBe(0);
}

const note = (message: string): string => JSON.stringify({ method: "notify", params: { message } });

/** How often each of `texts` stands in the Pod's conversation. */
async function timesIn(pod: RootPod, texts: readonly string[]): Promise<number[]> {
  const history = JSON.stringify(await pod.request({ method: "get_history" }, "history"));
  return texts.map((text) => history.split(text).length - 1);
}

test(`of ${CLIENTS} clients that were gone before the pod could look, each is heard once`, async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  const texts = Array.from({ length: CLIENTS }, (_, n) => `<from client ${n}>`);
  // The kernel takes what they say for a Pod that does not come to it.
  process.kill(root.pid, "SIGSTOP");
  try {
    for (let at = 0; at < CLIENTS; at += AT_ONCE) {
      await Promise.all(texts.slice(at, at + AT_ONCE).map((text) => sendAndDie(root, note(text))));
    }
  } finally {
    process.kill(root.pid, "SIGCONT");
  }
  await eventually(
    async () => (await timesIn(root, texts)).every((times) => times > 0),
    "every note",
  );
  expect(await timesIn(root, texts)).toEqual(texts.map(() => 1));
}, 90_000);

test.each(["runtime", "data"])(
  "a client that is gone is not heard where commands can use local sockets, one that lives is: note in the %s directory",
  async (place) => {
    await using world = startWorld();
    const root = await world.start({ command, rules: [{ text: "noted" }] });
    noteOpenSockets([place === "runtime" ? world.runtime : join(world.home, ".insomnia")]);
    process.kill(root.pid, "SIGSTOP");
    try {
      await sendAndDie(root, note("<from the dead>"));
    } finally {
      process.kill(root.pid, "SIGCONT");
    }
    await root.request({ method: "notify", params: { message: "<from the living>" }, id: "n1" });
    const texts = ["<from the living>", "<from the dead>"];
    await eventually(async () => (await timesIn(root, texts))[0] === 1, "the note");
    expect(await timesIn(root, texts)).toEqual([1, 0]);
    expect(root.stderr()).toContain("the process that connected is gone");
  },
);

const CONNECTS = `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!"; connect(S, pack_sockaddr_un($ARGV[0])) or die "connect: $!"; print "connected"'`;

test.skipIf(!CONFINES || Bun.which("perl") === null)(
  "a command has local sockets only where the manifest opens them, which is then on record",
  async () => {
    await using world = startWorld();
    const rules = [
      { match: "^RUN (.*)$", calls: [{ tool: "Bash", input: { command: "$1" } }] },
      { text: "done" },
    ];
    const holding = (target: string) => ({
      allow: [{ target, permission: "write" as const, recursive: true }],
    });
    const quiet = join(world.work, "quiet");
    mkdirSync(quiet);
    const results = async (name: string, sandbox: Readonly<Record<string, unknown>>) => {
      const own = join(world.work, name);
      mkdirSync(own);
      const pod = await world.start({
        command,
        name,
        rules,
        sandbox,
        cwd: own,
        scope: holding(own),
      });
      await pod.runToEnd(`RUN ${CONNECTS} ${listening.socket}`);
      const said = pod.events.find(({ event }) => event === "tool_result");
      return (said?.data as { output: string }).output;
    };
    const listening = await world.start({
      command,
      name: "listening",
      rules,
      scope: holding(quiet),
      cwd: quiet,
    });
    const closed = await results("closed", {});
    expect(closed).toContain("socket: Permission denied");
    expect(closed).toContain('local_sockets = "allow"');
    expect(await Bun.file(join(world.runtime, OPEN_SOCKETS_NOTE)).exists()).toBe(false);
    expect(await results("open", { local_sockets: "allow" })).toBe("connected");
    expect(await Bun.file(join(world.runtime, OPEN_SOCKETS_NOTE)).exists()).toBe(true);
  },
  60_000,
);
