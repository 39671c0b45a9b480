import { describe, expect, test } from "bun:test";
import { WakeBudget } from "../../src/controller/wake-budget.ts";

describe("the budget of runs that notices may start (W59)", () => {
  test("allows a burst, then one run for each step of time", () => {
    const budget = new WakeBudget(0, 3, 1000);
    for (let n = 0; n < 3; n += 1) {
      expect(budget.waitMs(0)).toBe(0);
      budget.spend(0);
    }
    expect(budget.waitMs(0)).toBe(1000);
    expect(budget.waitMs(400)).toBe(600);
    expect(budget.waitMs(1000)).toBe(0);
    budget.spend(1000);
    expect(budget.waitMs(1000)).toBe(1000);
    expect(budget.waitMs(2000)).toBe(0);
  });

  test("is full again after a while and no fuller", () => {
    const budget = new WakeBudget(0, 2, 1000);
    budget.spend(0);
    budget.spend(0);
    for (let n = 0; n < 2; n += 1) {
      expect(budget.waitMs(60_000)).toBe(0);
      budget.spend(60_000);
    }
    expect(budget.waitMs(60_000)).toBe(1000);
  });

  test("keeps the part of a step that has passed", () => {
    const budget = new WakeBudget(0, 1, 1000);
    budget.spend(900);
    expect(budget.waitMs(900)).toBe(100);
  });
});
