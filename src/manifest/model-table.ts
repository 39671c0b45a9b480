/**
 * The keys of a `[model]` table, which stands in a manifest at several places: which model, where,
 * who pays, what it can do (spec manifest 1.2, 4.5). What a table means is not decided here.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";

/** A string that says something. */
export const text = lazily(() => z.string().min(1));

/** A path; what the kernel would cut at a NUL character is none. A pattern, so that editors know it. */
export const pathText = lazily(() =>
  text().regex(/^[^\x00]*$/, "must not contain a NUL character"),
);

/** `[model] scheme`: the wire format; `script` is the offline model (design 3). */
const modelSchemeSchema = lazily(() =>
  z.enum(["anthropic", "openai_chat", "openai_responses", "gemini", "script"]),
);
/** Schemes that are spoken to a host: what a catalog entry may have. */
export const remoteSchemeSchema = lazily(() => modelSchemeSchema().exclude(["script"]));

const AUTH_KINDS = '"none", "api_key", "command"';
/** `auth`: how the provider is told who pays (spec manifest 4.5). There is no key for a key itself. */
export const authSchema = lazily(() =>
  z.discriminatedUnion(
    "kind",
    [
      z.object({ kind: z.literal("none") }).strict(),
      z
        .object({
          kind: z.literal("api_key").describe('`"none"`, `"api_key"` or `"command"`'),
          env: text()
            .optional()
            .describe("environment variable that holds the key; asked before `file`"),
          file: pathText()
            .optional()
            .describe("file that holds the key; relative to the layer's base"),
        })
        .strict(),
      z
        .object({
          kind: z.literal("command"),
          command: z
            .array(text())
            .min(1)
            .describe("program and arguments that print the key; not in a project's manifest"),
        })
        .strict(),
    ],
    {
      errorMap: (issue, context) => {
        if (issue.code !== "invalid_union_discriminator") return { message: context.defaultError };
        const kind: unknown = (context.data as { kind?: unknown }).kind;
        if (kind === "codex_oauth") {
          return {
            message:
              '"codex_oauth" is not supported: this program does not use another program\'s login; ' +
              'use kind = "api_key"',
          };
        }
        return { message: `expected one of ${AUTH_KINDS}` };
      },
    },
  ),
);

/** `capability`: what a model can do; replaced whole by an upper layer, never merged. */
export const capabilitySchema = lazily(() =>
  z
    .object({
      tool_calling: z.enum(["none", "sequential", "parallel"]).describe("how tools may be called"),
      structured_output: z
        .enum(["none", "json_object", "json_schema"])
        .describe("how an answer can be bound to a form"),
      reasoning: z
        .enum(["effort", "budget_tokens", "both"])
        .optional()
        .describe("forms of `worker.reasoning` the model takes; absent: none"),
      vision: z.boolean().default(false).describe("takes pictures"),
      prompt_caching: z
        .discriminatedUnion("kind", [
          z
            .object({
              kind: z.literal("explicit").describe('`"explicit"` (marked by us) or `"auto"`'),
              max_breakpoints: z.number().int().min(0).max(255).describe("marks per request"),
            })
            .strict(),
          z.object({ kind: z.literal("auto") }).strict(),
        ])
        .describe("how the provider caches prompts"),
    })
    .strict(),
);

const NOT_HTTP = "must be an http or https URL";
/** Scheme and host; the parser alone would take blanks and `http:host` too. */
const HTTP = /^[Hh][Tt][Tt][Pp][Ss]?:\/\/[^\s\/?#\\][^\s\\]*$/;
/** No `@` before the path. */
const ANONYMOUS = /^(?![^\/]*\/\/[^\/?#]*@)/;

/** An address without credentials; trailing slashes go. The value is never quoted: FIX 6. */
export const baseUrlSchema = lazily(() =>
  z
    .string()
    .regex(HTTP, NOT_HTTP)
    .regex(ANONYMOUS, "must not contain a user name or password; use `auth`")
    .refine((value) => !HTTP.test(value) || URL.canParse(value), NOT_HTTP)
    .transform((url) => url.replace(/\/+$/, "")),
);

/** A `[model]` table; incomplete ones are legal here and refused when the client is built (4.4). */
export const modelTableSchema = lazily(() =>
  z
    .object({
      ref: text().describe(
        "`<provider>/<model>` of the catalog; the other keys override its entry",
      ),
      scheme: modelSchemeSchema().describe("wire format; required without `ref`"),
      base_url: baseUrlSchema().describe("address of the API, with or without its version segment"),
      model_id: text().describe("id sent to the API; required without `ref`"),
      auth: authSchema().describe("required without `ref`"),
      capability: capabilitySchema().describe("replaces the catalog's capability as a whole"),
      script: pathText().describe(
        'scenario file of `scheme = "script"`; relative to the layer\'s base',
      ),
    })
    .partial()
    .strict(),
);
export type ModelTable = z.infer<ReturnType<typeof modelTableSchema>>;
