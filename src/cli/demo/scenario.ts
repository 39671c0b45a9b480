/**
 * The story of `pod demo` as data: names, tasks and the rules of the scripted model
 * (docs/scripted-model.md). It decides only what the models say; whatever then happens is real, and
 * what must have happened is judged elsewhere. No rule depends on how fast anything is.
 */

/** The root Pod and its children. `tester` is the one that is killed. */
export const PODS = {
  lead: "lead",
  writer: "writer",
  styler: "styler",
  tester: "tester",
  successor: "tester-2",
  /** Never comes up: its directory is taken. */
  refused: "proofreader",
} as const;

/** Directory of the workspace, beside the scenario file. */
export const SITE = "site";

/** What each child is given and must have written at the end, relative to the workspace. */
export const DIRECTORIES = ["docs", "styles", "checks"] as const;
export const FILES = [
  "docs/guide.md",
  "docs/index.md",
  "styles/NOTE.md",
  "styles/site.css",
  "checks/links.md",
  "checks/styles.md",
] as const;

/** The file after which the tester is killed, and the one that the styler must not write. */
export const LAST_WORK_BEFORE_KILL = "checks/links.md";
export const TRESPASS = "docs/index.md";

/** What the person asks for. */
export const TASK = "Build a small site: docs/, styles/ and checks/.";

/** How long the tester's second answer takes: longer than every wait of the demo. */
const FOR_EVER_MS = 600_000;

const HERE = `{scenario_dir}/${SITE}`;

const CONTENT = {
  "docs/index.md": "# Paper boats\n\nFold, float, race. Start with the [guide](guide.md).\n",
  "docs/guide.md":
    "# How to fold a paper boat\n\n1. Fold a sheet in half.\n2. Fold the corners to the middle.\n" +
    "3. Turn the edges up, open it, flatten it.\n4. Pull the two ends apart: it floats.\n",
  "styles/site.css": "body { max-width: 40rem; margin: auto }\nh1 { font: bold 2rem serif }\n",
  "styles/NOTE.md": "Please link site.css from docs/index.md\n",
  "checks/links.md": "# Links to check\n\n- index.md -> guide.md\n",
  "checks/styles.md": "# Styles to check\n\n- lines are at most 40rem wide\n",
} as const satisfies Record<(typeof FILES)[number], string>;

interface Call {
  readonly tool: string;
  readonly input: Readonly<Record<string, unknown>>;
}

function write(file: keyof typeof CONTENT): Call {
  return { tool: "Write", input: { file_path: `${HERE}/${file}`, content: CONTENT[file] } };
}

function spawn(name: string, directory: string, task: string): Call {
  const scope = [{ target: `${HERE}/${directory}`, permission: "write" }];
  return { tool: "SpawnPod", input: { name, task, scope } };
}

/**
 * The scenario file's content. `pace` stretches or shortens every wait: 1 lets a person follow.
 * The first rule that fits answers, so for the lead news of a death comes first, then the plan, and
 * a report always leads to another look at all children, however reports and results coincide.
 */
export function demoScenario(pace: number): object {
  const wait = (ms: number) => ({ delay_ms: Math.round(ms * pace) });
  const { lead, writer, styler, tester, successor, refused } = PODS;
  const spawned = (name: string): string => `^spawned pod \`${name}\``;
  return {
    rules: [
      {
        pod: lead,
        match: `Pod \`${tester}\` died`,
        times: 1,
        ...wait(900),
        text: "Its directory is mine again: a new agent gets it.",
        calls: [
          spawn(successor, "checks", `Finish the check lists in ${HERE}/checks, one may exist.`),
        ],
      },
      {
        pod: lead,
        match: "^Build a small site",
        times: 1,
        ...wait(500),
        text: "Three directories, three agents: one for each.",
        calls: [spawn(writer, "docs", `Write a start page and a guide in ${HERE}/docs.`)],
      },
      {
        pod: lead,
        match: spawned(writer),
        ...wait(250),
        calls: [spawn(styler, "styles", `Make a style sheet in ${HERE}/styles.`)],
      },
      {
        pod: lead,
        match: spawned(styler),
        ...wait(250),
        calls: [spawn(tester, "checks", `Write check lists in ${HERE}/checks.`)],
      },
      {
        pod: lead,
        match: spawned(tester),
        ...wait(600),
        text: "Could a fourth agent help in docs/?",
        calls: [spawn(refused, "docs", `Proofread ${HERE}/docs.`)],
      },
      { pod: lead, match: "finished a turn", ...wait(300), calls: [{ tool: "ListPods" }] },
      {
        pod: lead,
        match: `^${successor} \\[alive\\].*state=idle`,
        not_match: "state=running|state=unresponsive",
        ...wait(300),
        calls: [writer, styler, successor].map((name) => ({
          tool: "ReadPodOutput",
          input: { name },
        })),
      },
      {
        pod: lead,
        match: "new line\\(s\\) of assistant text",
        ...wait(500),
        text: "The site is complete.",
      },
      {
        pod: lead,
        match: "lent out",
        ...wait(600),
        text: "Right, one agent per directory. I wait for reports.",
      },
      { pod: lead, text: "" },

      {
        pod: writer,
        match: "^Write a start page",
        times: 1,
        ...wait(1300),
        calls: [write("docs/index.md")],
      },
      { pod: writer, match: "index\\.md", ...wait(1500), calls: [write("docs/guide.md")] },
      { pod: writer, ...wait(1100), text: "Start page and guide are written." },

      {
        pod: styler,
        match: "^Make a style sheet",
        times: 1,
        ...wait(1300),
        calls: [write("styles/site.css")],
      },
      {
        pod: styler,
        match: "site\\.css",
        ...wait(900),
        text: "The start page must link to it: I add that.",
        calls: [write(TRESPASS)],
      },
      {
        pod: styler,
        match: "outside allowed scope",
        ...wait(1000),
        text: "Not my directory. I leave the writer a note.",
        calls: [write("styles/NOTE.md")],
      },
      { pod: styler, ...wait(700), text: "Done: the style sheet, and a note how to link it." },

      {
        pod: tester,
        match: "^Write check lists",
        times: 1,
        ...wait(1700),
        calls: [write("checks/links.md")],
      },
      { pod: tester, delay_ms: FOR_EVER_MS, text: "Both check lists are written." },

      {
        pod: successor,
        match: "^Finish the",
        times: 1,
        ...wait(700),
        text: "First I look at what is there.",
        calls: [{ tool: "Read", input: { file_path: `${HERE}/checks/links.md` } }],
      },
      { pod: successor, match: "^Read ", ...wait(900), calls: [write("checks/styles.md")] },
      { pod: successor, ...wait(500), text: "Both check lists are there." },
    ],
  };
}

/** The lead's manifest layer, as TOML for `--overlay`. Paths are absolute. */
export function demoManifest(scenario: string, site: string): string {
  return `
[pod]
name = ${JSON.stringify(PODS.lead)}
[model]
scheme = "script"
script = ${JSON.stringify(scenario)}
[[scope.allow]]
target = ${JSON.stringify(site)}
permission = "write"
[limits]
ready_timeout_ms = 30000
`;
}
