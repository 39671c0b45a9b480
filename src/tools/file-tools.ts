/** The file tools of a Pod, sharing one access to files and one memory of what was read. */
import { editTool } from "./edit.ts";
import { globTool } from "./glob.ts";
import { grepTool } from "./grep.ts";
import type { LiveScope } from "./live-scope.ts";
import { readTool } from "./read.ts";
import { ScopedFiles } from "./scoped-fs.ts";
import type { Tool } from "./tool.ts";
import { FileTracker } from "./tracker.ts";
import { writeTool } from "./write.ts";

/** What the file tools of one Pod share. */
interface FileToolDependencies {
  readonly scope: LiveScope;
  /** Absolute; where Glob and Grep search unless told otherwise. */
  readonly cwd: string;
  /** Given when others want to know which files were read lately. */
  readonly tracker?: FileTracker;
  /** Finds the user's own git ignore file for all repositories (`core.excludesFile`). */
  readonly globalExcludes?: () => string | undefined;
}

/** Read, Write, Edit, Glob and Grep under one live scope, in the order of the reference. */
export function fileTools(dependencies: FileToolDependencies): Tool[] {
  const { scope, cwd, globalExcludes, tracker = new FileTracker() } = dependencies;
  const files = new ScopedFiles(scope);
  return [
    readTool({ files, tracker }),
    writeTool({ files, tracker }),
    editTool({ files, tracker }),
    globTool({ files, cwd }),
    grepTool({ files, cwd, globalExcludes }),
  ];
}
