/** Tool calls as no model should make them; what comes of them must be told to the model. */
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/model/catalog.ts";
import type { Model } from "../../src/model/model.ts";
import { createModel } from "../../src/model/provider.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { collect, ofType, request, virtualClock } from "./support.ts";

type Scheme = keyof typeof FORMATS;
const SCHEMES = Object.keys(FORMATS) as Scheme[];

const modelAt = async (scheme: Scheme, base_url: string): Promise<Model> =>
  await createModel(resolveModel({ scheme, base_url, model_id: "m", auth: { kind: "none" } }), {
    env: {},
    podName: "p",
    clock: virtualClock(),
  });

/** Every value under `key`, at any depth, in the order of the text. */
function valuesOf(body: unknown, key: string): unknown[] {
  const found: unknown[] = [];
  JSON.stringify(body, (name, value: unknown) => {
    if (name === key) found.push(value);
    return value;
  });
  return found;
}

describe.each(SCHEMES)("%s", (scheme) => {
  test.each(Object.getOwnPropertyNames(Object.prototype))(
    "a call named %s goes back under a name",
    async (name) => {
      await using server = await wireServer(FORMATS[scheme], (_, n) =>
        n === 1 ? { calls: [{ id: "c1", name }] } : { text: "done" },
      );
      const model = await modelAt(scheme, server.url);
      const calls = ofType(await collect(model), "tool_done");
      expect(calls.map((call) => call.name)).toEqual([name]);
      const callId = calls[0]?.callId ?? "";
      const items: Item[] = [
        textMessage("user", "hello"),
        { type: "tool_call", call_id: callId, name, arguments: "{}" },
        { type: "tool_result", call_id: callId, summary: "no such tool", is_error: true },
      ];
      const events = await collect(model, request({ items }));
      expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["done"]);
      const names = valuesOf(server.requests[1]?.raw, "name");
      expect([...new Set(names)]).toEqual([`${name}_`]);
    },
  );
});
