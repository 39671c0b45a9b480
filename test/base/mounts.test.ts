import { expect, test } from "bun:test";
import { parseMounts, readMounts } from "../../src/base/mounts.ts";

test("mounts are read from the kernel's lines, with blanks and tabs in names unescaped", () => {
  const text = [
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
    "31 27 254:0 /home/a\\040b /mnt/tab\\011x rw - ext4 /dev/vda rw",
    "40 27 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw",
    "half a line",
    "",
  ].join("\n");
  expect(parseMounts(text)).toEqual([
    { device: "254:0", root: "/", point: "/" },
    { device: "254:0", root: "/home/a b", point: "/mnt/tab\tx" },
  ]);
});

test.skipIf(process.platform !== "linux")("this process has something mounted at the root", () => {
  expect(readMounts().some(({ point }) => point === "/")).toBe(true);
});
