import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { join, type Notice } from "../../../fixtures/todo/web/session.js";
import { view, type Action, type Row } from "../../../fixtures/todo/web/store.js";
import { FakeSocket } from "../support/fakesocket.ts";

const create = (id: string): Action => ({ type: "create", payload: { id, text: id, completed: 0 } });
const row = (id: string, at: number): Row => [id, id, 0, at, at, null];
const sync = (...payload: Row[]) => ({ sync: true, channel: "todos", payload });

/** The answer to a plain request, where a test expects one. */
const answers = (status: number, body: unknown, headers: Record<string, string> = {}) => async () => Response.json(body, { status, headers });
const noAnswer = () => Promise.reject(new Error("no plain request was expected"));

function start(fetch: typeof globalThis.fetch = noAnswer) {
  const notices: Notice[] = [];
  const session = join({ url: "ws://den.test/", WebSocket: FakeSocket.asWebSocket, fetch, onChange: () => {}, onNotice: (notice) => void notices.push(notice) });
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

test("a room that cannot be opened says why, until it can be", () => {
  const { session, notices } = start();
  const unavailable = { code: "storage_unavailable", message: "The room's storage cannot be opened." };
  FakeSocket.last.onopen?.();
  FakeSocket.last.says({ error: unavailable });
  FakeSocket.last.onclose?.({ code: 1011, reason: "storage_unavailable" });
  expect(session.state.trouble).toEqual(unavailable);
  vi.advanceTimersByTime(500);
  FakeSocket.last.onopen?.();
  expect(session.state.trouble).toEqual(unavailable);
  FakeSocket.last.says({ ...sync(), more: true });
  expect(session.state.trouble).toEqual(unavailable);
  FakeSocket.last.says(sync());
  expect(session.state.trouble).toBeNull();
  expect(notices).toEqual([]);
});

test.each([
  { why: "a refusal that may pass", answer: answers(503, { error: { code: "overloaded", message: "Full." } }, { "retry-after": "1" }), trouble: { code: "overloaded", message: "Full." }, then: "waiting" },
  { why: "a refusal for good", answer: answers(400, { error: { code: "bad_room_name", message: "Too long." } }), trouble: { code: "bad_room_name", message: "Too long." }, then: "refused" },
  { why: "no server", answer: () => Promise.reject(new TypeError("Failed to fetch")), trouble: { code: "unreachable" }, then: "waiting" },
  { why: "a room that would take the client", answer: answers(404, { error: { code: "not_found", message: "None." } }), trouble: { code: "no_socket" }, then: "waiting" },
  { why: "a gateway's own page", answer: async () => new Response("<h1>Bad gateway</h1>", { status: 502 }), trouble: { code: "no_socket" }, then: "waiting" },
])("after a handshake that failed a plain request tells the reason: $why", async ({ answer, trouble, then }) => {
  const fetch = vi.fn(answer);
  const { session } = start(fetch);
  FakeSocket.last.onclose?.({ code: 1006, reason: "" });
  await vi.waitFor(() => expect(session.state.trouble).toMatchObject(trouble));
  expect(fetch.mock.calls[0]).toMatchObject(["http://den.test/", {}]);
  expect(session.liveness.name).toBe(then);
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.made.length > 1).toBe(then === "waiting");
});

test("a page that has its list asks for no reason when it comes back in vain", () => {
  const fetch = vi.fn(noAnswer);
  const { session } = start(fetch);
  FakeSocket.last.onopen?.();
  FakeSocket.last.says(sync());
  FakeSocket.last.onclose?.({ code: 1006, reason: "" });
  vi.advanceTimersByTime(500);
  FakeSocket.last.onclose?.({ code: 1006, reason: "" });
  expect(session.liveness.name).toBe("waiting");
  expect(fetch).not.toHaveBeenCalled();
});

test("a sync that is refused is said, and asked for again on another socket", () => {
  const { session } = start();
  FakeSocket.last.onopen?.();
  const first = FakeSocket.last;
  first.says({ type: "exception", rpc: true, exception: ["The room has too much to do."], code: "overloaded", channel: "todos" });
  expect(first.closed).toBe(true);
  expect(session.liveness.name).toBe("waiting");
  expect(session.state.trouble).toEqual({ code: "overloaded", message: "The room has too much to do." });
  vi.advanceTimersByTime(500);
  FakeSocket.last.onopen?.();
  expect(FakeSocket.last.sent).toEqual([{ channel: "todos", sync: true, from: null }]);
});

test("a frame that is not JSON is ignored", () => {
  const { session, notices } = start();
  FakeSocket.last.onopen?.();
  FakeSocket.last.says("{");
  FakeSocket.last.says(sync(row("a", 1)));
  expect(session.liveness.name).toBe("live");
  expect(notices).toEqual([]);
});
