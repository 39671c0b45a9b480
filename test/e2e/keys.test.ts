/** Keys of models and the commands of Pods: compiled Pods down to a grandchild, and what their shells see. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { runProgram } from "../support/command.ts";
import { eventually, isRunning, startWorld, type World } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { CONFINES } from "../tools/shell-support.ts";

/** A user with two providers: one has its key in a variable whose name tells nothing, one in a file. */
function configure(world: World): string {
  const config = join(world.home, ".config", "insomnia");
  mkdirSync(config, { recursive: true, mode: 0o700 });
  const file = join(world.home, "team.key");
  writeFileSync(file, "key-in-file\n");
  const provider = (id: string, auth: string): string =>
    `[[provider]]\nid = "${id}"\nscheme = "openai_chat"\nbase_url = "http://127.0.0.1:9"\n` +
    `auth_hint = { kind = "api_key", ${auth} }\n`;
  writeFileSync(
    join(config, "providers.toml"),
    provider("team", 'env = "TEAM_LLM"') + provider("filed", `file = ${JSON.stringify(file)}`),
  );
  // Children may be given the team's model, so its key is in their own environment.
  writeFileSync(join(config, "manifest.toml"), 'limits.child_models = ["team/big"]\n');
  return file;
}

test.skipIf(!CONFINES)("a key reaches no command of any Pod of a tree", async () => {
  await using world = startWorld();
  const key = configure(world);
  const places = ["", "a", "a/b"].map((name) => join(world.work, name));
  mkdirSync(places[2] ?? "", { recursive: true });
  // Made here: where a child works below, a command can change files and make none.
  for (const place of places) {
    for (const name of ["env", "file", "done"]) writeFileSync(join(place, name), "");
  }
  const names = ["root", "child", "grandchild"];
  const rules = names.map((pod, index): ScenarioRule => {
    const command = `cd ${places[index]}; env >env; cat ${key} >file 2>&1; echo x >done`;
    const target = places[index + 1];
    const input = {
      name: names[index + 1],
      task: "look",
      scope: [{ target, permission: "write" }],
    };
    const spawn = target === undefined ? [] : [{ tool: "SpawnPod", input }];
    return { pod, match: "^look", calls: [{ tool: "Bash", input: { command } }, ...spawn] };
  });
  const pod = await world.start({
    rules: [...rules, { text: "done" }],
    command: [podBinary()],
    env: { TEAM_LLM: "key-in-variable", PLAIN: "kept" },
  });
  await pod.runToEnd("look");
  for (const place of places) {
    await eventually(
      () => readFileSync(join(place, "done"), "utf8") !== "",
      `the command in ${place}`,
    );
    const seen = readFileSync(join(place, "env"), "utf8");
    expect(seen, place).toContain("PLAIN=kept");
    expect(seen, place).not.toMatch(/key-in|INSOMNIA_RUNTIME_DIR|BUN_/);
    const answer = readFileSync(join(place, "file"), "utf8");
    expect(answer, place).toContain("Permission denied");
    expect(answer, place).not.toContain("key-in-file");
  }
  // It is where the Pods have it: a child whose model it is could not do without.
  const child = world.allocation("child")?.pid ?? 0;
  expect(readFileSync(`/proc/${child}/environ`, "utf8")).toContain("TEAM_LLM=key-in-variable");
});

test("a child that is brought back gets no key that its model cannot need", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  await using cheap = await wireServer(FORMATS.gemini, () => ({ text: "Done." }));
  const scope = [{ target: area, permission: "write" }];
  const input = { name: "kid", task: "go", scope, model: "gemini/gemini-2.5-flash" };
  await using clever = await wireServer(FORMATS.openai_responses, ({ raw }) =>
    JSON.stringify(raw).includes("spawned pod")
      ? { text: "I wait." }
      : { calls: [{ id: "call-1", name: "SpawnPod", input }] },
  );
  const config = join(world.home, ".config", "insomnia");
  mkdirSync(config, { recursive: true, mode: 0o700 });
  writeFileSync(
    join(config, "providers.toml"),
    `[[provider]]\nid = "openai"\nbase_url = "${clever.url}/v1"\n` +
      `[[provider]]\nid = "gemini"\nbase_url = "${cheap.url}"\n`,
  );
  writeFileSync(
    join(config, "manifest.toml"),
    '[model]\nref = "openai/gpt-5"\n[limits]\nchild_models = ["gemini/gemini-2.5-flash"]\n',
  );
  const keys = { INSOMNIA_API_KEY_OPENAI: "key-clever-1", INSOMNIA_API_KEY_GEMINI: "key-cheap-1" };
  const cli = async (...args: string[]) =>
    await runProgram([podBinary(), ...args], { cwd: world.work, env: { ...world.env, ...keys } });
  const made = await cli("run", "--keep", "delegate");
  const root = /^pod `(\S+)` works/.exec(made.stderr)?.[1] ?? "";
  const kid = world.allocation("kid")?.pid ?? 0;
  process.kill(kid, "SIGKILL");
  await eventually(() => !isRunning(kid), "the end of the child");
  for (const name of [root, "kid"]) {
    const back = await cli("resume", name);
    expect([back.stderr, back.code]).toEqual(["", 0]);
  }
  expect(world.allocation("kid")?.delegated_from).toBe(root);
  const environment = readFileSync(`/proc/${world.allocation("kid")?.pid ?? 0}/environ`, "utf8");
  expect(environment).toContain("INSOMNIA_API_KEY_GEMINI=key-cheap-1");
  expect(environment).not.toContain("key-clever");
}, 60_000);
