/**
 * The escape suite: every attempt of `escape-attempts.ts`, as root and as an ordinary user, confined
 * and, as the control that proves the attempt, unconfined. What counts as written is names, kinds,
 * contents and link targets of everything outside the scope (docs/sandbox.md says what does not).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  openSync,
  closeSync,
} from "node:fs";
import { join } from "node:path";
import { fileView } from "../../src/sandbox/file-view.ts";
import { kernelSupport } from "../../src/sandbox/landlock.ts";
import { shellMark } from "../../src/sandbox/marked-processes.ts";
import { planRuleset } from "../../src/sandbox/ruleset.ts";
import { startCommand } from "../../src/tools/shell/command.ts";
import { CommandOutput } from "../../src/tools/shell/output.ts";
import { listenPrivately, type PodServer } from "../../src/transport/server.ts";
import { podBinary } from "../support/binary.ts";
import { temp, within } from "../support/temp.ts";
import { CONFINES } from "../tools/shell-support.ts";
import { rule } from "../tools/support.ts";
import { type Attempt, ATTEMPTS } from "./escape-attempts.ts";

const AM_ROOT = process.geteuid?.() === 0;
/** An id that no account has. */
const ORDINARY = 54_321;
const LIMIT_MS = 20_000;

type ConfinementOfAttempt = "none" | "with local sockets" | "full";

interface Place extends AsyncDisposable {
  readonly user: number;
  readonly scope: string;
  /** Runs a command in the scope; what it wrote. */
  run(command: string, confinement: ConfinementOfAttempt): Promise<string>;
  /** Everything outside the scope as text, to be compared. */
  outside(): string;
  /** Makes all of it as it was. */
  reset(): void;
}

const PROGRAM_OF_SIBLING = `use Socket; use Fcntl; $| = 1;
socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("\\0$ENV{ABSTRACT}")) or die; listen(S, 5);
open(F, ">>", $ENV{HELD}) or die; chdir "$ENV{OUT}";
sysopen(P, "/dev/ptmx", O_RDWR | O_NOCTTY) or die; $n = $z = pack("i", 0);
ioctl(P, 0x40045431, $z) && ioctl(P, 0x80045430, $n) or die; # unlockpt, ptsname
print fileno(F), " ", unpack("i", $n), "\\n"; sleep 1000 while 1;`;

async function makePlace(user: number): Promise<Place> {
  const directory = temp();
  chmodSync(directory.path, 0o755);
  const base = directory.join("base");
  const [scope, out, run, tools] = ["work", "outside", "run", "tools"].map((n) => join(base, n));
  if (scope === undefined || out === undefined || run === undefined || tools === undefined)
    throw new Error();
  const own = (path: string): void => {
    if (AM_ROOT) chownSync(path, user, user);
  };
  mkdirSync(base);
  own(base);
  mkdirSync(tools);
  // The checkout may lie where an ordinary user cannot go.
  const program = join(tools, "pod");
  try {
    linkSync(podBinary(), program);
  } catch {
    copyFileSync(podBinary(), program);
  }
  const suid = join(tools, "as-root");
  copyFileSync("/usr/bin/env", suid);
  const roots = join(tools, "roots");
  const held = join(tools, "held");
  if (AM_ROOT) chmodSync(suid, 0o4755);
  const contents = (): void => {
    for (const path of [out, join(out, "dir"), run, join(run, "other"), scope]) {
      mkdirSync(path, { recursive: true });
      own(path);
    }
    for (const [path, mode] of [
      [join(out, "victim"), 0o644],
      [join(out, "locked"), 0o444],
      [join(out, "dir/text"), 0o644],
      [join(run, "pods.json"), 0o600],
      [join(run, "pods.lock"), 0o600],
      [join(run, "other/status.json"), 0o600],
    ] as const) {
      writeFileSync(path, "safe");
      chmodSync(path, mode);
      own(path);
    }
    // Written in place: the sibling has it open.
    for (const path of [roots, held]) writeFileSync(path, "safe");
    own(held);
  };
  contents();
  const socket = join(run, "other/sock");
  let server: PodServer | undefined;
  const listen = (): void => {
    server = listenPrivately({
      path: socket,
      handlers: {
        // The methods of a real Pod; here it is enough that one was taken.
        onMethod: (connection) =>
          connection.send({ event: "error", data: { code: "internal", message: "handled" } }),
      },
      log: () => {},
    });
    own(socket);
  };
  listen();
  const as = (command: readonly string[]): string[] =>
    user === process.geteuid?.()
      ? [...command]
      : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups", ...command];
  const abstract = `pod-escape-${process.pid}-${user}`;
  const env: Record<string, string> = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: scope,
    OUT: out,
    RUN: run,
    ABSTRACT: abstract,
    SUID: suid,
    ROOTS: roots,
    HELD: held,
  };
  const sibling = Bun.spawn(as(["perl", "-e", PROGRAM_OF_SIBLING]), {
    env: { ...env, SIBLING_SECRET: "1" },
    stdout: "pipe",
    stderr: "inherit",
  });
  const reader = sibling.stdout.getReader();
  const { value } = await within(reader.read(), LIMIT_MS, "the sibling");
  env.SIBLING = String(sibling.pid);
  const [held_, terminal] = Buffer.from(value ?? [])
    .toString()
    .trim()
    .split(" ");
  env.FD = held_ ?? "";
  env.TERMINAL = `/dev/pts/${terminal}`;
  const support = kernelSupport();
  const lock = openSync(join(directory.path, "lock"), "w");
  let count = 0;

  return {
    user,
    scope,
    async run(command, confinement) {
      const confined = confinement !== "none";
      const ruleset = planRuleset(
        {
          scope: { allow: [rule("write", scope)], deny: [] },
          extra: [],
          foreign: [],
          guarded: [run],
          own: [],
          handled: support.fs,
        },
        fileView,
      );
      const output = new CommandOutput(() => {
        throw new Error("too much output");
      });
      const running = startCommand({
        command,
        shell: "/bin/bash",
        place: {
          cwd: scope,
          env,
          trampoline: as([program]),
          lock,
          specPath: join(directory.path, `spec-${(count += 1)}`),
        },
        waiting: undefined,
        ruleset: confined
          ? { fs: support.fs, net: 0, scoped: support.scoped, rules: ruleset.rules }
          : undefined,
        denyNetwork: false,
        denyLocalSockets: confinement === "full",
        sweep: confined ? "domain" : "group",
        mark: shellMark(process.pid, (count += 1)),
        output,
      });
      const end = await within(running.ended, LIMIT_MS, command);
      if (end.refusal !== undefined || !end.clear) throw new Error(JSON.stringify(end));
      return output.shown()?.text ?? "";
    },
    outside: () =>
      [fingerprint(base, scope), readFileSync(roots, "utf8"), readFileSync(held, "utf8")].join(
        "\n",
      ),
    reset() {
      // The link to a mount must go before what is mounted, were it ever left.
      for (const name of readdirSync(base)) {
        const path = join(base, name);
        if (path === tools) continue;
        if (path === out || path === run || path === scope) empty(path, socket);
        else rmSync(path, { recursive: true, force: true });
      }
      contents();
      if (!existsSync(socket)) listen();
    },
    [Symbol.asyncDispose]: async () => {
      sibling.kill("SIGKILL");
      await sibling.exited;
      await server?.close({ flushMs: 100 });
      closeSync(lock);
      await directory[Symbol.asyncDispose]();
    },
  };
}

function empty(directory: string, keep: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (path === keep) continue;
    if (keep.startsWith(`${path}/`)) empty(path, keep);
    else rmSync(path, { recursive: true, force: true });
  }
}

/** Names, kinds, contents and link targets below `path`, without what is below `except`. */
function fingerprint(path: string, except: string): string {
  const info = lstatSync(path);
  if (path === except) return `${path} scope`;
  if (info.isSymbolicLink()) return `${path} -> ${readlinkSync(path)}`;
  if (info.isFile()) {
    return info.size > 1_000_000
      ? `${path} ${info.size}`
      : `${path} ${Bun.hash(readFileSync(path))}`;
  }
  if (!info.isDirectory()) return `${path} special`;
  return [
    path,
    ...readdirSync(path)
      .toSorted()
      .map((n) => fingerprint(join(path, n), except)),
  ].join("\n");
}

const missing = ({ needs = [] }: Attempt): string | undefined =>
  needs.find((name) => Bun.which(name, { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }) === null);

test("the suite has at least 40 attempts", () => {
  expect(ATTEMPTS.length).toBeGreaterThanOrEqual(40);
  expect(new Set(ATTEMPTS.map(({ name }) => name)).size).toBe(ATTEMPTS.length);
});

const USERS: readonly (readonly [string, number])[] = AM_ROOT
  ? ([
      ["root", 0],
      ["an ordinary user", ORDINARY],
    ] as const)
  : ([
      ["the user of the tests (root as well only when run as root)", process.geteuid?.() ?? -1],
    ] as const);

describe
  .skipIf(!CONFINES || Bun.which("perl") === null || Bun.which("setpriv") === null)
  .each(USERS)("as %s", (_, user) => {
  let place: Place;
  beforeAll(async () => {
    place = await makePlace(user);
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  const escaped = async (
    command: string,
    confinement: ConfinementOfAttempt,
  ): Promise<{ yes: boolean; said: string }> => {
    place.reset();
    const before = place.outside();
    const said = await place.run(command, confinement);
    return { yes: place.outside() !== before || said.includes("ESCAPED"), said };
  };
  const isPossible = ({ control }: Attempt): boolean =>
    control === "anybody" ||
    (control === "owner" && user === process.geteuid?.()) ||
    (control === "root" && user === 0) ||
    (control === "ordinary" && user !== 0 && AM_ROOT);

  for (const attempt of ATTEMPTS) {
    const lacks = missing(attempt);
    test.skipIf(lacks !== undefined)(
      `${attempt.name} does not get out${lacks === undefined ? "" : ` (${lacks} is not installed)`}`,
      async () => {
        const closed = attempt.localSockets === true ? "with local sockets" : "full";
        const confined = await escaped(attempt.command, closed);
        expect(confined).toEqual({ yes: false, said: confined.said });
        if (!isPossible(attempt)) return;
        const free = await escaped(attempt.command, "none");
        expect(free).toEqual({ yes: true, said: free.said });
      },
      60_000,
    );
  }

  test("what the scope grants is writable all the same", async () => {
    place.reset();
    const said = await place.run(
      "mkdir d && echo x >d/f && mv d e && ln e/f g && ln -s g h && cat h && rm -r e g h && chmod 700 . && echo fine",
      "full",
    );
    expect(said).toBe("x\nfine\n");
  });
});
