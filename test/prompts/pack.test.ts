import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { makeCatalog, PROMPT_KEYS } from "../../src/prompts/pack.ts";
import { temp } from "../support/temp.ts";

describe("the catalog", () => {
  test("has the seven texts of the reference", async () => {
    expect([...PROMPT_KEYS].sort()).toEqual([
      "agents_md_section",
      "compact_system",
      "interrupt_system_note",
      "interrupt_tool_result_summary",
      "notify_wrapper",
      "resident_knowledge_section",
      "working_boundaries_section",
    ]);
    const catalog = await makeCatalog([], {});
    const notice = catalog.render("notify_wrapper", { message: "{{ x }} done" });
    expect(notice).toStartWith("[Notification]\n{{ x }} done\n");
    expect(notice).toContain("not a blocking request");
    expect(catalog.render("interrupt_tool_result_summary")).toBe("[Interrupted by user]");
    expect(catalog.render("interrupt_system_note")).toContain("interrupted by the user");
    for (const section of ["Completed Tasks", "Active Task", "Current Work"]) {
      expect(catalog.render("compact_system")).toContain(`## ${section}`);
    }
  });

  test("takes the last of several texts with one key", async () => {
    const entry = (text: string) => ({ key: "notify_wrapper", label: "p", text });
    const catalog = await makeCatalog([entry("a {{ message }}"), entry("b {{ message }}")], {});
    expect(catalog.render("notify_wrapper", { message: "x" })).toBe("b x");
  });

  test("lets a text include another one by its key, and assets by their full name", async () => {
    await using dir = temp();
    writeFileSync(dir.join("tail.md"), "tail");
    const catalog = await makeCatalog(
      [
        { key: "interrupt_system_note", label: "p", text: "{% include 'notify_wrapper' %}" },
        { key: "notify_wrapper", label: "p", text: "n{% include '$user/tail' %}" },
      ],
      { user: dir.path },
    );
    expect(catalog.render("interrupt_system_note")).toBe("ntail");
  });

  test("are refused with every wrong text and every broken include at once", async () => {
    await using dir = temp();
    writeFileSync(dir.join("mid.md"), "{% include '$user/c' %}");
    const entries = [
      { key: "notify_wrapper", label: "p:1", text: "{{ nobody }}" },
      {
        key: "interrupt_system_note",
        label: "p:2",
        text: "{% include '$user/a' %}\n{% include '$user/mid' %}\n{% include '$user/b' %}",
      },
      { key: "agents_md_section", label: "p:3", text: "{% if %}" },
    ];
    const error = await makeCatalog(entries, { user: dir.path }).catch((it: unknown) => it);
    for (const part of [
      "unknown variable `nobody`",
      "p:2:1: prompt asset not found: '$user/a'",
      "p:2:3: prompt asset not found: '$user/b'",
      "mid.md:1: prompt asset not found: '$user/c'",
      "failed to compile prompt template 'agents_md_section': p:3:1",
    ]) {
      expect(String(error)).toContain(part);
    }
  });

  test.each([
    [
      "{{ nobody }}",
      "failed to render prompt 'notify_wrapper': /p/prompts.toml:3 prompt.notify_wrapper:1: " +
        "unknown variable `nobody` (known: message)",
    ],
    [
      "\n{% if %}",
      "failed to compile prompt template 'notify_wrapper': /p/prompts.toml:3 prompt.notify_wrapper:2: syntax error",
    ],
    [
      "{% include 'tail' %}",
      "/p/prompts.toml:3 prompt.notify_wrapper:1: unqualified prompt reference 'tail' requires",
    ],
    ["{{ cwd }}", "unknown variable `cwd`"],
  ])("refuses %j at start-up with key, file and line", async (text, message) => {
    const label = "/p/prompts.toml:3 prompt.notify_wrapper";
    await expect(makeCatalog([{ key: "notify_wrapper", label, text }], {})).rejects.toThrow(
      message,
    );
  });
});
