/**
 * What else lies in the runtime directory: temporaries of writers that died, tables that were moved
 * aside, and things that are nobody's. Names are bytes: they need not be text. Reads, changes nothing.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { isDirectory } from "../../base/files.ts";
import { isPodName } from "../../base/paths.ts";
import { printable } from "../../base/text.ts";
import { GONE_PREFIX } from "../../registry/life.ts";
import { OPEN_SOCKETS_NOTE } from "../../sandbox/open-sockets.ts";
import { PROBE_PREFIX } from "./disk.ts";
import { type Finding, listed, ok, quoted, warning } from "./finding.ts";

/** The registry's own files, and the note that commands could use local sockets. */
const FILES: readonly string[] = ["pods.json", "pods.json.bak", "pods.lock", OPEN_SOCKETS_NOTE];
/** What a writer of the registry leaves when it dies; only the holder of the lock makes them. */
const TEMPORARIES: readonly string[] = ["pods.json.tmp", "pods.json.bak.tmp"];
const CORRUPT = /^pods\.json\.corrupt-\d+$/;

/** The names in a runtime directory, sorted by what they are. */
interface LeftoverFacts {
  readonly base: string;
  readonly temporaries: readonly string[];
  readonly corrupt: readonly string[];
  /** Directories on their way out and files of a doctor that was killed. */
  readonly sweepable: readonly string[];
  /** Shown with what cannot be printed escaped. */
  readonly unknown: readonly string[];
}

/** Reads the directory. Throws what the system says. */
export function leftoverFacts(base: string): LeftoverFacts {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const temporaries: string[] = [];
  const corrupt: string[] = [];
  const sweepable: string[] = [];
  const unknown: string[] = [];
  // Without file types: with them Bun 1.4.5 returns empty names for buffers.
  for (const bytes of readdirSync(base, { encoding: "buffer" })) {
    let name: string;
    try {
      name = decoder.decode(bytes);
    } catch {
      unknown.push(printable(bytes.toString("latin1")));
      continue;
    }
    if (FILES.includes(name) || (isPodName(name) && isDirectory(join(base, name)))) continue;
    if (TEMPORARIES.includes(name)) temporaries.push(name);
    else if (CORRUPT.test(name)) corrupt.push(name);
    else if (name.startsWith(GONE_PREFIX) || name.startsWith(PROBE_PREFIX)) sweepable.push(name);
    else unknown.push(printable(name));
  }
  return { base, temporaries, corrupt, sweepable, unknown };
}

/** True for a name that belongs in a runtime directory: the registry's files, or what a Pod made. */
export function isOurs(base: string, name: string): boolean {
  if (FILES.includes(name) || TEMPORARIES.includes(name) || CORRUPT.test(name)) return true;
  if (name.startsWith(GONE_PREFIX) || name.startsWith(PROBE_PREFIX)) return true;
  if (!isPodName(name) || !isDirectory(join(base, name))) return false;
  try {
    const inside = readdirSync(join(base, name));
    return inside.length === 0 || inside.includes("lock");
  } catch {
    return false;
  }
}

/** Findings on them; pure. */
export function checkLeftovers(facts: LeftoverFacts): Finding[] {
  const { base, temporaries, corrupt, sweepable, unknown } = facts;
  const findings: Finding[] = [];
  const gone = [...temporaries, ...sweepable];
  if (gone.length > 0) {
    findings.push(
      warning("leftovers", `of processes that died: ${listed(gone, 4)}`, "run: pod doctor --fix", [
        ...temporaries.map((name) => ({ kind: "remove-temporary", base, name }) as const),
        ...(sweepable.length > 0 ? [{ kind: "sweep", base } as const] : []),
      ]),
    );
  }
  if (corrupt.length > 0) {
    findings.push(
      warning(
        "leftovers",
        `${corrupt.length} damaged tables were moved aside and kept for you: ${listed(corrupt, 3)}`,
        `when you know what damaged them: rm -r ${quoted(base)}/pods.json.corrupt-*`,
      ),
    );
  }
  if (unknown.length > 0) {
    findings.push(
      warning(
        "leftovers",
        `nothing of ours, so not touched: ${listed(unknown, 5)}`,
        `move it away: ls -lab ${quoted(base)}`,
      ),
    );
  }
  return findings.length === 0 ? [ok("leftovers", "none")] : findings;
}
