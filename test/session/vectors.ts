/** Lines of a session log that the contract gives, and the entries that they hold (spec 5.2). */
import type { Entry } from "../../src/session/entry.ts";

/** Five lines in a chain, without line ends. */
export const VECTORS: readonly string[] = [
  '{"hash":"029f0205b2b344c6f5a69ecff50c17ce52d4be77543d821a1ac4c5ed92be38d6","prev_hash":null,"kind":"session_start","ts":1000,"system_prompt":null,"config":{"max_tokens":null,"temperature":null,"top_p":null,"top_k":null,"stop_sequences":[],"reasoning":null},"history":[]}',
  '{"hash":"d426136d9f8e7b72a5101cd88a449e8191ff21a59cc9e81291644937bd78eb46","prev_hash":"029f0205b2b344c6f5a69ecff50c17ce52d4be77543d821a1ac4c5ed92be38d6","kind":"user_input","ts":2000,"segments":[{"kind":"text","content":"Hello"}]}',
  '{"hash":"8a339e01772c4aed9d68f0217092ffb1b3a52f45ea8dc15d6d4df29a5c3af5ad","prev_hash":"d426136d9f8e7b72a5101cd88a449e8191ff21a59cc9e81291644937bd78eb46","kind":"assistant_items","ts":3000,"items":[{"kind":"message","role":"assistant","content":[{"kind":"text","text":"Hi!"}]}]}',
  '{"hash":"a232a061a9aa0d6b3adf9f1dc8661e1d77ec1cb9ddd9b266277625674833b3f0","prev_hash":"8a339e01772c4aed9d68f0217092ffb1b3a52f45ea8dc15d6d4df29a5c3af5ad","kind":"turn_end","ts":3100,"turn_count":1}',
  '{"hash":"0958cb0856e1480233e16ba8983ff7d0b4668d8ec9a46a464d9b33347b7944bb","prev_hash":"a232a061a9aa0d6b3adf9f1dc8661e1d77ec1cb9ddd9b266277625674833b3f0","kind":"run_completed","ts":3200,"interrupted":false,"result":"finished"}',
];

/** What they say. */
export const VECTOR_ENTRIES: readonly Entry[] = [
  {
    kind: "session_start",
    ts: 1000,
    system_prompt: null,
    config: {
      max_tokens: null,
      temperature: null,
      top_p: null,
      top_k: null,
      stop_sequences: [],
      reasoning: null,
    },
    history: [],
  },
  { kind: "user_input", ts: 2000, segments: [{ kind: "text", content: "Hello" }] },
  {
    kind: "assistant_items",
    ts: 3000,
    items: [{ kind: "message", role: "assistant", content: [{ kind: "text", text: "Hi!" }] }],
  },
  { kind: "turn_end", ts: 3100, turn_count: 1 },
  { kind: "run_completed", ts: 3200, interrupted: false, result: "finished" },
];
