/**
 * The user's catalog files, `providers.toml` and `models.toml` in the configuration directory (spec
 * manifest 4.2): read and checked entry by entry, with file and line. What they change in the builtin
 * catalog is decided in the model layer.
 */
import { join } from "node:path";
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { pathExists } from "../base/paths.ts";
import { dottedKey, findingsOf } from "./issues.ts";
import { lineFinder } from "./locate.ts";
import {
  authSchema,
  baseUrlSchema,
  capabilitySchema,
  remoteSchemeSchema,
  text,
} from "./model-table.ts";
import { joinBase } from "./paths.ts";
import { ManifestError } from "./problem.ts";
import { parseTomlText, readConfigurationFile } from "./toml.ts";

const disabled = z.boolean().describe("true: there is no such entry, not even a builtin one");

/** An id stands before the first `/` of a `ref`. */
const providerId = lazily(() =>
  z.string().regex(/^[^/\s]+$/, "must have at least one character, and neither `/` nor blanks"),
);

const providersSchema = lazily(() =>
  z
    .object({
      provider: z
        .array(
          z
            .object({
              id: providerId().describe("first part of a `ref`; a builtin id changes that entry"),
              display_name: text().optional().describe("name for people (default: the id)"),
              scheme: remoteSchemeSchema().optional().describe("wire format"),
              base_url: baseUrlSchema().optional().describe("address of the API"),
              auth_hint: authSchema().optional().describe("where the key is; it goes nowhere else"),
              default_capability: capabilitySchema()
                .optional()
                .describe("for models without a capability of their own"),
              disabled: disabled.optional(),
            })
            .strict(),
        )
        .default([])
        .describe("providers that a `ref` can name"),
    })
    .strict(),
);

const modelsSchema = lazily(() =>
  z
    .object({
      model: z
        .array(
          z
            .object({
              id: text().describe("second part of a `ref`; may contain `/`"),
              provider: providerId().describe("id of its provider"),
              capability: capabilitySchema().optional().describe("what the model can do"),
              disabled: disabled.optional(),
            })
            .strict(),
        )
        .default([])
        .describe("models with a capability of their own, or to be listed"),
    })
    .strict(),
);

/** Where an entry stands: `file:line`. */
interface Placed {
  readonly where: string;
}
type Providers = z.infer<ReturnType<typeof providersSchema>>["provider"];
type Models = z.infer<ReturnType<typeof modelsSchema>>["model"];

/** The entries of both files, in their order. */
export interface CatalogFileEntries {
  readonly providers: readonly (Providers[number] & Placed)[];
  readonly models: readonly (Models[number] & Placed)[];
}

/**
 * Reads the files below `config` that exist. Throws `ManifestError` with the problems of both under
 * the texts of spec manifest 4.4. Relative key files start from `config`.
 */
export async function loadCatalogFiles(config: string | undefined): Promise<CatalogFileEntries> {
  if (config === undefined) return { providers: [], models: [] };
  const [providers, models] = await Promise.allSettled([
    entriesOf("provider", join(config, "providers.toml"), providersSchema, (data) =>
      absoluteKeyFiles(data, config),
    ),
    entriesOf("model", join(config, "models.toml"), modelsSchema, (data) => data),
  ]);
  const errors = [providers, models].flatMap((attempt): unknown[] =>
    attempt.status === "rejected" ? [attempt.reason] : [],
  );
  const faults = errors.map((error) => {
    if (!(error instanceof ManifestError)) throw error;
    return error.faults;
  });
  if (providers.status === "rejected" || models.status === "rejected") {
    throw new ManifestError(faults.flat(), errors[0]);
  }
  return {
    providers: place(providers.value, (data) => data.provider),
    models: place(models.value, (data) => data.model),
  };
}

interface Parsed<Data> {
  readonly data: Data | undefined;
  readonly file: string;
  readonly key: string;
  readonly text: string;
}

async function entriesOf<Schema extends z.ZodTypeAny>(
  key: string,
  file: string,
  schema: () => Schema,
  prepare: (data: unknown) => unknown,
): Promise<Parsed<z.infer<Schema>>> {
  if (!pathExists(file)) return { data: undefined, file, key, text: "" };
  try {
    const source = readConfigurationFile(file, "catalog at");
    const prefix = `failed to parse catalog at ${file}`;
    const parsed = schema().safeParse(prepare(await parseTomlText(source, prefix, file)));
    if (parsed.success) return { data: parsed.data, file, key, text: source };
    const lineOf = lineFinder(source);
    const problems = findingsOf(parsed.error, schema())
      .map(({ path, message }) => ({ file, line: lineOf(path), key: dottedKey(path), message }))
      .sort((a, b) => a.line - b.line);
    throw new ManifestError([{ prefix, problems }], parsed.error);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw error.within(`failed to load ${key} catalog`);
  }
}

function place<Data, Entry extends object>(
  parsed: Parsed<Data>,
  list: (data: Data) => readonly Entry[],
): (Entry & Placed)[] {
  if (parsed.data === undefined) return [];
  const lineOf = lineFinder(parsed.text);
  return list(parsed.data).map((entry, index) => ({
    ...entry,
    where: `${parsed.file}:${lineOf([parsed.key, index])}`,
  }));
}

/** `auth_hint.file` made absolute while the data is still plain; what does not fit stays as it is. */
function absoluteKeyFiles(data: unknown, base: string): unknown {
  if (!isTable(data) || !Array.isArray(data.provider)) return data;
  const provider = data.provider.map((entry: unknown) => {
    if (!isTable(entry) || !isTable(entry.auth_hint)) return entry;
    const { file } = entry.auth_hint;
    if (typeof file !== "string" || file === "") return entry;
    return { ...entry, auth_hint: { ...entry.auth_hint, file: joinBase(base, file) } };
  });
  return { ...data, provider };
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
