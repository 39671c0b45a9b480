/** What a person or a parent types into a Pod: the elements of `run.input` (spec protocol 2.1). */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";

/** Segments of one input; each is an item of a history's line and a look at a file at most. */
export const MAX_SEGMENTS = 1024;

const knownSegmentSchema = lazily(() => {
  const u32 = z.number().int().min(0).max(0xffff_ffff);
  return z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("text"), content: z.string() }),
    z.object({ kind: z.literal("paste"), id: u32, chars: u32, lines: u32, content: z.string() }),
    z.object({ kind: z.literal("file_ref"), path: z.string() }),
    z.object({ kind: z.literal("knowledge_ref"), slug: z.string() }),
    z.object({ kind: z.literal("workflow_invoke"), slug: z.string() }),
    z.object({ kind: z.literal("unknown") }),
  ]);
});
export type Segment = z.infer<ReturnType<typeof knownSegmentSchema>>;

const KNOWN_KINDS: readonly string[] = [
  "text",
  "paste",
  "file_ref",
  "knowledge_ref",
  "workflow_invoke",
  "unknown",
];

/** A segment; one of a kind that this version does not know becomes `{"kind":"unknown"}`. */
export const segmentSchema = lazily((): z.ZodType<Segment, z.ZodTypeDef, unknown> =>
  z.preprocess((value) => {
    if (typeof value !== "object" || value === null || !("kind" in value)) return value;
    const { kind } = value;
    return typeof kind === "string" && !KNOWN_KINDS.includes(kind) ? { kind: "unknown" } : value;
  }, knownSegmentSchema()),
);

/** The text that the model gets for one segment. */
function textOf(segment: Segment): string {
  switch (segment.kind) {
    case "text":
    case "paste":
      return segment.content;
    case "file_ref":
      return `@${segment.path}`;
    case "knowledge_ref":
      return `#${segment.slug}`;
    case "workflow_invoke":
      return `/${segment.slug}`;
    case "unknown":
      return "[unknown input segment]";
  }
}

/** The user message for the model: segments joined without a separator. */
export function flattenSegments(segments: readonly Segment[]): string {
  return segments.map(textOf).join("");
}
