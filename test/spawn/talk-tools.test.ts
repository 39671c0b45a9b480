import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { textMessage } from "../../src/protocol/history.ts";
import { stopPodTool } from "../../src/spawn/control-tools.ts";
import { readNewText, readPodOutputTool, sendToPodTool } from "../../src/spawn/talk-tools.ts";
import { within } from "../support/temp.ts";
import {
  acknowledges,
  deadOwner,
  fakePod,
  historyOf,
  listed,
  refuses,
  said,
  shows,
} from "./fake-pod.ts";
import { startSpawner, type TestSpawner } from "./spawner.ts";

const FAILED = "Tool execution failed: Execution failed: ";
const LIMIT_MS = 200;

const send = (spawner: TestSpawner, name: string, message = "go on", signal?: AbortSignal) =>
  spawner.call(sendToPodTool(spawner.context, LIMIT_MS), { name, message }, signal);
const read = (spawner: TestSpawner, name: string, signal?: AbortSignal) =>
  spawner.call(readPodOutputTool(spawner.context, LIMIT_MS), { name }, signal);

describe("a tool for a pod of one's own", () => {
  test("says so when there is none of that name (80)", async () => {
    await using spawner = await startSpawner();
    const unknown = "Tool execution failed: Invalid argument: no spawned pod named `nobody`";
    expect((await send(spawner, "nobody")).summary).toBe(unknown);
    expect((await read(spawner, "nobody")).summary).toBe(unknown);
    const stop = stopPodTool(spawner.context);
    expect((await spawner.call(stop, { name: "nobody" })).summary).toBe(unknown);
    // The spawner itself and other people's pods are not its children.
    expect((await send(spawner, "root")).summary).toContain("no spawned pod named `root`");
  });

  test("names what is wrong with its input", async () => {
    await using spawner = await startSpawner();
    const { context } = spawner;
    const invalid = "Tool execution failed: Invalid argument: invalid";
    for (const [tool, name] of [
      [sendToPodTool(context), "SendToPod"],
      [readPodOutputTool(context), "ReadPodOutput"],
      [stopPodTool(context), "StopPod"],
    ] as const) {
      expect((await spawner.call(tool, {})).summary).toStartWith(
        `${invalid} ${name} input: missing field \`name\``,
      );
      expect((await spawner.call(tool, { name: 7, message: "m" })).summary).toStartWith(
        `${invalid} ${name} input: name: `,
      );
      expect(tool.inputSchema.required).toContain("name");
    }
    expect((await spawner.call(sendToPodTool(context), { name: "x" })).summary).toBe(
      `${invalid} SendToPod input: missing field \`message\``,
    );
  });
});

describe("SendToPod", () => {
  test("gives an idle pod its next message (78)", async () => {
    await using spawner = await startSpawner();
    await using pod = fakePod(spawner, "kid", acknowledges, { phase: "idle" });
    expect(await send(spawner, "kid", "wéiter\n")).toEqual({
      summary: "sent message to `kid`",
      isError: false,
    });
    expect(pod.heard).toMatchObject([
      { method: "run", params: { input: [{ kind: "text", content: "wéiter\n" }] } },
    ]);
    expect(pod.record.phase).toBe("running");
  });

  test("is refused by a pod that is in a turn (79)", async () => {
    await using spawner = await startSpawner();
    await using _ = fakePod(spawner, "kid", refuses("already_running", "busy"));
    expect((await send(spawner, "kid")).summary).toBe(
      `${FAILED}pod \`kid\` is already running a turn; wait for it to finish and retry`,
    );
  });

  test("fails at once with code and message of any other refusal (81, W63)", async () => {
    await using spawner = await startSpawner();
    await using _ = fakePod(spawner, "kid", refuses("internal", "Pod is shutting down"));
    expect((await send(spawner, "kid")).summary).toBe(
      `${FAILED}pod \`kid\` rejected the run with internal: Pod is shutting down`,
    );
  });

  test("takes neither another client's refusal nor its run for an answer (W61)", async () => {
    await using spawner = await startSpawner();
    await using _ = fakePod(spawner, "kid", (connection, method) => {
      const data = { code: "already_running", message: "busy" } as const;
      connection.send({ event: "error", data: { ...data, id: "of-another" } });
      connection.send({ event: "error", data });
      connection.send({ event: "turn_start", data: { turn: 0 } });
      acknowledges(connection, method);
    });
    expect((await send(spawner, "kid")).isError).toBe(false);
  });

  test("gives up after the limit and says that the message may still be processed (82, W62)", async () => {
    await using spawner = await startSpawner();
    await using _ = fakePod(spawner, "kid");
    const start = performance.now();
    expect((await send(spawner, "kid")).summary).toBe(
      `${FAILED}send to \`kid\`: read timed out (the message may still be processed)`,
    );
    expect(performance.now() - start).toBeLessThan(2000);
  });

  test("sends the same text after a doubt under the same key, so that it runs once (W62)", async () => {
    await using spawner = await startSpawner();
    let silent = true;
    await using pod = fakePod(spawner, "kid", (connection, method) => {
      if (!silent) acknowledges(connection, method);
    });
    await send(spawner, "kid", "do it");
    silent = false;
    await send(spawner, "kid", "do it"); // heard this time
    await send(spawner, "kid", "do it"); // another message of the same words
    await send(spawner, "kid", "and this");
    const keys = pod.heard.map((method) => method.method === "run" && method.params.key);
    expect(keys[0]).toBeString();
    expect(keys[1]).toBe(keys[0] ?? "");
    expect(new Set(keys).size).toBe(3);
  });

  test("says what went wrong with the connection", async () => {
    await using spawner = await startSpawner();
    listed(spawner, "kid");
    const start = `${FAILED}send to \`kid\`: connect: `;
    expect((await send(spawner, "kid")).summary).toStartWith(start);
    spawner.context.children.list().forEach((record) => spawner.context.children.remove(record));
  });

  test("is not heard by a stranger who has the name of a pod that ended", async () => {
    await using spawner = await startSpawner();
    await using stranger = fakePod(spawner, "kid", acknowledges, { phase: "ended" });
    expect((await send(spawner, "kid")).summary).toBe(
      `${FAILED}send to \`kid\`: the pod has ended`,
    );
    stranger.record.phase = "running";
    Object.assign(stranger.record, { owner: deadOwner() });
    expect((await send(spawner, "kid")).summary).toBe(
      `${FAILED}send to \`kid\`: the pod has ended`,
    );
    expect(stranger.heard).toEqual([]);
  });

  test("does not bring a pod back to life that ended meanwhile", async () => {
    await using spawner = await startSpawner();
    await using pod = fakePod(spawner, "kid", (connection, method) => {
      pod.record.phase = "ended";
      acknowledges(connection, method);
    });
    await send(spawner, "kid");
    expect(pod.record.phase).toBe("ended");
  });

  test("ends when the run is cancelled", async () => {
    await using spawner = await startSpawner();
    await using pod = fakePod(spawner, "kid");
    const cancel = new AbortController();
    const tool = sendToPodTool(spawner.context, 60_000);
    const sent = spawner.call(tool, { name: "kid", message: "m" }, cancel.signal);
    await pod.hears(1);
    cancel.abort();
    expect((await within(sent, 2000, "SendToPod to end")).isError).toBe(true);
  });
});

describe("ReadPodOutput", () => {
  test("returns what is new, once, with a blank line between messages (83)", async () => {
    await using spawner = await startSpawner();
    const items = [
      textMessage("user", "hi"),
      ...said(["i2", "hi back"], ["i3", "still working"]),
      textMessage("system", "note"),
    ];
    await using _ = fakePod(
      spawner,
      "kid",
      shows(() => ({ instance: "kid-1", items })),
    );
    expect(await read(spawner, "kid")).toEqual({
      summary: "pod `kid`: 3 new line(s) of assistant text (running)",
      content: "hi back\n\nstill working",
      isError: false,
    });
    expect(await read(spawner, "kid")).toEqual({
      summary: "pod `kid` running; no new assistant text",
      isError: false,
    });
    items.push(...said(["i5", "done\n"]));
    expect((await read(spawner, "kid")).summary).toStartWith("pod `kid`: 1 new line(s)");
  });

  test("says what the pod is doing (W66)", async () => {
    await using spawner = await startSpawner();
    const items = said(["i1", "x"]);
    const answer = shows(() => ({ instance: "kid-1", items, status: "idle" }));
    await using _ = fakePod(spawner, "kid", answer);
    expect((await read(spawner, "kid")).summary).toEndWith("(idle)");
    expect((await read(spawner, "kid")).summary).toBe("pod `kid` idle; no new assistant text");
  });

  test("repeats and loses nothing when the pod has compacted its history (84)", async () => {
    await using spawner = await startSpawner();
    let items = said(["i1", "one"], ["i2", "two"], ["i3", "three"]);
    await using _ = fakePod(
      spawner,
      "kid",
      shows(() => ({ instance: "kid-1", items })),
    );
    expect((await read(spawner, "kid")).content).toBe("one\n\ntwo\n\nthree");
    items = [textMessage("system", "summary"), ...said(["i3", "three"], ["i4", "four"])];
    expect((await read(spawner, "kid")).content).toBe("four");
    items = [textMessage("system", "summary"), ...said(["i6", "six"])];
    expect((await read(spawner, "kid")).content).toBe("six");
  });

  test("hands out 100 KiB in parts that fit, all of it (85)", async () => {
    await using spawner = await startSpawner();
    const text = Array.from({ length: 5000 }, (_, n) => `line ${n} äöü€😀`).join("\n");
    const items = said(["i1", text], ["i2", "the end"]);
    await using _ = fakePod(
      spawner,
      "kid",
      shows(() => ({ instance: "kid-1", items })),
    );
    let got = "";
    let calls = 0;
    for (;;) {
      const { summary, content } = await read(spawner, "kid");
      if (content === undefined) break;
      calls += 1;
      expect(Buffer.byteLength(content)).toBeLessThanOrEqual(spawner.context.maxOutputBytes);
      got += content;
      if (!summary.includes("more follows, call again")) break;
    }
    expect(got === `${text}\n\nthe end`).toBe(true);
    expect(calls).toBeGreaterThan(6);
  });

  test("of a pod that is dead says that it is stopped (86)", async () => {
    await using spawner = await startSpawner();
    listed(spawner, "kid", { owner: deadOwner() });
    expect(await read(spawner, "kid")).toEqual({
      summary: "pod `kid` is stopped (unreachable)",
      isError: false,
    });
    listed(spawner, "kid", { phase: "ended" });
    expect((await read(spawner, "kid")).summary).toBe("pod `kid` is stopped (unreachable)");
  });

  test("of a pod that lives and does not answer says so (W66)", async () => {
    await using spawner = await startSpawner();
    await using _ = fakePod(spawner, "kid");
    expect((await read(spawner, "kid")).summary).toBe("pod `kid` is unresponsive");
    listed(spawner, "other");
    expect((await read(spawner, "other")).summary).toBe("pod `other` is unresponsive");
  });

  test("never shows what another pod of the name has written", async () => {
    await using spawner = await startSpawner();
    const items = said(["i1", "a stranger's secret"]);
    await using pod = fakePod(
      spawner,
      "kid",
      shows(() => ({ instance: "kid-2", items })),
    );
    expect((await read(spawner, "kid")).summary).toBe("pod `kid` is stopped (unreachable)");
    pod.record.phase = "ended";
    expect((await read(spawner, "kid")).summary).toBe("pod `kid` is stopped (unreachable)");
    expect(pod.heard).toHaveLength(1);
  });

  test("ends as cancelled when the run is cancelled, whatever it might have said", async () => {
    await using spawner = await startSpawner();
    await using pod = fakePod(spawner, "kid");
    const cancel = new AbortController();
    const tool = readPodOutputTool(spawner.context, 60_000);
    const reading = spawner.call(tool, { name: "kid" }, cancel.signal);
    await pod.hears(1);
    cancel.abort();
    expect((await within(reading, 2000, "ReadPodOutput to end")).isError).toBe(true);
  });
});

describe("new text of a history", () => {
  const history = (items: ReturnType<typeof said>) => {
    const event = historyOf("k", items);
    if (event.event !== "history") throw new Error("no history");
    return event.data;
  };

  test("is all there, in order and once, whatever the limit and however it grows", () => {
    const message = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(
        fc.array(fc.array(message, { maxLength: 5 }), { maxLength: 5 }),
        fc.integer({ min: 32, max: 100 }),
        (batches, limit) => {
          const record = { name: "kid", cursor: { item: undefined, offset: 0 } } as Parameters<
            typeof readNewText
          >[0] & { cursor: { item: string | undefined; offset: number } };
          const items: ReturnType<typeof said> = [];
          const parts: string[] = [];
          for (const batch of batches) {
            for (const text of batch) items.push(...said([`i${items.length}`, text]));
            for (let calls = 0; ; calls += 1) {
              const { summary, content } = readNewText(record, history(items), limit);
              if (content === undefined) break;
              expect(Buffer.byteLength(content)).toBeLessThanOrEqual(limit);
              expect(calls).toBeLessThan(500);
              parts.push(content);
              if (!summary.includes("more follows")) break;
            }
          }
          const bare = (text: string): string => text.replaceAll("\n", "");
          expect(bare(parts.join(""))).toBe(bare(batches.flat().join("")));
        },
      ),
    );
  });

  test("goes on by characters in an item without an id", () => {
    const record = { name: "kid", cursor: { item: undefined, offset: 0 } };
    const items = [textMessage("assistant", "abcdef")];
    expect(readNewText(record, history(items), 4).content).toBe("abcd");
    expect(readNewText(record, history(items), 4).content).toBe("ef");
    expect(readNewText(record, history(items), 4).content).toBeUndefined();
  });
});
