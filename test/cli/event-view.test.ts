/** Text and notes of one Pod on one screen. */
import { expect, test } from "bun:test";
import { EventView } from "../../src/cli/event-view.ts";
import type { Event } from "../../src/protocol/event.ts";

/** Everything that was shown, as on a terminal that shows both streams. */
function shownOf(act: (view: EventView) => void): string {
  let shown = "";
  const stream = (mark: string) => ({
    isTTY: false,
    write: (text: string) => void (shown += `${mark}${text}`),
  });
  act(new EventView({ out: stream(""), err: stream("| ") }, {}));
  return shown;
}

const delta = (text: string): Event => ({ event: "text_delta", data: { text } });

test("a note begins on a line of its own, and text goes on behind it", () => {
  const shown = shownOf((view) => {
    view.show(delta("half a "));
    view.show(delta(""));
    view.note("noted");
    view.show(delta("line\n"));
    view.note("again");
    view.endLine();
  });
  expect(shown).toBe("half a \n| noted\nline\n| again\n");
});

test("calls, results, warnings and errors are one line each, and harmless", () => {
  const shown = shownOf((view) => {
    view.show({ event: "tool_call_done", data: { id: "1", name: "Read", arguments: "{\u001b}" } });
    view.show({ event: "tool_result", data: { id: "1", summary: "one\ntwo", is_error: true } });
    view.show({
      event: "alert",
      data: { level: "warn", source: "pod", message: "x".repeat(400), timestamp_ms: 0 },
    });
    view.show({ event: "error", data: { code: "internal", message: "no\u0007" } });
  });
  const alert = `${"x".repeat(299)}…`;
  expect(shown).toBe(`| Read {}\n|   ✗ one\n| warn: ${alert}\n| error: no\n`);
});

test("items of a history are shown as their events were", () => {
  const shown = shownOf((view) => {
    view.showItem({ type: "message", role: "user", content: [{ type: "text", text: "go" }] });
    view.showItem({ type: "message", role: "assistant", content: [{ type: "text", text: "ok" }] });
    view.showItem({ type: "tool_call", call_id: "1", name: "Read", arguments: "{}" });
    view.showItem({ type: "tool_result", call_id: "1", summary: "fine" });
  });
  expect(shown).toBe("| > go\nok\n| Read {}\n|   ✓ fine\n");
});
