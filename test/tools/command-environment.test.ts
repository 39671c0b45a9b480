import { expect, test } from "bun:test";
import { commandEnvironment } from "../../src/tools/shell/environment.ts";

test("a variable with a model's key reaches no command, whoever asks for it", () => {
  const env = { TEAM_KEY: "a", GITHUB_TOKEN: "b", OTHER_TOKEN: "c", PLAIN: "d" };
  const pass = ["TEAM_KEY", "GITHUB_TOKEN"];
  expect(commandEnvironment(env, { temporary: "/t", pass, secrets: ["TEAM_KEY"] })).toEqual({
    GITHUB_TOKEN: "b",
    PLAIN: "d",
    TMPDIR: "/t",
  });
});
