import { expect, test } from "bun:test";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { within } from "../support/temp.ts";
import { rule } from "./support.ts";

const base = { allow: [rule("write", "/w")], deny: [rule("write", "/w/fixed")] };

test("the delegated layer takes writing away and leaves reading", () => {
  const scope = new LiveScope(base);
  scope.setDelegated([rule("write", "/w/sub")]);
  expect(scope.accessTo("/w/sub/a")).toBe("read");
  expect(scope.accessTo("/w/subway")).toBe("write");
  expect(scope.delegated).toEqual([rule("write", "/w/sub")]);
});

test("read grants of children take nothing away", () => {
  const scope = new LiveScope(base);
  scope.setDelegated([rule("read", "/w/sub")]);
  expect(scope.delegated).toEqual([]);
  expect(scope.accessTo("/w/sub")).toBe("write");
});

test("the delegated layer is replaced as a whole and base denies stay", () => {
  const scope = new LiveScope(base);
  scope.setDelegated([rule("write", "/w/a"), rule("write", "/w/fixed")]);
  scope.setDelegated([rule("write", "/w/b")]);
  expect(scope.accessTo("/w/a")).toBe("write");
  expect(scope.accessTo("/w/b")).toBe("read");
  scope.setDelegated([]);
  expect(scope.accessTo("/w/b")).toBe("write");
  expect(scope.accessTo("/w/fixed")).toBe("read");
});

test("a snapshot does not change", () => {
  const scope = new LiveScope(base);
  const before = scope.current();
  scope.setDelegated([rule("write", "/w")]);
  expect(before.deny).toEqual(base.deny);
  expect(scope.current().deny).toEqual([...base.deny, rule("write", "/w")]);
});

test("internal rules grant reading only, and a deny rule wins over them", () => {
  const scope = new LiveScope({ ...base, deny: [rule("read", "/run/secret")] });
  scope.addRead(rule("read", "/run"));
  expect(scope.accessTo("/run/log")).toBe("read");
  expect(scope.accessTo("/run/secret/x")).toBe("none");
  expect(() => scope.addRead(rule("write", "/etc"))).toThrow("must be a read rule");
});

test("exclusive tasks run one after another in order of arrival, also after a failure", async () => {
  const scope = new LiveScope(base);
  const log: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = scope.exclusive(async () => {
    log.push("first begins");
    await gate.promise;
    log.push("first ends");
  });
  const second = scope.exclusive(async () => {
    log.push("second");
    throw new Error("second fails");
  });
  const third = scope.exclusive(async () => log.push("third"));
  gate.resolve();
  await within(first, 5000, "first");
  await expect(second).rejects.toThrow("second fails");
  await within(third, 5000, "third");
  expect(log).toEqual(["first begins", "first ends", "second", "third"]);
});

test("a writer from outside counts where its own scope lets it write, until nothing of it is left", async () => {
  const scope = new LiveScope(base);
  const ended = Promise.withResolvers<boolean>();
  const writer = { scope: scope.current(), label: "make", lasting: false, ended: ended.promise };
  scope.addWriter(writer);
  const busy = (permission: "read" | "write", target: string): boolean =>
    scope.writersIn([rule(permission, target)]).includes(writer);
  expect([busy("write", "/w/a"), busy("write", "/"), busy("read", "/w/a")]).toEqual([
    true,
    true,
    false,
  ]);
  expect([busy("write", "/w/fixed/x"), busy("write", "/other")]).toEqual([false, false]);
  // What was handed away later does not bind a writer that was there before.
  scope.setDelegated([rule("write", "/w/a")]);
  expect(busy("write", "/w/a")).toBe(true);
  ended.resolve(true);
  await ended.promise;
  expect(busy("write", "/w/a")).toBe(false);
  scope.addWriter({ ...writer, ended: Promise.resolve(false) });
  await Promise.resolve();
  expect(scope.writersIn([rule("write", "/w/a")])).toHaveLength(1);
});
