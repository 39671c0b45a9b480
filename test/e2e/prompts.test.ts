/** What a Pod's model is told, with the compiled binary and a server that notes the requests. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnthropicRequest, Answer } from "../support/anthropic-server.ts";
import { anthropicServer } from "../support/anthropic-server.ts";
import { podBinary } from "../support/binary.ts";
import { type RootPod, startWorld } from "../support/pod.ts";

const command = [podBinary()];
const modelAt = (url: string) =>
  ({
    scheme: "anthropic",
    base_url: url,
    model_id: "test-model",
    auth: { kind: "none" },
  }) as const;

const newest = (request: AnthropicRequest | undefined): string =>
  JSON.stringify(request?.messages.at(-1)?.content ?? "");

test("the request after a delegation tells the model what it may not write any more, the one after the end that it may", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const lent = `${area}: read only`;
  await using server = await anthropicServer((request): Answer => {
    if (JSON.stringify(request.messages[0]).includes("CHILD-TASK")) return { text: "Done." };
    const news = newest(request);
    if (news.includes("finished a turn")) {
      return { calls: [{ name: "StopPod", input: { name: "kid" } }] };
    }
    if (news.includes("spawned pod")) return { text: "I wait." };
    if (news.includes("stopped") || news.includes("gave back")) return { text: "All done." };
    const scope = [{ target: area, permission: "write" }];
    return { calls: [{ name: "SpawnPod", input: { name: "kid", task: "CHILD-TASK", scope } }] };
  });
  const root = await world.start({ command, model: modelAt(server.url) });
  await root.run("go");
  await root.waitFor((event) => event.event === "text_done" && event.data.text === "All done.");
  const own = server.requests.filter(
    (request) =>
      !JSON.stringify(request).includes("CHILD-TASK\\n") &&
      JSON.stringify(request.messages[0]).includes("go"),
  );
  const [first, second] = own;
  expect(JSON.stringify(first?.messages)).not.toContain("[Working boundaries]");
  expect(JSON.stringify(first?.system)).toContain("## Working boundaries");
  expect(newest(second)).toContain("[Working boundaries]");
  expect(newest(second)).toContain(lent);
  // The prompt itself stays the same, so that the provider's cache of it stays good.
  expect(
    own.every((request) => JSON.stringify(request.system) === JSON.stringify(first?.system)),
  ).toBe(true);
  const last = newest(own.at(-1));
  expect(last).toContain("[Working boundaries]");
  expect(last).not.toContain(lent);
  const kid = server.requests.find((request) =>
    JSON.stringify(request.messages[0]).includes("CHILD-TASK"),
  );
  expect(JSON.stringify(kid?.system)).toContain(`Writable:\\n  - ${area}`);
});

test("a template with logic, its includes and a prompt pack reach the model of a Pod and of its child", async () => {
  await using world = startWorld();
  const directory = join(world.work, ".insomnia");
  mkdirSync(join(directory, "prompts"), { recursive: true });
  writeFileSync(
    join(directory, "prompts", "lead.md"),
    "{% if 'Read' in tools %}I can read in {{ cwd }}.{% endif %}{% include 'tail' %}\n",
  );
  writeFileSync(join(directory, "prompts", "tail.md"), " {{ tools | length > 5 }}\n");
  writeFileSync(
    join(directory, "prompts.toml"),
    '[prompt]\nworking_boundaries_section = "BOUNDS {{ scope_summary | upper }}"\n',
  );
  writeFileSync(join(directory, "manifest.toml"), '[worker]\ninstruction = "$workspace/lead"\n');
  await using server = await anthropicServer((request): Answer => {
    if (JSON.stringify(request.messages[0]).includes("CHILD-TASK")) return { text: "Done." };
    if (newest(request).includes("spawned pod")) return { text: "I wait." };
    if (newest(request).includes("finished a turn")) return { text: "Good." };
    const scope = [{ target: world.work, permission: "read" }];
    return { calls: [{ name: "SpawnPod", input: { name: "kid", task: "CHILD-TASK", scope } }] };
  });
  const root = await world.start({ command, model: modelAt(server.url) });
  await root.run("go");
  await root.waitFor((event) => event.event === "text_done" && event.data.text === "Good.");
  const systems = server.requests.map((request) => JSON.stringify(request.system));
  expect(systems.length).toBeGreaterThan(2);
  for (const system of systems) {
    expect(system).toContain(`I can read in ${world.work}. true`);
    expect(system).toContain("BOUNDS READABLE:");
  }
});

test("output that is too long can be read whole in a file of the Pod", async () => {
  await using world = startWorld();
  writeFileSync(join(world.work, "a.txt"), "needle in a line that is long enough\n".repeat(2000));
  const root = await world.start({
    command,
    rules: [
      {
        match: "^go$",
        calls: [
          { tool: "Grep", input: { pattern: "needle", output_mode: "content", head_limit: 0 } },
        ],
      },
      {
        match: "\\(whole output: (?<file>[^)]+)\\)",
        calls: [{ tool: "Read", input: { file_path: "$<file>", offset: 1999 } }],
      },
      { match: "Read 1 line", text: "All of it." },
    ],
  });
  await root.run("go");
  await root.waitFor((event) => event.event === "text_done" && event.data.text === "All of it.");
});

test("a project's prompt pack speaks in the conversation when a paused turn is interrupted", async () => {
  await using world = startWorld();
  const project = join(world.work, ".insomnia");
  mkdirSync(project);
  writeFileSync(
    join(project, "prompts.toml"),
    '[prompt]\ninterrupt_system_note = "NOTE OF THE PROJECT"\ninterrupt_tool_result_summary = "RESULT OF THE PROJECT"\n',
  );
  const call = { tool: "Bash", input: { command: "sleep 600" } };
  const root = await world.start({
    command,
    rules: [{ match: "^begin$", calls: [call] }, { text: "ok" }],
  });
  await root.run("begin");
  await root.waitFor("tool_call_done");
  await root.request({ method: "pause" });
  await root.waitFor((event) => event.event === "run_end");
  await root.runToEnd("something else");
  const { data } = await historyOf(root);
  const said = JSON.stringify(data.items);
  expect(said).toContain("NOTE OF THE PROJECT");
  expect(said).toContain("RESULT OF THE PROJECT");
  expect(said).not.toContain("interrupted by the user");
});

async function historyOf(root: RootPod) {
  const answer = await root.request({ method: "get_history" }, "history");
  if (answer.event !== "history") throw new Error("no history");
  return answer;
}
