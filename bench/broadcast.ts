/**
 * The yardstick of `stream.ts`: a bare Bun socket that sends the same lines to all its clients, with
 * nothing but a buffer for those that are slow. `bun bench/broadcast.ts SOCKET LINES` says `ready`, and
 * begins when a client sends anything.
 */
interface Client {
  pending: Uint8Array;
}

const NOTHING = new Uint8Array(0);
const [socketPath = "", count = "0"] = process.argv.slice(2);
const clients = new Map<Bun.Socket<Client>, Client>();

function send(socket: Bun.Socket<Client>, client: Client, line: Uint8Array): void {
  const data = client.pending.length === 0 ? line : Buffer.concat([client.pending, line]);
  const written = Math.max(0, socket.write(data));
  client.pending = written === data.length ? NOTHING : data.subarray(written);
}

async function broadcast(lines: number): Promise<void> {
  for (let n = 0; n < lines; n += 1) {
    const event = { event: "text_delta", data: { text: `word${n} ` } };
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    for (const [socket, client] of clients) send(socket, client, line);
    if (n % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
  }
  const last = Buffer.from('{"event":"run_end","data":{"result":"finished"}}\n');
  for (const [socket, client] of clients) send(socket, client, last);
}

let begun = false;
Bun.listen<Client>({
  unix: socketPath,
  data: { pending: NOTHING },
  socket: {
    open: (socket) => {
      socket.data = { pending: NOTHING };
      clients.set(socket, socket.data);
    },
    data: () => {
      if (!begun) void broadcast(Number(count));
      begun = true;
    },
    drain: (socket) => send(socket, socket.data, NOTHING),
    close: (socket) => void clients.delete(socket),
  },
});
console.log("ready");
