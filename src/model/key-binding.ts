/**
 * Which key may go to which host (manifest FIX 3). A key that a catalog entry names belongs to that
 * entry's host. Beyond that only the user pairs keys and hosts, in files of their own or on the
 * command line: a project's manifest comes with a directory, perhaps a stranger's, and must not be
 * able to send a key of the user's to a host of its choice. Pure.
 */
import { PodError } from "../base/errors.ts";
import type { Catalog, CatalogProvider } from "./builtin.ts";
import { homeOf, type ResolvedRemoteModel } from "./catalog.ts";
import { commandName, type ModelAuth, type ModelConfig } from "./config.ts";

/** Who wrote a key of the `[model]` table. */
interface Author {
  /** False for a project's manifest. */
  readonly trusted: boolean;
  /** `file:line`, fit for messages. */
  readonly where: string;
}

/** Authors of the keys that are written; what nobody wrote comes from catalog or scheme. */
export type Authors = { readonly [Key in keyof ModelConfig]?: Author | undefined };

interface Key {
  readonly what: string;
  matches(hint: ModelAuth): boolean;
  /** For the advice in the error. */
  readonly toml: string;
}

/**
 * Throws `invalid_manifest` when the key that `config` names must not go to the host that it names.
 * Keys that `config` does not name are `resolveModel`'s business.
 */
export function assertKeyBound(
  config: ModelConfig,
  resolved: ResolvedRemoteModel,
  authors: Authors,
  catalog: Catalog,
): void {
  const { auth } = config;
  if (auth === undefined || auth.kind === "none") return;
  const namer = untrusted(authors.auth);
  const chooser = config.base_url === undefined ? undefined : untrusted(authors.base_url);
  if (namer === undefined && chooser === undefined) return;
  if (auth.kind === "command" && namer !== undefined) {
    throw new PodError(
      "invalid_manifest",
      `model.auth: ${namer.where} names a ${commandName(auth.command)} for the key, which only your ` +
        "own manifest or providers.toml may do: it would run as soon as a Pod starts",
    );
  }
  const origin = new URL(resolved.baseUrl).origin;
  for (const key of keysOf(auth)) {
    const owners = catalog.providers.filter((provider) => key.matches(provider.authHint));
    const allowed =
      owners.length === 0
        ? chooser === undefined
        : owners.some((owner) => new URL(homeOf(owner)).origin === origin);
    if (!allowed) throw refusal(key, resolved, chooser ?? namer, owners);
  }
}

function refusal(
  key: Key,
  resolved: ResolvedRemoteModel,
  author: Author | undefined,
  owners: readonly CatalogProvider[],
): PodError {
  const hosts = [...new Set(owners.map((owner) => new URL(homeOf(owner)).host))];
  const reason =
    hosts.length === 0
      ? "nothing of yours ties this key to that host"
      : `this key belongs to ${hosts.join(", ")}`;
  return new PodError(
    "invalid_manifest",
    `the key from ${key.what} must not go to ${resolved.host}: a project's manifest asks for it ` +
      `(${author?.where ?? "unknown"}), and ${reason}. If you want it, say so in your providers.toml ` +
      `(docs/models.md): [[provider]] with scheme = "${resolved.scheme}", ` +
      `base_url = "${resolved.baseUrl}", auth_hint = ${key.toml}`,
  );
}

function untrusted(author: Author | undefined): Author | undefined {
  return author === undefined || author.trusted ? undefined : author;
}

function keysOf(auth: Exclude<ModelAuth, { kind: "none" }>): Key[] {
  if (auth.kind === "command") {
    const text = JSON.stringify(auth.command);
    return [
      {
        what: commandName(auth.command),
        matches: (hint) => hint.kind === "command" && JSON.stringify(hint.command) === text,
        toml: '{ kind = "command", command = […] }',
      },
    ];
  }
  const { env, file } = auth;
  return [
    ...(env === undefined
      ? []
      : [
          {
            what: `environment variable ${env}`,
            matches: (hint: ModelAuth) => hint.kind === "api_key" && hint.env === env,
            toml: `{ kind = "api_key", env = ${JSON.stringify(env)} }`,
          },
        ]),
    ...(file === undefined
      ? []
      : [
          {
            what: `file ${file}`,
            matches: (hint: ModelAuth) => hint.kind === "api_key" && hint.file === file,
            toml: `{ kind = "api_key", file = ${JSON.stringify(file)} }`,
          },
        ]),
  ];
}
