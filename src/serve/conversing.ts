/** How the conversation of a Pod runs through its parts: the controller, and what one run works with. */
import { lazily } from "../base/lazy.ts";
import { attachmentsFor } from "../controller/attachments.ts";
import { completionsOf } from "../controller/completions.ts";
import { Controller } from "../controller/controller.ts";
import { INITIAL_STATE, PAUSED_STATE } from "../controller/state.ts";
import type { Event } from "../protocol/event.ts";
import { isUnderWay } from "../session/replay.ts";
import { ScopedFiles } from "../tools/scoped-fs.ts";
import { type LoopDependencies, runTurns } from "../worker/loop.ts";
import type { ComingBack } from "./coming-back.ts";
import type { Configuration } from "./configuration.ts";
import type { Parts } from "./parts.ts";
import { greetingOf, newBoundaries } from "./settings.ts";
import { ToolOutputFiles } from "./tool-output.ts";

/** What a conversation is made from besides the parts. */
interface ConversingDependencies {
  readonly configuration: Configuration;
  readonly parts: Parts;
  /** For a Pod that came back: what it has to say about its children. */
  readonly back: ComingBack | undefined;
  readonly comingBack: () => Promise<ComingBack>;
  /** Reaches every client. */
  readonly broadcast: (event: Event) => void;
  /** Called once, when the Pod is to end. */
  readonly finish: () => void;
}

/** Makes the controller of a Pod. */
export function makeController(deps: ConversingDependencies): Controller {
  const { configuration, parts, comingBack, broadcast, finish } = deps;
  const { cwd, restored } = configuration;
  const prompts = configuration.prompts.catalog;
  const { self, scope, tools, files, mailbox, uplink, family, commands } = parts;
  const { recording, recorder, compaction } = parts;
  const { history } = recording;
  const readable = new ScopedFiles(scope);
  const controller: Controller = new Controller({
    self,
    initial: restored !== undefined && isUnderWay(restored.state) ? PAUSED_STATE : INITIAL_STATE,
    session: () => recorder.session,
    record: {
      begin: async () => {
        await compaction.giveWay();
        await recorder.begin(history);
      },
      settle: recorder.settle,
      end: async (end, abort, report) => {
        await recorder.end(end, abort, uplink.hasParents ? report : undefined);
        if (abort !== "shutdown") compaction.afterRun();
      },
    },
    recordInput: (segments, mark) => recorder.input(segments, mark),
    history,
    ...(restored === undefined ? {} : { typed: restored.state.typed }),
    files,
    mailbox,
    greeting: () => greetingOf(configuration, self, scope, tools),
    broadcast,
    runTurns: async (signal) => {
      await commands.announce();
      return await runTurns(turn(), signal);
    },
    attach: (segments, warn, signal) =>
      attachmentsFor(
        segments,
        async (path) => (await readable.read(absolute(path, cwd))).bytes,
        warn,
        signal,
      ),
    complete: (kind, prefix) =>
      completionsOf(kind, prefix, { cwd, mayRead: (path) => scope.accessTo(path) !== "none" }),
    childEvent: (event, id) => family.handle(event, id),
    report: ({ event, id }) => uplink.report(event, id),
    unreported: () => uplink.waiting,
    parentChanged: () => void uplink.parentChanged(),
    compact: () => compaction.request(controller.phase !== "running"),
    revive: async (request) =>
      await (await comingBack()).revive(request, () => controller.resume()),
    finish,
    interruption: () => ({
      note: prompts.render("interrupt_system_note"),
      result: prompts.render("interrupt_tool_result_summary"),
    }),
    wrapNotice: (message) => prompts.render("notify_wrapper", { message }),
  });
  const turn = lazily(() => turnOf(deps, controller));
  return controller;
}

/** What the turn loop of a Pod works with. */
function turnOf(
  { configuration, parts, back }: ConversingDependencies,
  controller: Controller,
): LoopDependencies {
  const { manifest, model } = configuration;
  const { paths, scope, tools, output, recording, recorder, compaction } = parts;
  const { history, system, turns, options } = recording;
  const outputs = new ToolOutputFiles(paths.directory, scope);
  return {
    model: model.stream,
    tools,
    history,
    system,
    options,
    maxTurns: manifest.worker.max_turns,
    output,
    news: () => newBoundaries(system, history, scope),
    spill: (_callId, content) => outputs.keep(content),
    interrupted: configuration.prompts.catalog.render("interrupt_tool_result_summary"),
    takeNotices: (keep) => {
      const notice = back?.takeNotice();
      if (notice !== undefined) controller.notice(notice, false);
      controller.takeNotices(keep);
    },
    emit: (event) => controller.publish(event),
    turns,
    settle: recorder.settle,
    recordEarly: recorder.early,
    recordUsage: (usage, length) => {
      compaction.record(usage, length);
      recorder.usage(usage, length);
    },
    compaction,
  };
}

/** Not normalised: what `..` means is for the scope check to decide. */
function absolute(path: string, cwd: string): string {
  return path.startsWith("/") ? path : `${cwd}/${path}`;
}
