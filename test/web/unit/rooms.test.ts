import { expect, test } from "vitest";
import { linkTo, roomOf, visit } from "../../../fixtures/todo/web/rooms.js";

/** A browser's storage in memory. */
function storage(content: Record<string, string> = {}): () => Storage {
  const held = new Map(Object.entries(content));
  return () => ({ getItem: (key: string) => held.get(key) ?? null, setItem: (key: string, value: string) => void held.set(key, value) }) as Storage;
}

test.each(["kitchen", "a b&c=d#e?f", "50%", "שלום", "+", "tom's/room"])("the link to %j leads to it", (room) => {
  expect(roomOf(linkTo(room, "https://den.test/page?room=other&x=1#done"))).toBe(room);
});

test("a link is of the same page, and of the room alone", () => {
  expect(linkTo("kitchen", "https://den.test/page?room=other&x=1#done")).toBe("https://den.test/page?room=kitchen");
});

test.each(["https://den.test/", "https://den.test/?room="])("%s is the default room", (address) => {
  expect(roomOf(address)).toBe("default");
});

test("the rooms that were visited are offered, each once, the last first", () => {
  const held = storage();
  expect(visit("a", held)).toEqual([]);
  expect(visit("b", held)).toEqual(["a"]);
  expect(visit("a", held)).toEqual(["b"]);
  expect(visit("c", held)).toEqual(["a", "b"]);
});

test("no more than eight are remembered", () => {
  const held = storage();
  for (let at = 1; at <= 12; at++) visit(`room ${at}`, held);
  expect(visit("another", held)).toEqual([12, 11, 10, 9, 8, 7, 6, 5].map((at) => `room ${at}`));
});

test("a name that no server takes is not remembered", () => {
  const held = storage();
  visit("ä".repeat(128), held);
  visit("ä".repeat(129), held);
  expect(visit("a", held)).toEqual(["ä".repeat(128)]);
});

test.each(["", "{", "null", "7", '{"a":1}', "[1,null]"])("a storage that holds %j is as good as an empty one", (content) => {
  const held = storage({ "den.rooms": content });
  expect(visit("a", held)).toEqual([]);
  expect(visit("b", held)).toEqual(["a"]);
});

test("a browser without a storage remembers nothing", () => {
  const none = () => {
    throw new DOMException("switched off", "SecurityError");
  };
  expect(visit("a", none)).toEqual([]);
});
