/**
 * Whose a project's configuration is. It is found by walking upward, so it may be somebody else's who
 * could make a directory there; such a one is never used unasked, and the refusal says why.
 */
import { lstatSync, type Stats, statSync } from "node:fs";
import { ManifestError } from "./problem.ts";

/** What a file's owner and mode are compared with; process credentials. */
interface User {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who but `user` and root may change a file, as the end of a sentence about it; undefined when nobody
 * may. A group of the user's own counts as the user. Pure.
 */
export function strangerOf(
  { uid, gid, mode }: Pick<Stats, "uid" | "gid" | "mode">,
  user: User,
): string | undefined {
  if (uid !== user.uid && uid !== 0) return `belongs to user ${uid}, not to you (${user.uid})`;
  if ((mode & 0o002) !== 0) return "can be changed by everybody";
  if ((mode & 0o020) !== 0 && gid !== user.gid && gid !== 0)
    return `can be changed by group ${gid}`;
  return undefined;
}

/**
 * Throws `ManifestError` when a stranger may change `marker` (the project's `.insomnia`, a link to it
 * too) or one of `paths` in it; what does not exist is nobody's. `root` is named in the advice.
 */
export function assertOwn(root: string, marker: string, paths: readonly string[]): void {
  const uid = process.geteuid?.();
  const gid = process.getegid?.();
  if (uid === undefined || gid === undefined) return; // a system without users
  const user = { uid, gid };
  for (const path of [marker, ...paths]) {
    const link = path === marker ? lstatSync(path, { throwIfNoEntry: false }) : undefined;
    const info = statSync(path, { throwIfNoEntry: false });
    // The mode of a link means nothing.
    const linked = link?.isSymbolicLink() === true ? { ...link, mode: 0 } : undefined;
    const reason = [linked, info].flatMap((it) => (it && strangerOf(it, user)) ?? [])[0];
    if (reason === undefined) continue;
    const message =
      `${path} ${reason}, so it is not used: make it yours (chown, chmod go-w), take it as it is ` +
      `with --project ${root}, or put a .insomnia/manifest.toml of your own nearer to your work`;
    throw new ManifestError([{ prefix: "not trusted", problems: [{ message }] }]);
  }
}
