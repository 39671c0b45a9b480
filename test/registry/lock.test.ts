import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import type { Allocation } from "../../src/registry/allocation.ts";
import { LOCK_WAIT_MS, RegistryLock } from "../../src/registry/lock.ts";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { temp, within } from "../support/temp.ts";
import { type Actor, actor, actors, type Reply } from "./actor.ts";
import { names, one, rejection, rule } from "./entries.ts";

const DEADLINE_MS = 15_000;

let pool: Actor[] & AsyncDisposable;
/** The first `count` of the processes that stand ready. */
const crowd = (count: number): Actor[] => pool.slice(0, count);
beforeAll(async () => {
  pool = await actors(32);
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
});

const register = (registry: Registry, name: string, target: string): Promise<unknown> =>
  registry.register(
    { name, instance: `${name}-1` },
    { allow: [rule(target)], deny: [] },
    `session of ${name}`,
  );

/** Counts the turns of the event loop, five milliseconds apart, and the longest gap between two. */
function ticks() {
  let count = 0;
  let longest = 0;
  let last = performance.now();
  let wanted = Number.POSITIVE_INFINITY;
  const reached = Promise.withResolvers<void>();
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    count += 1;
    if (count >= wanted) reached.resolve();
  }, 5);
  return {
    /** Resolves after `more` further ticks. */
    async pass(more: number): Promise<void> {
      wanted = count + more;
      await within(reached.promise, DEADLINE_MS, `${more} turns of the event loop`);
    },
    longest: () => longest,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

describe("an operation while another process holds the lock", () => {
  test("waits without blocking the event loop, and then succeeds (15)", async () => {
    await using dir = temp();
    await using holder = await actor();
    const { lock } = tablePaths(dir.path);
    expect(await holder.tell({ op: "grab", path: lock })).toBe("taken");
    using loop = ticks();
    let done = false;
    const registered = register(new Registry(dir.path), "a", "/p").then(() => (done = true));
    await loop.pass(60); // 300 ms and more
    expect(done).toBe(false);
    await holder.tell({ op: "drop", path: lock });
    await within(registered, DEADLINE_MS, "the registration");
    // 50 ms are allowed, but the machine may be busy; a blocked loop would stand still for the limit.
    expect(loop.longest()).toBeLessThan(LOCK_WAIT_MS / 2);
  });

  test("gives up in time when it never ends, naming the lock and how to find the holder (16)", async () => {
    await using dir = temp();
    await using holder = await actor();
    const { lock } = tablePaths(dir.path);
    await holder.tell({ op: "grab", path: lock });
    const started = performance.now();
    const error = await rejection(register(new Registry(dir.path, 150), "a", "/p"));
    expect(performance.now() - started).toBeWithin(149, LOCK_WAIT_MS);
    expect(error.code).toBe("registry_locked");
    expect(error.message).toStartWith(`timed out waiting for pod registry lock ${lock}`);
    expect(error.message).toContain(`fuser ${lock}`);
    expect(LOCK_WAIT_MS).toBe(10_000);
  });

  test("counts its wait from the call, not from its turn in the queue (16)", async () => {
    await using dir = temp();
    await using holder = await actor();
    await holder.tell({ op: "grab", path: tablePaths(dir.path).lock });
    const registry = new Registry(dir.path, 1000);
    const started = performance.now();
    const calls = Array.from({ length: 10 }, (_, n) =>
      rejection(register(registry, `a${n}`, `/${n}`)),
    );
    const errors = await within(Promise.all(calls), DEADLINE_MS, "ten refusals");
    expect(errors.map((error) => error.code)).toEqual(Array(10).fill("registry_locked"));
    expect(performance.now() - started).toBeLessThan(10_000); // what ten waits would take
  });

  test("goes on when the holder is killed", async () => {
    await using dir = temp();
    await using holder = await actor();
    await holder.tell({ op: "grab", path: tablePaths(dir.path).lock });
    const registered = register(new Registry(dir.path), "a", "/p");
    await holder.kill();
    await within(registered, DEADLINE_MS, "the registration");
  });
});

describe("many processes at once", () => {
  test("register twenty disjoint scopes and lose none (17)", async () => {
    await using dir = temp();
    const replies = await Promise.all(
      crowd(20).map((pod, n) =>
        pod.ask({ op: "register", base: dir.path, name: `p${n}`, allow: [rule(`/w/${n}`)] }),
      ),
    );
    expect(replies.filter((reply) => !reply.ok)).toEqual([]);
    const table = new Registry(dir.path).peek();
    expect(names(table).toSorted()).toEqual(
      Array.from({ length: 20 }, (_, n) => `p${n}`).toSorted(),
    );
    for (const [n, pod] of crowd(20).entries()) expect(one(table, `p${n}`).pid).toBe(pod.pid);
  });

  test.each([2, 12, 32])(
    "ask for one region: one of %p gets it, all others name it (18)",
    async (count) => {
      await using dir = temp();
      const replies = await Promise.all(
        crowd(count).map((pod, n) =>
          pod.ask({
            op: "join",
            base: dir.path,
            name: `p${n}`,
            allow: [rule(n % 2 === 0 ? "/p" : "/p/x")],
          }),
        ),
      );
      const winners = replies.flatMap((reply, n) => (reply.ok ? [`p${n}`] : []));
      expect(winners).toHaveLength(1);
      expect(names(new Registry(dir.path).peek())).toEqual(winners);
      for (const reply of replies.filter(isRefused)) {
        expect(reply.code).toBe("write_conflict");
        expect(reply.message).toContain(`conflicts with pod \`${winners[0]}\``);
      }
      // The losers left no directory, the winner has its own.
      const left = Array.from({ length: count }, (_, n) => `p${n}`).filter((name) =>
        existsSync(dir.join(name)),
      );
      expect(left).toEqual(winners);
    },
  );

  test("ask for one name: one gets it, and its directory stays whole", async () => {
    await using dir = temp();
    const replies = await Promise.all(
      crowd(12).map((pod, n) =>
        pod.ask({
          op: "join",
          base: dir.path,
          name: "same",
          instance: `i${n}`,
          allow: [rule(`/w/${n}`)],
        }),
      ),
    );
    const winners = replies.flatMap((reply, n) => (reply.ok ? [`i${n}`] : []));
    expect(winners).toHaveLength(1);
    expect(replies.filter(isRefused).map((reply) => reply.code)).toEqual(
      Array(11).fill("duplicate_name"),
    );
    const record = JSON.parse(
      readFileSync(dir.join("same", "allocation.json"), "utf8"),
    ) as Allocation;
    expect([record.instance]).toEqual(winners);
    expect(one(new Registry(dir.path).peek(), "same").instance).toBe(record.instance);
  });
});

const isRefused = (reply: Reply): reply is Extract<Reply, { ok: false }> => !reply.ok;

describe("one process", () => {
  test("lets its event loop turn between operations in a row", async () => {
    await using dir = temp();
    const registry = new Registry(dir.path);
    let turns = 0;
    const turn = (): void => {
      turns += 1;
      immediate = setImmediate(turn);
    };
    let immediate = setImmediate(turn);
    const calls = Array.from({ length: 20 }, (_, n) => register(registry, `a${n}`, `/${n}`));
    await within(Promise.all(calls), DEADLINE_MS, "twenty operations at once");
    for (let n = 20; n < 40; n += 1) await register(registry, `a${n}`, `/${n}`);
    clearImmediate(immediate);
    expect(turns).toBeGreaterThanOrEqual(39);
  });

  test("runs two registrations at once without a deadlock, through one registry or two (19)", async () => {
    await using dir = temp();
    const registry = new Registry(dir.path);
    const both = [register(registry, "a", "/a"), register(registry, "b", "/b")];
    const other = register(new Registry(dir.path), "c", "/c");
    await within(Promise.all([...both, other]), DEADLINE_MS, "three registrations");
    expect(names(registry.peek()).toSorted()).toEqual(["a", "b", "c"]);
  });

  test("goes on after an operation that failed", async () => {
    await using dir = temp();
    const registry = new Registry(dir.path);
    const calls = [
      register(registry, "a", "/a"),
      rejection(register(registry, "b", "/a/x")),
      register(registry, "c", "/c"),
    ];
    await within(Promise.all(calls), DEADLINE_MS, "three operations");
    expect(names(registry.peek())).toEqual(["a", "c"]);
  });

  test("has the lock to itself for the whole work and no longer", async () => {
    await using dir = temp();
    const path = dir.join("lock");
    const lock = new RegistryLock(path);
    const order: string[] = [];
    await Promise.all([
      lock.hold(() => order.push("first")),
      lock.hold(() => order.push("second")),
    ]);
    expect(order).toEqual(["first", "second"]);
    await using other = await actor();
    expect(await other.tell({ op: "grab", path })).toBe("taken");
  });
});

test("a process started while the lock is held does not keep it (20)", async () => {
  await using dir = temp();
  const path = dir.join("lock");
  const heir = await new RegistryLock(path).hold(() =>
    Bun.spawn(["sleep", "1000"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" }),
  );
  try {
    await using other = await actor();
    expect(await other.tell({ op: "grab", path })).toBe("taken");
  } finally {
    heir.kill("SIGKILL");
    await heir.exited;
  }
});

describe("a lock file that is removed or replaced", () => {
  test("while an operation waits is not waited for: the named file counts", async () => {
    await using dir = temp();
    await using holder = await actor();
    const { lock } = tablePaths(dir.path);
    await holder.tell({ op: "grab", path: lock });
    using loop = ticks();
    const registered = register(new Registry(dir.path), "a", "/p");
    await loop.pass(5);
    unlinkSync(lock);
    await within(registered, DEADLINE_MS, "the registration");
    // And whoever locks the file of that name now has it: the operation let it go.
    await using other = await actor();
    expect(await other.tell({ op: "grab", path: lock })).toBe("taken");
  });

  test("while it is held, between opening and locking, is tried again", async () => {
    await using dir = temp();
    await using holder = await actor();
    const { lock } = tablePaths(dir.path);
    await holder.tell({ op: "grab", path: lock });
    renameSync(lock, `${lock}.old`);
    writeFileSync(lock, "");
    await using second = await actor();
    await second.tell({ op: "grab", path: lock });
    using loop = ticks();
    let done = false;
    const registered = register(new Registry(dir.path), "a", "/p").then(() => (done = true));
    await loop.pass(5);
    expect(done).toBe(false); // the new file is held, the old one does not matter
    await second.tell({ op: "drop", path: lock });
    await within(registered, DEADLINE_MS, "the registration");
  });

  test("makes a holder that was stopped meanwhile fail without writing", async () => {
    await using dir = temp();
    await using stopped = await actor();
    const { lock } = tablePaths(dir.path);
    // Reading from a pipe blocks the process under the lock for as long as we like.
    const pipe = dir.join("pipe");
    await Bun.$`mkfifo ${pipe}`.quiet();
    const registering = stopped.ask({
      op: "register",
      base: dir.path,
      name: "late",
      allow: [rule("/late")],
      blockOn: pipe,
    });
    // Opening for writing succeeds as soon as somebody reads.
    const script = `exec 3>${pipe}; echo open; read go`;
    await using writer = disposable(
      Bun.spawn(["sh", "-c", script], { stdin: "pipe", stdout: "pipe", stderr: "ignore" }),
    );
    const opened = await within(
      writer.child.stdout.getReader().read(),
      DEADLINE_MS,
      "the process to read the pipe",
    );
    expect(new TextDecoder().decode(opened.value)).toBe("open\n");
    // A person gives up waiting and removes the lock; others go on.
    unlinkSync(lock);
    await register(new Registry(dir.path), "live", "/live");
    writer.child.stdin.write("go\n");
    await writer.child.stdin.flush();
    const reply = await registering;
    expect(reply).toMatchObject({ ok: false, code: "registry_locked" });
    expect(names(new Registry(dir.path).peek())).toEqual(["live"]);
  });

  test("cannot be a link to somewhere else", async () => {
    await using dir = temp();
    await Bun.$`ln -s ${dir.join("elsewhere")} ${tablePaths(dir.path).lock}`.quiet();
    const error = await rejection(register(new Registry(dir.path), "a", "/p"));
    expect(error.code).toBe("io");
    expect(error.message).toStartWith("I/O error on pods.json: ");
    expect(error.message).toContain("pods.lock");
    expect(existsSync(dir.join("elsewhere"))).toBe(false);
  });

  test("is an error that names it when it cannot be a file", async () => {
    await using dir = temp();
    mkdirSync(tablePaths(dir.path).lock);
    const error = await rejection(register(new Registry(dir.path), "a", "/p"));
    expect(error.message).toContain(tablePaths(dir.path).lock);
  });
});

function disposable<Child extends Bun.Subprocess>(child: Child) {
  return {
    child,
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
