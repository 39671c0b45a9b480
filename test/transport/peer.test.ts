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
      await Bun.connect({ unix: process.argv.at(-1), socket: {
        open: (socket) => { socket.write('{"method":"shutdown"}\\n'); },
        data: (_socket, chunk) => { text += chunk.toString(); },
        close: () => { console.log(text.trim()); process.exit(0); },
      }});`;
    const child = Bun.spawn(
      [
        "setpriv",
        `--reuid=${NOBODY}`,
        `--regid=${NOBODY}`,
        "--clear-groups",
        bun,
        "-e",
        script,
        pod.path,
      ],
      { cwd: "/", env: { PATH: "/usr/bin:/bin", HOME: "/" }, stdout: "pipe", stderr: "inherit" },
    );
    const told = await within(child.stdout.text(), 10_000, "the refusal");
    expect(told.trim()).toBe(
      `{"event":"error","data":{"code":"internal","message":"user ${NOBODY} is not the owner of this pod"}}`,
    );
    expect(pod.methods).toEqual([]);
  },
);
