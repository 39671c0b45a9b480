/**
 * Thirty-two processes ask for one region at once, in every shape that a scope can have: exactly one
 * gets it, in every round (18, I1). The processes stand ready and are only told to go.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { Registry } from "../../src/registry/registry.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { actors, type Reply } from "../registry/actor.ts";
import { flat, names, reads, rule } from "../registry/entries.ts";
import { temp } from "../support/temp.ts";
import { type Draw, draws, eachRound, LIMIT_MS, rounds } from "./rounds.ts";

const PROCESSES = 32;
const ROUNDS = rounds(1000, 60);

/** Scopes that all may write `work/hub/file`, so that any two of them overlap. */
function contested(work: string, link: string, draw: Draw, own: string): ScopeRule[] {
  const claim = draw.of([
    rule(work),
    rule(`${work}/hub`),
    rule(`${work}/hub/file`), // not there yet
    flat(`${work}/hub`),
    flat(`${work}/hub/file`),
    rule(`${link}/hub`),
    flat(`${link}/hub`),
    rule(`${link}/hub/file`),
    rule(`${work}//hub/./`),
  ]);
  return draw.of([[claim], [reads("/usr"), claim], [rule(own), claim]]);
}

const isRefused = (reply: Reply): reply is Extract<Reply, { ok: false }> => !reply.ok;

test(
  `${PROCESSES} processes ask for overlapping scopes, ${ROUNDS} times: one gets it, all others name it (18)`,
  async () => {
    await using dir = temp();
    await using pool = await actors(PROCESSES);
    const base = dir.join("run");
    const registry = new Registry(base);
    const [work, link] = [dir.join("work"), dir.join("link")];
    mkdirSync(`${work}/hub`, { recursive: true });
    symlinkSync(work, link);
    const draw = draws(1);
    const winnersBefore = new Set<string>();
    const directories = (): string[] =>
      readdirSync(base).filter((name) => !name.startsWith("pods."));

    await eachRound(ROUNDS, async (round) => {
      const first = draw.number(PROCESSES);
      const order = pool.map((_, index) => (index + first) % PROCESSES);
      const replies = await Promise.all(
        order.map(async (index) => {
          const name = `p${index}`;
          const request = { base, name, instance: `${name} ${round}`, session: `${name} ${round}` };
          const allow = contested(work, link, draw, dir.join("own", name));
          const actor = pool[index];
          if (actor === undefined) throw new Error("no such process");
          return { name, reply: await actor.ask({ op: "joinResolved", ...request, allow }) };
        }),
      );
      const winners = replies.filter(({ reply }) => reply.ok).map(({ name }) => name);
      expect(winners).toHaveLength(1);
      const [winner = ""] = winners;
      for (const { reply } of replies) {
        if (!isRefused(reply)) continue;
        expect(reply.code).toBe("write_conflict");
        expect(reply.message).toContain(`conflicts with pod \`${winner}\``);
      }
      expect(names(registry.peek())).toEqual([winner]);
      expect(directories()).toEqual([winner]);
      await pool[Number(winner.slice(1))]?.tell({ op: "leave", base, name: winner });
      expect(names(registry.peek())).toEqual([]);
      expect(directories()).toEqual([]);
      winnersBefore.add(winner);
    });
    // A race that always the same one wins is none.
    expect(winnersBefore.size).toBeGreaterThan(Math.min(ROUNDS, PROCESSES) / 4);
  },
  LIMIT_MS,
);
