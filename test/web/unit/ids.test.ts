import { expect, test } from "vitest";
import { ascendingIds, randomId } from "../../../fixtures/todo/web/ids.js";

const ascends = (ids: string[]) => ids.every((id, at) => at === 0 || ids[at - 1]! < id);

test("random ids are as long as asked, of the alphabet, and not the same twice", () => {
  const ids = Array.from({ length: 1_000 }, () => randomId(8));
  expect(ids.every((id) => /^[\w-]{8}$/.test(id))).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
});

test("ids that are made in one millisecond ascend", () => {
  const next = ascendingIds(() => 1_763_690_400_000);
  const ids = Array.from({ length: 1_000 }, next);
  expect(ids.every((id) => /^[\w-]{16}$/.test(id))).toBe(true);
  expect(ascends(ids)).toBe(true);
});

test("ids ascend over each carry of the time, and over a clock that goes back", () => {
  for (const start of [63, 64 ** 2 - 1, 64 ** 7 - 1]) {
    const times = [start, start + 1, start - 60, start + 64];
    const next = ascendingIds(() => times.shift()!);
    expect(ascends(Array.from({ length: 4 }, next))).toBe(true);
  }
});

test("two pages that write in the same millisecond make different ids", () => {
  const [ann, bob] = [ascendingIds(() => 7), ascendingIds(() => 7)];
  expect(ann()).not.toBe(bob());
});
