/**
 * From a `[model]` table to a model that can be built: what is filled in from the catalog and what
 * is refused (spec manifest 4). Pure: reads no file, no environment and no key. A key that nobody
 * named for a host is never sent to that host (manifest FIX 3).
 */
import { basename, extname, isAbsolute } from "node:path";
import { PodError } from "../base/errors.ts";
import {
  BUILTIN_CATALOG,
  type Catalog,
  type CatalogModel,
  type CatalogProvider,
  capability,
  type RemoteScheme,
} from "./builtin.ts";
import { commandName, type ModelAuth, type ModelCapability, type ModelConfig } from "./config.ts";
import { modelIdFault } from "./model-id.ts";

/** Per scheme: name in messages, base URL (5.1) and key variable (4.5) when nothing says otherwise. */
const SCHEME: Record<
  RemoteScheme,
  { readonly name: string; readonly baseUrl: string; readonly env: string }
> = {
  anthropic: {
    name: "Anthropic",
    baseUrl: "https://api.anthropic.com",
    env: "INSOMNIA_API_KEY_ANTHROPIC",
  },
  openai_chat: {
    name: "OpenaiChat",
    baseUrl: "https://api.openai.com",
    env: "INSOMNIA_API_KEY_OPENAI",
  },
  openai_responses: {
    name: "OpenaiResponses",
    baseUrl: "https://api.openai.com/v1",
    env: "INSOMNIA_API_KEY_OPENAI",
  },
  gemini: {
    name: "Gemini",
    baseUrl: "https://generativelanguage.googleapis.com",
    env: "INSOMNIA_API_KEY_GEMINI",
  },
};

/** Name of a scheme as the messages of 4.5 print it (`Anthropic`, `OpenaiChat`, …). */
export function schemeName(scheme: RemoteScheme): string {
  return SCHEME[scheme].name;
}

/** Base URL of a provider that its entry does not override. */
export function homeOf(provider: Pick<CatalogProvider, "scheme" | "baseUrl">): string {
  return provider.baseUrl ?? SCHEME[provider.scheme].baseUrl;
}

/**
 * Where to look for a key. `withheld` is a key that nobody named for this host: it belongs to `home`.
 */
type ResolvedAuth =
  | { readonly kind: "none" }
  | { readonly kind: "command"; readonly command: readonly string[] }
  | {
      readonly kind: "api_key";
      readonly env: string | undefined;
      readonly file: string | undefined;
      readonly withheld?: { readonly key: string; readonly home: string };
    };

/** A model behind a host. `baseUrl` has no trailing `/`, no user-info, no query. */
export interface ResolvedRemoteModel {
  readonly scheme: RemoteScheme;
  /** Catalog id of the provider, or the scheme when the model was written inline. */
  readonly provider: string;
  readonly modelId: string;
  readonly baseUrl: string;
  /** Host with port, for messages. */
  readonly host: string;
  readonly auth: ResolvedAuth;
  readonly capability: ModelCapability;
  /** Remarks for the log; nothing that stops a start. */
  readonly warnings: readonly string[];
}

/** A scenario file in place of a model. */
export interface ResolvedScriptModel {
  readonly scheme: "script";
  readonly provider: "script";
  readonly modelId: string;
  readonly script: string;
  readonly capability: ModelCapability;
  readonly warnings: readonly string[];
}

/** What `resolveModel` makes of a `[model]` table. */
export type ResolvedModel = ResolvedRemoteModel | ResolvedScriptModel;

/**
 * Resolves a `[model]` table (4.1, 4.4). Throws `invalid_manifest` with the texts of 4.4, `key` in
 * its data when one key of the table is to blame.
 */
export function resolveModel(
  config: ModelConfig,
  catalog: Catalog = BUILTIN_CATALOG,
): ResolvedModel {
  if (config.scheme === "script") return resolveScript(config);
  if (config.script !== undefined) {
    throw invalid('model.script needs model.scheme = "script"');
  }
  const named = config.ref === undefined ? undefined : lookUp(config.ref, catalog);
  const scheme = config.scheme ?? named?.provider.scheme;
  const modelId = config.model_id ?? named?.modelId;
  const auth = config.auth ?? named?.provider.authHint;
  if (scheme === undefined) throw missing("scheme");
  if (modelId === undefined || modelId === "") throw missing("model_id");
  if (auth === undefined) throw missing("auth");
  const fault = modelIdFault(modelId, scheme);
  if (fault !== undefined) throw invalid(fault, config.model_id === undefined ? "ref" : "model_id");

  const home = named?.provider.baseUrl ?? SCHEME[scheme].baseUrl;
  const url = parseBaseUrl(config.base_url ?? home);
  const unlisted =
    named !== undefined && named.model === undefined
      ? [
          `model \`${named.modelId}\` is not in the catalog of provider \`${named.provider.id}\`; ` +
            "assuming the provider's default capability",
        ]
      : [];
  return {
    scheme,
    provider: named?.provider.id ?? scheme,
    modelId,
    baseUrl: url.text,
    host: url.host,
    auth: bindKey(config.auth, auth, implicitEnv(named?.provider, scheme, auth), url.origin, home),
    capability:
      config.capability ??
      named?.model?.capability ??
      named?.provider.defaultCapability ??
      inlineCapability(scheme, url.host),
    warnings: unlisted,
  };
}

/**
 * The model as a `[model]` table that says everything, so that a child needs no catalog to resolve
 * it to the same.
 */
export function explicitConfig(resolved: ResolvedModel): ModelConfig {
  const { scheme, modelId, capability: can } = resolved;
  if (resolved.scheme === "script") {
    return { scheme, script: resolved.script, model_id: modelId, capability: can };
  }
  const { auth, baseUrl } = resolved;
  const plain =
    auth.kind !== "api_key"
      ? auth
      : {
          kind: auth.kind,
          ...(auth.env === undefined ? {} : { env: auth.env }),
          ...(auth.file === undefined ? {} : { file: auth.file }),
        };
  return { scheme, model_id: modelId, base_url: baseUrl, auth: plain, capability: can };
}

/** True when the resolved host is the vendor's own, not a proxy or a local server. */
export function isVendorHost(resolved: ResolvedRemoteModel): boolean {
  return resolved.host === new URL(SCHEME[resolved.scheme].baseUrl).host;
}

/** Of a model that was written inline: at the Anthropic API caching must be asked for (4.4). */
function inlineCapability(scheme: RemoteScheme, host: string): ModelCapability {
  const vendors = scheme === "anthropic" && host === new URL(SCHEME.anthropic.baseUrl).host;
  return vendors
    ? capability("budget_tokens", true, 4)
    : capability(undefined, scheme === "gemini");
}

function resolveScript(config: ModelConfig): ResolvedScriptModel {
  const refuse = (what: string): PodError => invalid(`${what} cannot be used with scheme "script"`);
  if (config.ref !== undefined) throw refuse("model.ref");
  if (config.base_url !== undefined) throw refuse("model.base_url");
  if (config.auth !== undefined && config.auth.kind !== "none") throw refuse("model.auth");
  if (config.script === undefined) {
    throw invalid('scheme "script" needs model.script, the path of a scenario file');
  }
  if (!isAbsolute(config.script)) throw invalid(`model.script must be absolute: ${config.script}`);
  return {
    scheme: "script",
    provider: "script",
    modelId: config.model_id ?? basename(config.script, extname(config.script)),
    script: config.script,
    capability: config.capability ?? capability(undefined, false),
    warnings: [],
  };
}

function lookUp(
  ref: string,
  catalog: Catalog,
): { provider: CatalogProvider; modelId: string; model: CatalogModel | undefined } {
  const slash = ref.indexOf("/");
  const id = ref.slice(0, slash);
  const modelId = ref.slice(slash + 1);
  if (slash <= 0 || modelId === "") {
    throw invalid(`invalid model.ref \`${ref}\`: must be \`<provider>/<model_id>\``, "ref");
  }
  const provider = catalog.providers.find((entry) => entry.id === id);
  if (provider === undefined) {
    const known = catalog.providers.map((entry) => entry.id);
    throw invalid(
      `model.ref points to unknown provider \`${id}\` (there are ${known.join(", ")})`,
      "ref",
    );
  }
  const model = catalog.models.find((entry) => entry.provider === id && entry.id === modelId);
  return { provider, modelId, model };
}

/**
 * The variable that holds the key when `auth` names none: the provider's, never another vendor's.
 * Without a provider, whoever names a file means the file.
 */
function implicitEnv(
  provider: CatalogProvider | undefined,
  scheme: RemoteScheme,
  auth: ModelAuth,
): string | undefined {
  if (provider !== undefined) {
    return provider.authHint.kind === "api_key" ? provider.authHint.env : undefined;
  }
  return auth.kind === "api_key" && auth.file !== undefined ? undefined : SCHEME[scheme].env;
}

/**
 * Adds what nobody wrote down (the hint's key or the scheme's variable), unless the request goes to
 * another origin than that key's; then it is only remembered for the error text.
 */
function bindKey(
  written: ModelAuth | undefined,
  hint: ModelAuth,
  implicit: string | undefined,
  origin: string,
  home: string,
): ResolvedAuth {
  const homeUrl = new URL(home);
  const atHome = homeUrl.origin === origin;
  const auth = written ?? hint;
  const withheld = (key: string): ResolvedAuth => ({
    kind: "api_key",
    env: undefined,
    file: written?.kind === "api_key" ? written.file : undefined,
    withheld: { key, home: homeUrl.host },
  });
  if (auth.kind === "command") {
    return written !== undefined || atHome ? auth : withheld(commandName(auth.command));
  }
  if (auth.kind !== "api_key") return auth;
  const env = written?.kind === "api_key" ? written.env : undefined;
  if (env !== undefined) return { kind: "api_key", env, file: auth.file };
  if (atHome) return { kind: "api_key", env: implicit, file: auth.file };
  if (implicit !== undefined) return withheld(implicit);
  // A file that only the hint names stays with the hint's host, too.
  if (written === undefined && auth.file !== undefined) return withheld(`file ${auth.file}`);
  return { kind: "api_key", env: undefined, file: auth.file };
}

function parseBaseUrl(text: string): { text: string; host: string; origin: string } {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw invalid("model.base_url must be an http or https URL", "base_url");
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid(
      `model.base_url must not contain credentials (host ${url.host}); use model.auth`,
      "base_url",
    );
  }
  if (url.search !== "" || url.hash !== "") {
    throw invalid(
      `model.base_url must not contain a query or fragment (host ${url.host})`,
      "base_url",
    );
  }
  return { text: text.trim().replace(/\/+$/, ""), host: url.host, origin: url.origin };
}

function missing(field: string): PodError {
  return invalid(
    `model.ref omitted; manifest must specify scheme, model_id, and auth (missing: ${field})`,
  );
}

function invalid(inner: string, key?: keyof ModelConfig): PodError {
  return new PodError("invalid_manifest", `failed to resolve model manifest: ${inner}`, {
    data: key === undefined ? {} : { key },
  });
}
