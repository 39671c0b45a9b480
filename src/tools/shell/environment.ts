/**
 * What a command finds in its environment: the user's, without what belongs to this program, without
 * what looks like a secret, and without what would change the shell around the command (W1).
 */
import type { Environment } from "../../base/paths.ts";
import { originalName } from "../../base/loader-variables.ts";
import { childEnvironment } from "../../base/process.ts";

/**
 * Names of variables that usually hold something secret: whole words (`GITHUB_TOKEN`), words that are
 * written together (`PGPASSWORD`, `SSHPASS`), and endings that name nothing else (`MYSQL_PWD`, but
 * not `PWD`). `ASKPASS` names a program.
 */
const SECRET =
  /(?:^|_)(?:API_?KEYS?|ACCESS_?KEY(?:_ID)?|SECRETS?|TOKENS?|CREDENTIALS?|PRIVATE_?KEY)(?:_|$)|PASS(?:WORD|WD|PHRASE)(?:_|$)|(?<!ASK|BY|COM)PASS(?:_|$)|_(?:PWD|KEY|PAT)$/i;

/** Start-up files, options and functions that bash would take from outside (bash(1)). */
const SHELL_SETTINGS = /^(?:BASH_ENV|ENV|SHELLOPTS|BASHOPTS|BASH_XTRACEFD|BASH_FUNC_.*)$/s;

/** What differs from the user's environment. */
interface CommandSurroundings {
  readonly temporary: string;
  /** Names that the manifest lets through. */
  readonly pass: readonly string[];
  /** Names that hold the keys of the Pod's own model. */
  readonly secrets: readonly string[];
}

/**
 * The environment of a command. A name in `pass` is kept unless it is this program's own or in `secrets`.
 * What speaks to the loader still has the name under which it travels, which whoever starts the shell takes off.
 */
export function commandEnvironment(
  env: Environment,
  { temporary, pass, secrets }: CommandSurroundings,
): Record<string, string> {
  const kept = Object.entries(childEnvironment(env)).filter(([carried]) => {
    const name = originalName(carried);
    if (name.startsWith("INSOMNIA_") || SHELL_SETTINGS.test(name)) return false;
    return !secrets.includes(name) && (pass.includes(name) || !SECRET.test(name));
  });
  return { ...Object.fromEntries(kept), TMPDIR: temporary };
}
