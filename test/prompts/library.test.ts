import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { embeddedAssets, loadAsset } from "../../src/prompts/library.ts";
import { assetOrigin } from "../../src/prompts/origin.ts";
import { parseReference } from "../../src/prompts/reference.ts";
import { prepareOwn, promptVariables } from "../../src/prompts/template.ts";
import { temp } from "../support/temp.ts";

describe("the libraries", () => {
  test("the embedded assets can be loaded by their names", () => {
    expect(embeddedAssets()).toEqual([
      "$insomnia/default",
      "$insomnia/common/workspace",
      "$insomnia/common/tool-usage",
      "$insomnia/internal/compact_system",
    ]);
    for (const name of embeddedAssets()) {
      const { label, text } = loadAsset(parseReference(name), {});
      expect(label).toBe(name);
      expect(text.length).toBeGreaterThan(100);
      // They are not checked when a Pod starts: this is the check.
      const variables = promptVariables("/p", new Date(0), ["Read"]);
      const own = prepareOwn(assetOrigin(parseReference(name), {}));
      expect(own.render(variables)).not.toMatch(/\{\{|\{%/);
    }
  });

  test("user and workspace assets are files with the suffix .md, links included", async () => {
    await using dir = temp();
    mkdirSync(dir.join("sub"));
    writeFileSync(dir.join("sub", "a.md"), "text of a");
    symlinkSync(dir.join("sub", "a.md"), dir.join("b.md"));
    expect(loadAsset(parseReference("$user/sub/a"), { user: dir.path })).toEqual({
      label: dir.join("sub", "a.md"),
      text: "text of a",
    });
    for (const prefix of ["user", "workspace"] as const) {
      const linked = loadAsset(parseReference(`$${prefix}/b`), { [prefix]: dir.path });
      expect(linked.text).toBe("text of a");
    }
  });

  test("a link of the workspace's brings no text from elsewhere; the user's may", async () => {
    await using dir = temp();
    for (const name of ["prompts", "private"]) mkdirSync(dir.join(name));
    writeFileSync(dir.join("private", "key.md"), "secret");
    symlinkSync(dir.join("private", "key.md"), dir.join("prompts", "file.md"));
    symlinkSync(dir.join("private"), dir.join("prompts", "sub"));
    for (const name of ["file", "sub/key"]) {
      expect(() =>
        loadAsset(parseReference(`$workspace/${name}`), { workspace: dir.join("prompts") }),
      ).toThrow(
        `failed to read prompt asset '$workspace/${name}': it is a link that leads to ` +
          `${dir.join("private", "key.md")}, and must lie at or below ${dir.join("prompts")}`,
      );
      const own = loadAsset(parseReference(`$user/${name}`), { user: dir.join("prompts") });
      expect(own.text).toBe("secret");
    }
  });
});

describe("what cannot be loaded", () => {
  const load = (name: string, libraries = {}) => loadAsset(parseReference(name), libraries);

  test("a library that is not there is named", () => {
    const message = (prefix: string) =>
      `prompt prefix '${prefix}' is not configured for this loader`;
    expect(() => load("$user/x")).toThrow(message("$user"));
    expect(() => load("$workspace/x", { user: "/" })).toThrow(message("$workspace"));
  });

  test("there is no fall-through from one library to another", async () => {
    await using dir = temp();
    writeFileSync(dir.join("a.md"), "");
    const libraries = { user: dir.path, workspace: dir.join("none") };
    expect(() => load("$workspace/a", libraries)).toThrow("prompt asset not found: '$workspace/a'");
    expect(() => load("$user/default", libraries)).toThrow(
      "prompt asset not found: '$user/default'",
    );
    expect(() => load("$insomnia/a", libraries)).toThrow("prompt asset not found: '$insomnia/a'");
    expect(() => load("$user/a/b", libraries)).toThrow("prompt asset not found: '$user/a/b'");
  });

  test("an unreadable or garbled file is an error of its own", async () => {
    await using dir = temp();
    mkdirSync(dir.join("dir.md"));
    writeFileSync(dir.join("bytes.md"), new Uint8Array([0xff]));
    const libraries = { user: dir.path };
    expect(() => load("$user/dir", libraries)).toThrow(
      /^failed to read prompt asset '\$user\/dir': not a regular file/,
    );
    expect(() => load("$user/bytes", libraries)).toThrow(
      "failed to read prompt asset '$user/bytes': not valid UTF-8",
    );
    expect(() => load("$user/nul\0", libraries)).toThrow("failed to read prompt asset");
  });
});
