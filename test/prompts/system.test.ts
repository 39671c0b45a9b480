import { describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { boundariesText } from "../../src/prompts/boundaries.ts";
import type { PromptLibraries } from "../../src/prompts/library.ts";
import { makeCatalog } from "../../src/prompts/pack.ts";
import {
  buildSystemPrompt,
  prepareInstruction,
  type SystemPromptParts,
} from "../../src/prompts/system.ts";
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

const catalog = await makeCatalog([], {});

/** Parts with this instruction. */
async function partsOf(name: string, libraries: PromptLibraries = {}): Promise<SystemPromptParts> {
  const instruction = await prepareInstruction(name, libraries);
  return { instruction, catalog, variables, scope };
}

describe("the system prompt", () => {
  test("is the instruction, the boundaries and the project's instructions", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a.md"), "Work in {{ cwd }}.\n");
    const parts = await partsOf("$user/a", { user: dir.path });
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
    const parts = await partsOf("$user/a", { user: dir.path });
    expect(buildSystemPrompt(parts)).toStartWith("x\n\n---\n");
  });

  test("from the embedded default knows directory and date and has no template left", async () => {
    const text = buildSystemPrompt(await partsOf("$insomnia/default"));
    expect(text).toContain("`/p`");
    expect(text).toContain("2026-03-04");
    expect(text).not.toMatch(/\{\{|\{%/);
    expect(text).toContain("\n\n---\n## Working boundaries\n\nReadable:\n  - /p\n");
  });

  test("from the embedded default teaches what delegation needs", async () => {
    const text = buildSystemPrompt(await partsOf("$insomnia/default"));
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

  test("is built in time that grows with its length, whatever stands in AGENTS.md", async () => {
    // By its square it would be half a minute.
    const agentsMd = `${" ".repeat(100_000)}x`;
    const parts = await partsOf("$insomnia/default");
    const start = performance.now();
    buildSystemPrompt({ ...parts, agentsMd });
    expect(performance.now() - start).toBeLessThan(10_000);
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

describe("a section", () => {
  test("can be replaced by a pack", async () => {
    const own = await makeCatalog(
      [
        { key: "working_boundaries_section", label: "p:1", text: "<b>{{ scope_summary }}</b>" },
        { key: "agents_md_section", label: "p:2", text: "{{ agents_md | upper }}" },
      ],
      {},
    );
    const parts = { ...(await partsOf("$insomnia/common/workspace")), catalog: own };
    expect(buildSystemPrompt({ ...parts, agentsMd: "tabs" })).toEndWith(
      "\n\n<b>Readable:\n  - /p\n  - /p/src [non-recursive]\nWritable:\n  - /p/src [non-recursive]</b>\n\nTABS",
    );
  });
});

describe("a wrong instruction", () => {
  test("is refused at start-up, with the reason", async () => {
    await using dir = temp();
    const check = (instruction: string) => prepareInstruction(instruction, { user: dir.path });
    const prefix = "invalid system prompt template: ";
    await expect(check("$user/none")).rejects.toThrow(
      `${prefix}failed to resolve instruction reference: prompt asset not found: '$user/none'`,
    );
    await expect(check("default")).rejects.toThrow(
      `${prefix}failed to resolve instruction reference: unqualified prompt reference 'default'`,
    );
    writeFileSync(dir.join("a.md"), "\n{% include 'b' %}");
    await expect(check("$user/a")).rejects.toThrow(
      `${prefix}system prompt template parse error: ${dir.join("a.md")}:2: ` +
        "prompt asset not found: '$user/b'",
    );
    writeFileSync(dir.join("b.md"), "{% if nope %}{% endif %}");
    await expect(check("$user/a")).rejects.toThrow(
      `${prefix}system prompt template render error: ${dir.join("b.md")}:1: undefined value`,
    );
    writeFileSync(dir.join("b.md"), "fine");
    await check("$user/a");
    await check("$insomnia/default");
  });

  test("cannot come up later: what was checked is what is rendered", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a.md"), "now");
    const parts = await partsOf("$user/a", { user: dir.path });
    rmSync(dir.join("a.md"));
    expect(buildSystemPrompt(parts)).toStartWith("now\n\n---");
  });
});
