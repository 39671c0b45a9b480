/** Figures and how they are shown. Pure. */

/** What is told of a series of measurements. */
export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly p90: number;
  readonly min: number;
  readonly max: number;
}

/** One line of the result: a measured value beside the yardstick of the same run. */
export interface Figure {
  /** Number in bench/README.md, and a letter where one number has several lines. */
  readonly id: string;
  readonly title: string;
  readonly unit: "ms" | "MiB" | "calls";
  readonly value: Summary;
  /** The same moment's hello-world: its start for times, its memory for memory. */
  readonly baseline?: Summary;
  /** Upper limit for the median that we aim at. */
  readonly aim?: number;
  /** Anything a reader must know about this one, for example the names of system calls. */
  readonly note?: string;
}

/** Summarises a series; the percentile is the nearest rank. Throws for an empty one. */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const rank = (share: number): number => {
    const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
    if (value === undefined) throw new Error("no measurements");
    return round(value);
  };
  const middle = sorted.length / 2;
  const [below, above] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (below === undefined || above === undefined) throw new Error("no measurements");
  return {
    n: sorted.length,
    median: round((below + above) / 2),
    p90: rank(0.9),
    min: rank(0),
    max: rank(1),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const HEADINGS = ["", "median", "p90", "min", "max", "n", "unit", "hello", "ratio", "aim"];

/** The figures as a table for a terminal, notes below. */
export function renderTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { value, baseline, aim } = figure;
    const show = (number: number | undefined): string => number?.toFixed(1) ?? "";
    return [
      `${figure.id}  ${figure.title}`,
      ...[value.median, value.p90, value.min, value.max].map(show),
      String(value.n),
      figure.unit,
      show(baseline?.median),
      baseline === undefined ? "" : `x${(value.median / baseline.median).toFixed(1)}`,
      aim === undefined ? "" : `${aim} ${value.median <= aim ? "met" : "MISSED"}`,
    ];
  });
  const notes = figures.flatMap(({ id, note }) => (note === undefined ? [] : [`${id}: ${note}`]));
  const table = renderColumns(HEADINGS, rows, [0, 9]);
  return [table, ...(notes.length === 0 ? [] : ["", ...notes])].join("\n");
}

/** Rows below headings, padded to columns: those in `left` to the left, figures to the right. */
export function renderColumns(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly number[] = [0],
): string {
  const table = [headings, ...rows];
  const widths = headings.map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  return table
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return left.includes(column) ? cell.padEnd(width) : cell.padStart(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
