import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, linkSync } from "node:fs";
import { dirname } from "node:path";
import { temp, within } from "../support/temp.ts";
import { serve } from "./harness.ts";

const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0 && Bun.which("setpriv") !== null;

// Only root can become somebody else; who is not root is refused the same way in `server.test.ts`.
test.skipIf(!isRoot)(
  "the kernel says who connects: another user is refused although the file modes let it in (W15)",
  async () => {
    await using pod = serve();
    await using place = temp();
    chmodSync(dirname(pod.path), 0o755);
    chmodSync(pod.path, 0o666);
    chmodSync(place.path, 0o755);
    // Our own Bun may lie where others cannot go.
    const bun = place.join("bun");
    try {
      linkSync(process.execPath, bun);
    } catch {
      copyFileSync(process.execPath, bun);
    }
    const script = `
      let text = "";
      const [mode, unix] = process.argv.slice(-2);
      await Bun.connect({ unix, socket: {
        open: (socket) => { if (mode === "order") socket.write('{"method":"shutdown"}\\n'); },
        data: (_socket, chunk) => { text += chunk.toString(); },
        error: () => {},
        close: () => { console.log(text.trim()); process.exit(0); },
      }});`;
    const asNobody = async (mode: "order" | "listen"): Promise<string> => {
      const identity = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
      const child = Bun.spawn(["setpriv", ...identity, bun, "-e", script, mode, pod.path], {
        cwd: "/",
        env: { PATH: "/usr/bin:/bin", HOME: "/" },
        stdout: "pipe",
        stderr: "inherit",
      });
      return (await within(child.stdout.text(), 10_000, "the refusal")).trim();
    };
    const refusal = `user ${NOBODY} is not the owner of this pod`;
    expect(await asNobody("listen")).toBe(
      `{"event":"error","data":{"code":"internal","message":"${refusal}"}}`,
    );
    await asNobody("order"); // whether it still reads why is the kernel's affair
    expect(pod.logged).toEqual(Array(2).fill(`connection refused: ${refusal}`));
    expect(pod.methods).toEqual([]);
  },
);
