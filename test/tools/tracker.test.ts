import { expect, test } from "bun:test";
import { FileTracker, MAX_SEEN } from "../../src/tools/tracker.ts";

const BYTES = Buffer.from("x");

test("the file that was read longest ago is forgotten when there are too many, and must be read again", () => {
  const tracker = new FileTracker();
  for (let file = 0; file < MAX_SEEN; file += 1) tracker.record(`/f${file}`, BYTES);
  tracker.record("/f0", BYTES); // now the newest
  tracker.record("/more", BYTES);
  const assertSeen = (path: string) => () => tracker.assertSeen(path, path, BYTES);
  expect(assertSeen("/f1")).toThrow("not been read");
  for (const path of ["/f0", "/f2", "/more"]) expect(assertSeen(path)).not.toThrow();
});
