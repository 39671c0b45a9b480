/** What the model of a Pod can call. */
import type { Environment } from "../base/paths.ts";
import type { SpawnContext } from "../spawn/context.ts";
import { listPodsTool, stopPodTool } from "../spawn/control-tools.ts";
import { spawnPodTool } from "../spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../spawn/talk-tools.ts";
import { fileTools } from "../tools/file-tools.ts";
import { globalExcludesFile } from "../tools/git-excludes.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import { bashTools } from "../tools/shell/bash.ts";
import type { Tool } from "../tools/tool.ts";
import type { FileTracker } from "../tools/tracker.ts";
import type { Commands } from "./commands.ts";

/** What the tools work with. */
interface ToolSurroundings {
  readonly cwd: string;
  readonly env: Environment;
  readonly scope: LiveScope;
  readonly tracker: FileTracker;
  readonly commands: Commands;
  readonly context: SpawnContext;
}

/** All of them, bound to one Pod. */
export function toolsOf(surroundings: ToolSurroundings): Tool[] {
  const { cwd, env, scope, tracker, commands, context } = surroundings;
  return [
    ...fileTools({
      scope,
      cwd,
      tracker,
      globalExcludes: () => globalExcludesFile({ home: env.HOME, config: env.XDG_CONFIG_HOME }),
    }),
    ...bashTools(commands.session),
    spawnPodTool(context),
    sendToPodTool(context),
    readPodOutputTool(context),
    stopPodTool(context),
    listPodsTool(context),
  ];
}
