/** Which bash runs commands and their keepers, when one that commands wrote stands first on PATH. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { commandScopes } from "../../src/sandbox/replaceable.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import type { Scope } from "../../src/scope/set.ts";
import { trustedBash } from "../../src/tools/shell/trusted-bash.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { temp } from "../support/temp.ts";
import { CONFINES, shellBench } from "./shell-support.ts";
import { rule } from "./support.ts";

function executable(path: string, text: string): string {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
}

describe.skipIf(!CONFINES)("a bash that a command put first on PATH", () => {
  test("is no command's keeper, and answers for none", async () => {
    await using dir = temp();
    const bin = realpathSync(dir.path);
    await using bench = shellBench({
      env: { PATH: `${bin}:/usr/bin:/bin`, HOME: "/" },
      write: () => [bin],
    });
    executable(
      `${bin}/bash`,
      `#!/bin/bash\necho "$*" >>${bench.root}/planted\n` +
        '[[ $1 == --norc ]] && { printf + >&5; exit; }\nexec /bin/bash "$@"\n',
    );
    await bench.bash("setsid env -i /bin/sleep 300 & echo $! >pid; kill -9 $$");
    const pid = Number(readFileSync(`${bench.root}/pid`, "utf8"));
    expect(isRunning(pid)).toBe(false);
    expect(existsSync(`${bench.root}/planted`)).toBe(false);
    // For what a command itself runs, PATH counts.
    await bench.bash("bash -c true");
    await eventually(() => existsSync(`${bench.root}/planted`), "the command's own bash");
  });
});

describe("the bash for commands", () => {
  const reach = (...writable: string[]): Scope[] => [
    { allow: writable.map((target) => rule("write", target)), deny: [] },
  ];

  test("is the system's, whatever stands first on PATH, without links", async () => {
    await using dir = temp();
    executable(dir.join("bash"), "#!/bin/sh\n");
    expect(trustedBash(dir.path, reach(), () => [])).toBe(realpathSync("/bin/bash"));
  });

  test("is else the first on PATH of which nothing can be replaced", async () => {
    await using dir = temp();
    for (const name of ["a", "b", "b/bin", "c", "d"]) mkdirSync(dir.join(name));
    for (const name of ["a", "b/bin", "d"]) executable(dir.join(`${name}/bash`), "#!/bin/sh\n");
    symlinkSync(dir.join("a/bash"), dir.join("c/bash"));
    const path = ["a", "b/bin", "c", "d"].map((name) => dir.join(name)).join(":");
    const find = (...writable: string[]): string | undefined =>
      trustedBash(path, reach(...writable.map((name) => dir.join(name))), () => [], []);
    expect(find()).toBe(realpathSync(dir.join("a/bash")));
    // The file itself, its directory, one further up; and c is a name of a.
    expect(find("a/bash")).toBe(realpathSync(dir.join("b/bin/bash")));
    expect(find("a", "b")).toBe(realpathSync(dir.join("d/bash")));
    expect(find("a", "b", "d")).toBeUndefined();
    expect(trustedBash(path, reach(), () => [rule("write", dir.join("a"))], [])).toBe(
      realpathSync(dir.join("b/bin/bash")),
    );
    expect(trustedBash(path, [...reach(), ...reach(dir.path)], () => [], [])).toBeUndefined();
    expect(trustedBash(`bin:${path}`, reach(dir.path), () => [], [])).toBeUndefined();
  });

  test("is refused where all can be replaced, and denying its directory is enough", async () => {
    await using dir = temp();
    mkdirSync(dir.join("bin"));
    const bash = executable(dir.join("bin/bash"), "#!/bin/sh\n");
    const scopes = (...deny: ScopeRule[]): Scope[] =>
      commandScopes({ allow: [rule("write", "/")], deny }, []);
    const own = rule("write", dir.join("bin"));
    expect(trustedBash(dir.join("bin"), scopes(), () => [], [])).toBeUndefined();
    expect(trustedBash(dir.join("bin"), scopes(own), () => [], [])).toBe(realpathSync(bash));
    const unrelated = rule("write", dir.join("x"));
    expect(trustedBash(dir.join("bin"), scopes(unrelated), () => [], [])).toBeUndefined();
  });

  test.skipIf(!CONFINES || process.geteuid?.() !== 0)(
    "is refused in words to root who may write everywhere, and not when /usr is denied",
    async () => {
      await using open = shellBench({ write: () => ["/"] });
      const { summary } = await open.bash("true");
      expect(summary).toContain("that commands could not replace");
      await using warned = shellBench({ write: () => ["/"], policy: { mode: "warn" } });
      expect((await warned.bash("echo fine")).content).toBe("fine\n");
      const usr = realpathSync("/bin/bash").split("/").slice(0, 2).join("/");
      await using closed = shellBench({ write: () => ["/"], deny: () => [rule("write", usr)] });
      expect((await closed.bash("echo fine")).content).toBe("fine\n");
    },
  );
});
