import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { join, type Notice } from "../../../fixtures/todo/web/session.js";
import { view, type Action, type Row } from "../../../fixtures/todo/web/store.js";
import { FakeSocket } from "../support/fakesocket.ts";

const create = (id: string): Action => ({ type: "create", payload: { id, text: id, completed: 0 } });
const row = (id: string, at: number): Row => [id, id, 0, at, at, null];
const sync = (...payload: Row[]) => ({ sync: true, channel: "todos", payload });

function start() {
  const notices: Notice[] = [];
  const session = join({ url: "ws://den.test/", WebSocket: FakeSocket.asWebSocket, onChange: () => {}, onNotice: (notice) => void notices.push(notice) });
  const texts = () => view(session.state, "all").items.map((item) => item.text);
  return { session, notices, texts };
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
});

test("it is live when its first sync is answered, and connecting until then", () => {
  const { session } = start();
  expect(session.liveness.name).toBe("connecting");
  FakeSocket.last.onopen?.();
  expect(session.liveness.name).toBe("connecting");
  FakeSocket.last.says({ ...sync(row("a", 1)), more: true });
  expect(session.liveness.name).toBe("connecting");
  FakeSocket.last.says(sync(row("b", 2)));
  expect(session.liveness.name).toBe("live");
  FakeSocket.last.onclose?.({ code: 1001, reason: "server is shutting down" });
  expect(session.liveness.name).toBe("waiting");
});

test("a new socket is asked to sync first, then gets what waits", () => {
  const { session } = start();
  session.do(create("a"), create("b"));
  expect(FakeSocket.last.sent).toEqual([]);
  FakeSocket.last.onopen?.();
  expect(FakeSocket.last.sent).toMatchObject([{ sync: true, from: null }, { rpc: true, action: create("a") }, { rpc: true, action: create("b") }]);
  session.do(create("c"));
  expect(FakeSocket.last.sent).toHaveLength(4);
});

test("after a reconnect it goes on from its stamp, and repeats only what was not answered", () => {
  const { session, texts } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says(sync(row("a", 7)));
  session.do(create("b"), create("c"));
  const [, b, c] = FakeSocket.last.sent as { id: string }[];
  FakeSocket.last.says({ type: "success", rpc: true, channel: "todos", id: b!.id, result: [row("b", 8)] });
  FakeSocket.last.onclose?.({ code: 1006, reason: "" });
  vi.advanceTimersByTime(500);
  FakeSocket.last.onopen?.();
  expect(FakeSocket.made).toHaveLength(2);
  expect(FakeSocket.last.sent).toEqual([{ channel: "todos", sync: true, from: 8 }, c]);
  expect(texts()).toEqual(["a", "b", "c"]);
});

test("a doubtful stored reply makes it ask for the whole list", () => {
  const { session, texts } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says(sync());
  session.do(create("a"));
  FakeSocket.last.onclose?.({ code: 1006, reason: "" });
  vi.advanceTimersByTime(500);
  FakeSocket.last.onopen?.();
  const { id } = FakeSocket.last.sent[1] as { id: string };
  FakeSocket.last.says({ broadcast: true, type: "update", channel: "todos", payload: [["a", "a", 0, 3, 3, 9]] });
  FakeSocket.last.says(sync());
  FakeSocket.last.says({ type: "success", rpc: true, channel: "todos", id, result: [row("a", 3)] });
  expect(FakeSocket.last.sent.at(-1)).toEqual({ channel: "todos", sync: true, from: null });
  FakeSocket.last.says(sync(row("z", 2)));
  expect(texts()).toEqual(["z"]);
});

test("an action without an answer is undone after ten seconds, and a silent socket is given up", () => {
  const { session, notices, texts } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says(sync());
  session.do(create("a"));
  vi.advanceTimersByTime(9_999);
  expect(texts()).toEqual(["a"]);
  vi.advanceTimersByTime(1);
  expect(texts()).toEqual([]);
  expect(notices).toMatchObject([{ kind: "failed", code: "timeout" }]);
  const silent = FakeSocket.last;
  vi.advanceTimersByTime(4_999);
  expect(silent.closed).toBe(false);
  vi.advanceTimersByTime(1);
  expect(silent.closed).toBe(true);
  expect(session.liveness.name).toBe("waiting");
});

test("a checked socket that answers is kept", () => {
  const { session } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says(sync());
  session.check();
  expect(FakeSocket.last.sent).toHaveLength(2);
  FakeSocket.last.says(sync());
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.made).toHaveLength(1);
  expect(session.liveness.name).toBe("live");
});

test("a frame that is not JSON is ignored", () => {
  const { session, notices } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says("{");
  FakeSocket.last.says(sync(row("a", 1)));
  expect(session.liveness.name).toBe("live");
  expect(notices).toEqual([]);
});
