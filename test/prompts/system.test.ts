import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { boundariesText, buildSystemPrompt, checkInstruction } from "../../src/prompts/system.ts";
import { promptVariables } from "../../src/prompts/template.ts";
import type { Scope } from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";

const rule = (permission: "read" | "write", target: string, recursive = true) => ({
  target,
  permission,
  recursive,
});
const scope: Scope = {
  allow: [rule("read", "/p"), rule("write", "/p/src", false)],
  deny: [],
};
const variables = promptVariables("/p", new Date("2026-03-04T05:06:07Z"), ["Read"]);

describe("the system prompt", () => {
  test("is the instruction, the boundaries and the project's instructions", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a.md"), "Work in {{ cwd }}.\n");
    const parts = { instruction: "$user/a", libraries: { user: dir.path }, variables, scope };
    const expected = `Work in /p.

---
## Working boundaries

Readable:
  - /p
  - /p/src [non-recursive]
Writable:
  - /p/src [non-recursive]`;
    expect(buildSystemPrompt(parts)).toBe(expected);
    expect(buildSystemPrompt({ ...parts, agentsMd: "Use tabs. {{ cwd }}  \n\n" })).toBe(
      `${expected}\n\n---\n## Project instructions (AGENTS.md)\n\nUse tabs. {{ cwd }}`,
    );
  });

  test("keeps a line end that the instruction has already", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a.md"), "x\n\n");
    const parts = { instruction: "$user/a", libraries: { user: dir.path }, variables, scope };
    expect(buildSystemPrompt(parts)).toStartWith("x\n\n---\n");
  });

  test("from the embedded default knows directory and date and has no template left", () => {
    const text = buildSystemPrompt({
      instruction: "$insomnia/default",
      libraries: {},
      variables,
      scope,
    });
    expect(text).toContain("`/p`");
    expect(text).toContain("2026-03-04");
    expect(text).not.toMatch(/\{\{|\{%/);
    expect(text).toContain("\n\n---\n## Working boundaries\n\nReadable:\n  - /p\n");
  });

  test("from the embedded default teaches what delegation needs", () => {
    const text = buildSystemPrompt({
      instruction: "$insomnia/default",
      libraries: {},
      variables,
      scope,
    });
    for (const word of [
      "SpawnPod",
      "SendToPod",
      "ReadPodOutput",
      "StopPod",
      "ListPods",
      "[Notification]",
      "absolute paths",
      "Read a file before you edit",
    ]) {
      expect(text).toContain(word);
    }
    expect(text.length).toBeLessThan(6000);
  });

  test("is built in time that grows with its length, whatever stands in AGENTS.md", () => {
    const agentsMd = `${" ".repeat(60_000)}x`;
    const start = performance.now();
    buildSystemPrompt({
      instruction: "$insomnia/default",
      libraries: {},
      variables,
      scope,
      agentsMd,
    });
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe("the boundaries", () => {
  test("list deny rules as exceptions", () => {
    const deny = [rule("read", "/p/.env"), rule("write", "/p/src/gen", false)];
    expect(boundariesText({ ...scope, deny })).toBe(`Readable:
  - /p
  - /p/src [non-recursive]
Writable:
  - /p/src [non-recursive]
Except:
  - /p/.env: no access
  - /p/src/gen [non-recursive]: read only`);
  });

  test("leave out deny rules that take nothing away", () => {
    const deny = [rule("read", "/elsewhere")];
    expect(boundariesText({ ...scope, deny })).not.toContain("Except");
  });
});

describe("a wrong instruction", () => {
  test("is refused at start-up, with the reason", async () => {
    await using dir = temp();
    const check = (instruction: string) => () => checkInstruction(instruction, { user: dir.path });
    const prefix = "invalid system prompt template: ";
    expect(check("$user/none")).toThrow(
      `${prefix}failed to resolve instruction reference: prompt asset not found: '$user/none'`,
    );
    expect(check("default")).toThrow(
      `${prefix}failed to resolve instruction reference: unqualified prompt reference 'default'`,
    );
    writeFileSync(dir.join("a.md"), "\n{% include 'b' %}");
    expect(check("$user/a")).toThrow(
      `${prefix}system prompt template parse error: ${dir.join("a.md")}:2: ` +
        "prompt asset not found: '$user/b'",
    );
    writeFileSync(dir.join("b.md"), "fine");
    expect(check("$user/a")).not.toThrow();
    expect(check("$insomnia/default")).not.toThrow();
  });

  test("at the first turn is an error that can be mended and tried again", async () => {
    await using dir = temp();
    const parts = { instruction: "$user/a", libraries: { user: dir.path }, variables, scope };
    expect(() => buildSystemPrompt(parts)).toThrow(
      "failed to render system prompt template: failed to resolve instruction reference: " +
        "prompt asset not found: '$user/a'",
    );
    writeFileSync(dir.join("a.md"), "now");
    expect(buildSystemPrompt(parts)).toStartWith("now\n\n---");
  });
});
