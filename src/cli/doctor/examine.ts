/**
 * All checks in order. Each part is on its own: one that fails or cannot be done says so, and the
 * rest goes on, because a doctor is called when things are broken.
 */
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { type HeldFlock, heldFlocks } from "../../base/held-locks.ts";
import { type Environment, roomsDirectory } from "../../base/paths.ts";
import { canonicalBase, podsWithoutDirectory } from "../../registry/recovery.ts";
import { tablePaths } from "../../registry/table.ts";
import {
  checkDirectory,
  checkParent,
  type DirectoryFacts,
  directoryFacts,
  isUsable,
  nearestExisting,
  withStranger,
} from "./directories.ts";
import {
  checkKind,
  checkLocks,
  checkSocketPaths,
  checkSpace,
  spaceFacts,
  tryLocks,
} from "./disk.ts";
import { checkEnvironment, environmentFacts } from "./environment.ts";
import { type Finding, problem, warning } from "./finding.ts";
import { checkKernel, kernelFacts } from "./kernel.ts";
import { checkLeftovers, isOurs, leftoverFacts } from "./leftovers.ts";
import { checkHiddenPods, checkPods, podFacts } from "./pods.ts";
import { checkRecords, recordFacts } from "./records.ts";
import { checkRegistry, registryFacts } from "./registry-files.ts";
import { checkRooms, roomFacts } from "./rooms.ts";
import { checkSessionFiles, sessionFileFacts } from "./session-files.ts";

/** Looks at everything and returns the findings in the order in which they are shown; never throws. */
export async function examine(env: Environment): Promise<Finding[]> {
  const me = process.geteuid?.();
  const environment = environmentFacts(env);
  const { config, data, runtime } = environment.bases;
  const findings = [
    ...(await part("kernel", () => checkKernel(kernelFacts()))),
    ...(await part("environment", () => checkEnvironment(environment))),
  ];
  if (config !== undefined) {
    const options = { privacy: "config", variable: "INSOMNIA_CONFIG_DIR", me } as const;
    findings.push(checkDirectory("config-directory", directoryFacts(config), options));
  }
  if (data !== undefined) {
    const sessions = join(data, "sessions");
    const options = { privacy: "private", variable: "INSOMNIA_DATA_DIR", me } as const;
    findings.push(checkDirectory("sessions-directory", sessionsFacts(sessions), options));
    findings.push(...(await part("sessions-space", () => spaceOf("sessions-space", sessions))));
    if (directoryFacts(sessions).state === "directory") {
      const look = () => checkSessionFiles(sessionFileFacts(sessions));
      findings.push(...(await part("session-files", look)));
    }
  }
  const rooms = roomsDirectory({ data });
  if (rooms !== undefined) {
    const facts = directoryFacts(rooms);
    const options = { privacy: "private", variable: "INSOMNIA_DATA_DIR", me } as const;
    // The first Pod whose model wants a command makes it.
    if (facts.state !== "missing") findings.push(checkDirectory("rooms-directory", facts, options));
    findings.push(...(await part("rooms", () => checkRooms(roomFacts(rooms)))));
  }
  if (runtime !== undefined) findings.push(...(await examineRuntime(runtime, me)));
  return findings;
}

async function examineRuntime(base: string, me: number | undefined): Promise<Finding[]> {
  const facts = withStranger(directoryFacts(base), (name) => isOurs(base, name));
  const options = { privacy: "private", variable: "INSOMNIA_RUNTIME_DIR", me } as const;
  const findings = [
    checkDirectory("runtime-directory", facts, options),
    ...checkParent("runtime-directory", nearestExisting(join(base, "..")), me),
    ...(await part("runtime-space", () => spaceOf("runtime-space", base))),
    ...(await part("file-system", () => [
      checkKind(spaceFacts(nearestExisting(base).path), process.platform),
    ])),
    checkSocketPaths(base),
  ];
  if (facts.state === "missing") {
    // Deleted under live Pods, perhaps.
    findings.push(
      ...(await part("deleted-directories", () => [
        checkHiddenPods(podsWithoutDirectory(base), []),
      ])),
    );
    return findings;
  }
  if (!isUsable(facts, me)) {
    findings.push(
      warning(
        "registry",
        "not looked at, because the runtime directory cannot be used",
        "mend that first, then run pod doctor again",
      ),
    );
    return findings;
  }
  findings.push(...(await part("locks", () => [checkLocks(base, tryLocks(base))])));
  const flocks = (): readonly HeldFlock[] => heldFlocks(canonicalBase(base));
  let living = 0;
  const pods = await part("live-pods", async () => {
    const found = await podFacts(base, flocks);
    living = found.directories.filter(({ life }) => life === "held").length;
    const live = found.entries.filter(({ dead, unjudged }) => !dead && !unjudged);
    const records = recordFacts(
      base,
      live.map(({ entry }) => entry),
    );
    return [...checkPods(found, me), checkRecords(base, tablePaths(base).file, records)];
  });
  findings.push(
    ...(await part("registry", async () =>
      checkRegistry(await registryFacts(base, living, flocks), me),
    )),
    ...pods,
    ...(await part("leftovers", () => checkLeftovers(leftoverFacts(base)))),
  );
  return findings;
}

/** Sessions are files that begin with their id, and what was set aside of them. */
function sessionsFacts(path: string): DirectoryFacts {
  return withStranger(directoryFacts(path), (name) => /^\.?[0-9a-f]{8}-[0-9a-f-]{27}/.test(name));
}

function spaceOf(check: string, path: string): Finding[] {
  return [checkSpace(check, spaceFacts(nearestExisting(path).path))];
}

/** The findings of one part, or that it could not be done. */
async function part(
  check: string,
  look: () => readonly Finding[] | Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [
      problem(
        check,
        `could not be looked at: ${messageOf(error)}`,
        "mend that and run pod doctor again",
      ),
    ];
  }
}
