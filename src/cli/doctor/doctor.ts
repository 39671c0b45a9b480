/** `pod doctor`: what is wrong with this machine's Pods, what to do about it, and with `--fix`, doing it. */
import { EXIT, messageOf } from "../../base/errors.ts";
import type { Environment } from "../../base/paths.ts";
import { printable } from "../../base/text.ts";
import { noteConfinement } from "../confined.ts";
import type { Streams } from "../output.ts";
import { painterFor, type Style } from "../terminal.ts";
import { examine } from "./examine.ts";
import type { Finding, Status } from "./finding.ts";
import { mend } from "./mend.ts";

/** Rounds of looking and mending: one repair may show what the next has to mend. */
const MAX_ROUNDS = 4;

/** Longest text of one line, in characters; names in it come from the environment and the disk. */
const MAX_TEXT = 2000;

const STYLE: Record<Status, Style> = {
  ok: "green",
  warning: "yellow",
  problem: "red",
  fixed: "cyan",
};

/**
 * Prints one line for each check (with `json` an array of `{check, status, finding, advice}`), after
 * what `fix` has done. The exit code is 1 when a problem is left, else 0.
 */
export async function runDoctor(
  options: { readonly json: boolean; readonly fix: boolean },
  env: Environment,
  { out, err }: Streams,
): Promise<number> {
  noteConfinement(env, err);
  const { done, left } = options.fix ? await repair(env) : { done: [], left: await examine(env) };
  const findings = [...done, ...left];
  if (options.json) {
    const list = findings.map(({ check, status, finding, advice = null }) => ({
      check,
      status,
      finding,
      advice,
    }));
    out.write(`${JSON.stringify(list, null, 2)}\n`);
  } else {
    const paint = painterFor(out, env);
    const width = Math.max(...findings.map(({ check }) => check.length));
    const lines = findings.map(({ check, status, finding, advice }) => {
      const word = paint(STYLE[status], status.padEnd(7));
      const todo = advice === undefined ? "" : paint("bold", ` -> ${printable(advice, MAX_TEXT)}`);
      return `${word}  ${check.padEnd(width)}  ${printable(finding, MAX_TEXT)}${todo}`;
    });
    out.write(`${lines.join("\n")}\n`);
  }
  return left.some(({ status }) => status === "problem") ? EXIT.failed : EXIT.done;
}

/** Mends until nothing new can be mended; every repair is tried once. */
async function repair(env: Environment): Promise<{ done: Finding[]; left: Finding[] }> {
  const done: Finding[] = [];
  const tried = new Map<string, string | undefined>();
  let left = await examine(env);
  for (let round = 1; round < MAX_ROUNDS; round += 1) {
    const open = left.flatMap(({ check, mends = [] }) => mends.map((what) => ({ check, what })));
    const fresh = open.filter(({ what }) => !tried.has(JSON.stringify(what)));
    if (fresh.length === 0) break;
    for (const { check, what } of fresh) {
      const key = JSON.stringify(what);
      if (tried.has(key)) continue;
      try {
        const text = await mend(what);
        tried.set(key, undefined);
        if (text !== undefined) done.push({ check, status: "fixed", finding: text });
      } catch (error) {
        tried.set(key, messageOf(error));
      }
    }
    left = await examine(env);
  }
  return { done, left: left.map((finding) => withFailure(finding, tried)) };
}

/** Says why a repair that was tried did not help. */
function withFailure(finding: Finding, tried: ReadonlyMap<string, string | undefined>): Finding {
  const why = finding.mends?.flatMap((what) => tried.get(JSON.stringify(what)) ?? []) ?? [];
  if (why.length === 0) return finding;
  const status = finding.status === "ok" ? "problem" : finding.status;
  const { advice = "mend what the message says and run pod doctor --fix again" } = finding;
  return {
    ...finding,
    status,
    finding: `${finding.finding}; --fix could not mend it: ${why[0]}`,
    advice,
  };
}
