import { expect, test } from "bun:test";
import { MountTree, parseMounts, readMounts } from "../../src/base/mounts.ts";

test("mounts are read from the kernel's lines, with blanks and tabs in names unescaped", () => {
  const text = [
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
    "31 27 254:0 /home/a\\040b /mnt/tab\\011x rw - ext4 /dev/vda rw",
    "40 27 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw",
    "half a line",
    "",
  ].join("\n");
  expect(parseMounts(text)).toEqual([
    { id: 27, parent: 1, device: "254:0", root: "/", point: "/" },
    { id: 31, parent: 27, device: "254:0", root: "/home/a b", point: "/mnt/tab\tx" },
  ]);
});

test.skipIf(process.platform !== "linux")("this process has something mounted at the root", () => {
  expect(readMounts().mountOf("/no/such/place")).toBeDefined();
});

test("a tree knows the mount that shows at a path, and which file systems are seen twice", () => {
  const mount = (id: number, parent: number, device: string, point: string) => ({
    id,
    parent,
    device,
    root: "/",
    point,
  });
  const tree = new MountTree([
    mount(1, 0, "8:1", "/"),
    mount(2, 1, "8:2", "/a/b"),
    mount(3, 1, "8:3", "/a"), // hides the one below
    mount(4, 3, "8:1", "/a/c"),
    mount(5, 4, "8:4", "/a/c"), // on top of the one before
  ]);
  const at = (path: string): number | undefined => tree.mountOf(path)?.id;
  expect([at("/"), at("/x"), at("/a"), at("/a/b/y"), at("/a/c/z"), at("/ab")]).toEqual([
    1, 1, 3, 3, 5, 1,
  ]);
  // Device 8:1 is mounted twice, but the second cannot be reached.
  expect(tree.shared).toEqual([]);
  expect(new MountTree([mount(1, 0, "8:1", "/"), mount(2, 1, "8:1", "/m")]).shared).toHaveLength(2);
  expect(new MountTree([]).mountOf("/")).toBeUndefined();
});
