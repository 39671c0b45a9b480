import { expect, test } from "bun:test";
import { notificationText } from "../../src/prompts/notices.ts";

test("a notification has its marker, the message, a blank line and the remark", () => {
  const lines = notificationText("Pod `a` has stopped.").split("\n");
  expect(lines.slice(0, 3)).toEqual(["[Notification]", "Pod `a` has stopped.", ""]);
  expect(lines[3]).toContain("not a blocking request");
  expect(lines).toHaveLength(4);
});

test("a message with several lines stays as it is", () => {
  expect(notificationText("a\n$& {{ x }}")).toStartWith("[Notification]\na\n$& {{ x }}\n\n");
});
