/** The program itself and what the kernel below it offers. Reads, changes nothing. */
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { release } from "node:os";
import { hasPidfd, landlockVersion } from "../../base/libc.ts";
import { identityOf } from "../../base/process.ts";
import { VERSION } from "../../base/version.ts";
import { ENFORCEABLE_ABI } from "../../sandbox/confinement.ts";
import { missingProtections, supportOf } from "../../sandbox/landlock.ts";
import { type Finding, ok, problem, warning } from "./finding.ts";

/** What the kernel and the program say of themselves. */
export interface KernelFacts {
  readonly platform: string;
  readonly release: string;
  readonly version: string;
  readonly program: string;
  /** The file of the running program is still there. */
  readonly programExists: boolean;
  /** Version of the Landlock interface; undefined where there is none. */
  readonly landlock: number | undefined;
  readonly pidfd: boolean;
  /** proc(5) shows processes: start times and boot are known. */
  readonly proc: boolean;
  readonly pidNamespace: string | undefined;
  readonly userNamespace: string | undefined;
  /** User ids are mapped: this is a container or user namespace of its own. */
  readonly mapped: boolean;
}

/** Gathers them; never throws. */
export function kernelFacts(): KernelFacts {
  const { start, boot } = identityOf(process.pid);
  return {
    platform: process.platform,
    release: release(),
    version: VERSION,
    program: process.execPath,
    programExists: existsSync(process.execPath),
    landlock: attempt(landlockVersion),
    pidfd: attempt(hasPidfd) ?? false,
    proc: start !== null && boot !== null,
    pidNamespace: attempt(() => readlinkSync("/proc/self/ns/pid")),
    userNamespace: attempt(() => readlinkSync("/proc/self/ns/user")),
    mapped: !/^\s*0\s+0\s+4294967295\s*$/.test(
      attempt(() => readFileSync("/proc/self/uid_map", "utf8")) ?? "0 0 4294967295",
    ),
  };
}

function attempt<Value>(look: () => Value): Value | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** Findings on them; pure. */
export function checkKernel(facts: KernelFacts): Finding[] {
  const { platform, landlock, pidfd, proc } = facts;
  const kernel = `${platform} ${facts.release}`;
  return [
    facts.programExists
      ? ok("program", `pod ${facts.version}, ${facts.program}`)
      : warning(
          "program",
          `pod ${facts.version}; ${facts.program} was replaced or removed since it was started`,
          "start Pods anew to use the new program",
        ),
    platform === "linux"
      ? ok("kernel", kernel)
      : warning("kernel", `${kernel}: pod is tested on Linux only`, "use Linux where it matters"),
    proc
      ? ok(
          "processes",
          `identities of processes are known${pidfd ? ", pidfd works" : ", no pidfd"}`,
        )
      : problem(
          "processes",
          "/proc does not show processes, so nobody can tell a dead Pod from a stranger with its pid",
          "mount it: mount -t proc proc /proc",
        ),
    ok(
      "namespaces",
      `${facts.pidNamespace ?? "no pid namespace"}, ${facts.userNamespace ?? "no user namespace"}` +
        (facts.mapped ? " (user ids are mapped: a container)" : ""),
    ),
    checkLandlock(landlock),
  ];
}

/** What the sandbox for shell commands makes of it (docs/sandbox.md). */
function checkLandlock(version: number | undefined): Finding {
  const support = supportOf(version ?? 0);
  if (support.abi < ENFORCEABLE_ABI) {
    const has = version === undefined ? "has no Landlock" : `only has Landlock version ${version}`;
    return warning(
      "landlock",
      `the kernel ${has}: it cannot keep shell commands inside a scope, so Bash runs none`,
      "use Linux 6.2 or newer with lsm=…,landlock on its command line, or see docs/sandbox.md",
    );
  }
  const missing = missingProtections(support);
  const lacks = missing.length === 0 ? "" : `; it does not restrict ${missing.join("; ")}`;
  return ok("landlock", `interface version ${version}${lacks}`);
}
