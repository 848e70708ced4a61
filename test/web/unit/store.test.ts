import { describe, expect, test } from "vitest";
import {
  REPLY_TIMEOUT,
  act as actAll,
  countQueued,
  disconnected,
  empty,
  expire,
  receive,
  send,
  startSync,
  view,
  type Action,
  type Filter,
  type Row,
  type State,
} from "../../../fixtures/todo/web/store.js";

const row = (id: string, text: string, at: number, completed: 0 | 1 = 0): Row => [id, text, completed, at, at, null];
const tombstone = (id: string, at: number): Row => [id, "", 0, 1, 1, at];
const create = (id: string, text: string): Action => ({ type: "create", payload: { id, text, completed: 0 } });
const update = (id: string, text: string, completed: 0 | 1 = 0): Action => ({ type: "update", payload: { id, text, completed } });
const remove = (id: string): Action => ({ type: "delete", payload: { id } });

const act = (state: State, id: string, action: Action) => actAll(state, [{ id, action }]);
const sync = (payload: Row[], more?: true) => ({ sync: true, channel: "todos", payload, ...(more && { more }) });
const broadcast = (payload: Row[]) => ({ broadcast: true, type: "update", channel: "todos", payload });
const success = (id: string, result: Row[]) => ({ type: "success", rpc: true, channel: "todos", id, result });
const failure = (id: string, code: string, message: string) => ({ type: "error", rpc: true, channel: "todos", id, error: [message], code });

const after = (state: State, ...messages: unknown[]) => messages.reduce<State>((held, message) => receive(held, message).state, state);
const synced = (...rows: Row[]) => after(startSync(empty()).state, sync(rows));
const texts = (state: State, filter: Filter = "all") => view(state, filter).items.map((item) => item.text);
const marks = (state: State) => view(state, "all").items.map((item) => item.mark);

describe("sync", () => {
  test("an empty store asks for the whole list", () => {
    expect(startSync(empty()).frame).toEqual({ channel: "todos", sync: true, from: null });
  });

  test("it goes on from the highest stamp, a tombstone's included", () => {
    const state = after(synced(row("a", "one", 5)), broadcast([tombstone("b", 9)]), broadcast([row("c", "three", 7)]));
    expect(startSync(state).frame.from).toBe(9);
  });

  test("pages add up, and the list counts as synced after the last one", () => {
    const half = after(startSync(empty()).state, sync([row("a", "one", 1)], true));
    expect(half.synced).toBe(false);
    const whole = after(half, sync([row("b", "two", 2)]));
    expect(whole.synced).toBe(true);
    expect(texts(whole)).toEqual(["one", "two"]);
  });

  test("a whole snapshot drops the rows that are not in any of its pages", () => {
    const { state } = startSync(synced(row("a", "one", 1), row("b", "two", 2), row("c", "three", 3)), null);
    const half = after(state, sync([row("a", "one", 1)], true));
    expect(texts(half)).toEqual(["one", "two", "three"]);
    expect(texts(after(half, sync([row("c", "three", 3)])))).toEqual(["one", "three"]);
  });

  test("a row that is made while a snapshot comes in stays", () => {
    const { state } = startSync(synced(row("a", "one", 1)), null);
    expect(texts(after(state, sync([], true), broadcast([row("n", "new", 9)]), sync([])))).toEqual(["new"]);
  });

  test("a sync from a stamp keeps what it does not mention, and drops tombstones", () => {
    const { state } = startSync(synced(row("a", "one", 1), row("b", "two", 2)));
    expect(texts(after(state, sync([tombstone("a", 8), row("c", "three", 7)])))).toEqual(["two", "three"]);
  });

  test("a lost socket ends a snapshot without dropping anything", () => {
    const half = after(startSync(synced(row("a", "one", 1), row("b", "two", 2)), null).state, sync([row("a", "one", 1)], true));
    expect(texts(disconnected(half))).toEqual(["one", "two"]);
    expect(disconnected(half).snapshot).toBeNull();
  });
});

describe("broadcasts", () => {
  test("rows are added, replaced and dropped", () => {
    const state = after(synced(row("a", "one", 1), row("b", "two", 2)), broadcast([row("a", "ONE", 1), tombstone("b", 3), row("c", "three", 3)]));
    expect(texts(state)).toEqual(["ONE", "three"]);
  });

  test("delete-all empties the list", () => {
    expect(texts(after(synced(row("a", "one", 1)), { broadcast: true, type: "delete-all", channel: "todos" }))).toEqual([]);
  });

  test("the later message wins, even where its clock is behind", () => {
    expect(texts(after(synced(row("a", "new", 9)), broadcast([["a", "newer", 0, 9, 4, null]])))).toEqual(["newer"]);
  });

  test.each([null, 7, "text", [], {}, { channel: "others", broadcast: true, type: "update", payload: [row("x", "x", 1)] }, sync(null as never), { type: "presence", channel: "todos" }])(
    "%j changes nothing that is drawn",
    (message) => {
      const state = synced(row("a", "one", 1));
      const step = receive(state, message);
      expect(texts(step.state)).toEqual(["one"]);
      expect(step.effects).toEqual([]);
    },
  );
});

describe("actions", () => {
  test("are drawn at once, marked, after what is confirmed", () => {
    const state = act(synced(row("z", "old", 1)), "1", create("a", "mine"));
    expect(texts(state)).toEqual(["old", "mine"]);
    expect(marks(state)).toEqual(["", "queued"]);
    expect(marks(send(state, 0).state)).toEqual(["", "sending"]);
  });

  test("lie over each other in the order they were made", () => {
    let state = synced(row("a", "one", 1));
    state = act(state, "1", update("a", "two"));
    state = act(state, "2", update("a", "three", 1));
    expect(view(state, "all").items).toEqual([{ id: "a", text: "three", completed: true, mark: "queued" }]);
    expect(texts(act(state, "3", remove("a")))).toEqual([]);
  });

  test("are sent once, in order, under their ids", () => {
    const state = act(act(empty(), "1", create("a", "one")), "2", remove("a"));
    const first = send(state, 50);
    expect(first.frames).toEqual([
      { id: "1", channel: "todos", rpc: true, action: create("a", "one") },
      { id: "2", channel: "todos", rpc: true, action: remove("a") },
    ]);
    expect(send(first.state, 60).frames).toEqual([]);
  });

  test("go away with their reply, whose rows take their place", () => {
    const { state } = send(act(synced(), "1", create("a", "mine")), 0);
    const answered = after(state, success("1", [row("a", "mine", 4)]));
    expect(answered.pending).toEqual([]);
    expect(view(answered, "all").items).toEqual([{ id: "a", text: "mine", completed: false, mark: "" }]);
  });

  test("an update of a row that somebody deleted is not drawn", () => {
    const state = act(synced(row("a", "one", 1)), "1", update("a", "two"));
    expect(texts(after(state, broadcast([tombstone("a", 2)])))).toEqual([]);
  });

  test("a broadcast under an action does not show through it", () => {
    const state = act(synced(row("a", "one", 1)), "1", update("a", "mine"));
    const changed = after(state, broadcast([row("a", "theirs", 2)]));
    expect(texts(changed)).toEqual(["mine"]);
    expect(texts(after(send(changed, 0).state, failure("1", "x", "no")))).toEqual(["theirs"]);
  });
});

describe("a refusal", () => {
  test("takes the change back and brings the server's words", () => {
    const { state } = send(act(synced(row("a", "one", 1)), "1", update("a", "")), 0);
    const step = receive(state, failure("1", "text_empty", "Write something."));
    expect(texts(step.state)).toEqual(["one"]);
    expect(step.effects).toMatchObject([{ kind: "failed", code: "text_empty", message: "Write something.", pending: { id: "1" } }]);
  });

  test("of a create takes what waited for the new todo with it, and nothing else", () => {
    let { state } = send(act(synced(row("z", "old", 1)), "1", create("a", "mine")), 0);
    state = act(act(state, "2", update("a", "mine too", 1)), "3", update("z", "old too"));
    expect(after(state, failure("1", "text_too_long", "no")).pending.map((p) => p.id)).toEqual(["3"]);
  });

  test("of something unknown is ignored", () => {
    expect(receive(synced(), failure("7", "x", "no")).effects).toEqual([]);
  });

  test("errors of the room stay until the next answered sync, and leave the list alone", () => {
    const state = after(synced(row("a", "one", 1)), { error: { code: "room_unavailable", message: "Try later." } });
    expect(state.trouble).toEqual({ code: "room_unavailable", message: "Try later." });
    expect(texts(state)).toEqual(["one"]);
    expect(after(startSync(state).state, sync([])).trouble).toBeNull();
  });

  test("unreadable frames are reported", () => {
    expect(receive(empty(), { type: "exception", rpc: true, exception: ["bad frame"], code: "bad_message" }).effects).toEqual([
      { kind: "trouble", code: "bad_message", message: "bad frame" },
    ]);
  });
});

describe("time", () => {
  test("an action without a reply is taken back after ten seconds, not before", () => {
    const { state } = send(act(synced(), "1", create("a", "mine")), 1_000);
    expect(expire(state, 1_000 + REPLY_TIMEOUT - 1)).toEqual({ state, effects: [] });
    const step = expire(state, 1_000 + REPLY_TIMEOUT);
    expect(texts(step.state)).toEqual([]);
    expect(step.effects).toMatchObject([{ kind: "failed", code: "timeout", message: "The server did not answer within 10 seconds, so the change was undone." }]);
  });

  test("an action that waits for a connection waits as long as it takes", () => {
    const state = act(synced(), "1", create("a", "mine"));
    expect(expire(state, 1e12)).toEqual({ state, effects: [] });
  });

  test("a reply that comes too late still counts", () => {
    const { state } = send(act(synced(), "1", create("a", "mine")), 0);
    expect(texts(after(expire(state, REPLY_TIMEOUT).state, success("1", [row("a", "mine", 4)])))).toEqual(["mine"]);
  });
});

describe("after a lost socket", () => {
  /** An action that was sent twice, the second time after `missed` came in. */
  function resent(action: Action, held: Row[], ...missed: Row[]): State {
    const sent = send(act(synced(...held), "1", action), 0).state;
    const back = after(startSync(disconnected(sent)).state, sync(missed));
    const again = send(back, 5_000);
    expect(again.frames).toEqual([{ id: "1", channel: "todos", rpc: true, action }]);
    return again.state;
  }

  test("what was not answered waits again, under the same id", () => {
    const { state } = send(act(synced(), "1", create("a", "mine")), 0);
    expect(countQueued(state)).toBe(0);
    expect(countQueued(disconnected(state))).toBe(1);
    expect(marks(disconnected(state))).toEqual(["queued"]);
  });

  test("a first answer to a repeated action is taken", () => {
    const step = receive(resent(create("a", "mine"), [row("z", "old", 1)]), success("1", [row("a", "mine", 5)]));
    expect(texts(step.state)).toEqual(["old", "mine"]);
    expect(step.effects).toEqual([]);
  });

  test("a stored reply does not undo what happened since", () => {
    const state = resent(create("a", "mine"), [], ["a", "edited elsewhere", 1, 5, 9, null]);
    const step = receive(state, success("1", [row("a", "mine", 5)]));
    expect(texts(step.state)).toEqual(["edited elsewhere"]);
    expect(step.state.pending).toEqual([]);
  });

  test("a stored reply does not bring a deleted todo back, and the doubt is settled by a whole sync", () => {
    const state = resent(create("a", "mine"), [], tombstone("a", 9));
    const step = receive(state, success("1", [row("a", "mine", 5)]));
    expect(texts(step.state)).toEqual([]);
    expect(step.effects).toEqual([{ kind: "resync" }]);
  });

  test("a stored reply that says what is known already asks for nothing", () => {
    expect(receive(resent(create("a", "mine"), [], row("a", "mine", 5)), success("1", [row("a", "mine", 5)])).effects).toEqual([]);
    expect(receive(resent(remove("a"), [row("a", "one", 1)], tombstone("a", 5)), success("1", [tombstone("a", 5)])).effects).toEqual([]);
  });
});

describe("the view", () => {
  test("is ordered by age, then by id", () => {
    expect(texts(synced(row("b", "second", 5), row("a", "first", 5), row("z", "oldest", 1)))).toEqual(["oldest", "first", "second"]);
  });

  test("filters what is listed, not what is counted", () => {
    const state = synced(row("a", "one", 1), row("b", "two", 2, 1), row("c", "three", 3));
    expect(texts(state, "active")).toEqual(["one", "three"]);
    expect(texts(state, "done")).toEqual(["two"]);
    expect(view(state, "done")).toMatchObject({ left: 2, done: 1, total: 3 });
  });
});
