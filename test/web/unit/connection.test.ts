import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { backoff, connect, isFinal, type Status } from "../../../fixtures/todo/web/connection.js";
import { FakeSocket } from "../support/fakesocket.ts";

function open() {
  const statuses: Status[] = [];
  const calls = { open: 0, lost: 0, missed: 0, messages: [] as string[] };
  const connection = connect({
    url: "ws://den.test/parties/todos/default",
    WebSocket: FakeSocket.asWebSocket,
    onOpen: () => void calls.open++,
    onLost: () => void calls.lost++,
    onMissed: () => void calls.missed++,
    onMessage: (data) => void calls.messages.push(data),
    onStatus: (status) => void statuses.push(status),
    random: () => 1,
  });
  return { connection, statuses, calls, socket: () => FakeSocket.made.at(-1)! };
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the delay before a try", () => {
  test("doubles up to fifteen seconds, and half of it is chance", () => {
    expect([0, 1, 2, 3, 4, 5, 60].map((failures) => backoff(failures, () => 1))).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000]);
    expect([0, 60].map((failures) => backoff(failures, () => 0))).toEqual([250, 7500]);
  });

  test("is not for codes that say not to come back", () => {
    expect([1006, 1011, 4000, 4499, 4500, 4999].map(isFinal)).toEqual([false, false, false, false, true, true]);
  });
});

describe("a connection", () => {
  test("opens, says so, and comes back after a loss", () => {
    const { statuses, calls, socket } = open();
    socket().onopen?.();
    socket().onmessage?.({ data: "{}" });
    socket().onclose?.({ code: 1006, reason: "" });
    expect(statuses).toEqual([{ name: "connecting" }, { name: "open" }, { name: "waiting", retryAt: Date.now() + 500 }]);
    expect(calls).toEqual({ open: 1, lost: 1, missed: 0, messages: ["{}"] });
    vi.advanceTimersByTime(499);
    expect(FakeSocket.made).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("waits longer each time, also when sockets open and die at once, and starts over after a steady one", () => {
    const { statuses, socket } = open();
    const waits: number[] = [];
    for (const lived of [0, 0, 100, 6_000, 0]) {
      socket().onopen?.();
      vi.advanceTimersByTime(lived);
      socket().onclose?.({ code: 1011, reason: "" });
      const last = statuses.at(-1)!;
      const wait = last.name === "waiting" ? last.retryAt - Date.now() : NaN;
      waits.push(wait);
      vi.advanceTimersByTime(wait);
    }
    expect(waits).toEqual([500, 1000, 2000, 500, 1000]);
  });

  test("gives up a socket that does not open in ten seconds", () => {
    const { calls, statuses, socket } = open();
    const first = socket();
    vi.advanceTimersByTime(10_000);
    expect(first.closed).toBe(true);
    expect(statuses.at(-1)?.name).toBe("waiting");
    expect(calls).toMatchObject({ lost: 0, missed: 1 });
  });

  test("does not come back from a final code until it is asked to", () => {
    const { connection, statuses, socket } = open();
    socket().onopen?.();
    socket().onclose?.({ code: 4501, reason: "sign in" });
    expect(statuses.at(-1)).toEqual({ name: "refused", reason: "sign in" });
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.made).toHaveLength(1);
    connection.retryNow();
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("that is refused tries no more until it is asked to", () => {
    const { connection, statuses, socket } = open();
    socket().onclose?.({ code: 1006, reason: "" });
    connection.refuse("a bad name");
    expect(statuses.at(-1)).toEqual({ name: "refused", reason: "a bad name" });
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.made).toHaveLength(1);
    connection.retryNow();
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("retryNow cuts a wait short, and leaves a socket alone", () => {
    const { connection, socket } = open();
    connection.retryNow();
    expect(FakeSocket.made).toHaveLength(1);
    socket().onclose?.({ code: 1006, reason: "" });
    connection.retryNow();
    expect(FakeSocket.made).toHaveLength(2);
    vi.advanceTimersByTime(9_000);
    expect(FakeSocket.made).toHaveLength(2);
  });

  test("a dropped socket is not heard any more", () => {
    const { connection, calls, statuses, socket } = open();
    const first = socket();
    first.onopen?.();
    connection.drop();
    expect(first).toMatchObject({ closed: true, onopen: null, onmessage: null, onclose: null });
    expect(statuses.at(-1)?.name).toBe("waiting");
    expect(calls.lost).toBe(1);
  });
});
