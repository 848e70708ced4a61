// An unmodified partysocket, with a client that behaves as partysync's React hook does, against a real den.

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { A_CURSOR, CHANNEL, Bare, commitOf, freshRoom, pageSession, stock } from "../support/clients.ts";
import { Den } from "../support/den.ts";
import { Proxy } from "../support/proxy.ts";
import { Profile } from "../support/stockclient.ts";
import type { Action, Row } from "../../../fixtures/todo/web/store.js";

const create = (id: string, text: string): Action => ({ type: "create", payload: { id, text, completed: 0 } });
const update = (id: string, text: string, completed: 0 | 1): Action => ({ type: "update", payload: { id, text, completed } });
const remove = (id: string): Action => ({ type: "delete", payload: { id } });

let den: Den;
beforeAll(async () => {
  den = await Den.start();
});
afterAll(() => den?.close());

async function proxied(): Promise<Proxy> {
  const proxy = await Proxy.before(den);
  onTestFinished(() => proxy.close());
  return proxy;
}

describe("the stock client", () => {
  test("sees its own rows as the contract has them", async () => {
    const client = stock(den, freshRoom());
    const before = Date.now();
    const [made] = await client.call(create("a", "Milk"));
    const [id, text, completed, createdAt, updatedAt, deletedAt] = made!;
    expect([id, text, completed, deletedAt]).toEqual(["a", "Milk", 0, null]);
    expect(made).toHaveLength(6);
    expect(Math.abs(createdAt - before)).toBeLessThan(60_000);
    expect(updatedAt).toBe(createdAt);

    const [changed] = await client.call(update("a", "Oat milk", 1));
    expect(changed!.slice(0, 4)).toEqual(["a", "Oat milk", 1, createdAt]);
    expect(changed![4]).toBeGreaterThanOrEqual(updatedAt);

    const [gone] = await client.call(remove("a"));
    expect(gone![0]).toBe("a");
    expect(gone![5]).toBeTypeOf("number");
    expect(client.rows).toEqual([]);
  });

  test("two of them converge", async () => {
    const room = freshRoom();
    const [one, two] = [stock(den, room), stock(den, room)];
    await Promise.all([one.call(create("a", "from one")), two.call(create("b", "from two")), one.call(create("c", "to go"))]);
    await expect.poll(() => two.texts).toEqual(["from one", "from two", "to go"]);
    await Promise.all([one.call(update("b", "from two, edited", 1)), two.call(remove("c"))]);
    for (const client of [one, two]) await expect.poll(() => client.texts).toEqual(["from one", "from two, edited"]);
    expect(one.rows).toEqual(two.rows);
  });

  test("a late one gets the live rows only", async () => {
    const room = freshRoom();
    const one = stock(den, room);
    for (const id of ["a", "b", "c"]) await one.call(create(id, id));
    await one.call(remove("b"));
    const late = stock(den, room);
    await expect.poll(() => late.received).toEqual([{ sync: true, channel: CHANNEL, payload: one.rows, cursor: A_CURSOR }]);
    expect(late.rows).toEqual(one.rows);
  });

  test("converges after a reconnect without asking for another sync", async () => {
    const room = freshRoom();
    const proxy = await proxied();
    const away = stock(proxy, room);
    const home = stock(den, room);
    for (const id of ["a", "b"]) await home.call(create(id, id));
    await expect.poll(() => away.texts).toEqual(["a", "b"]);

    proxy.cut();
    await home.call(remove("a"));
    await home.call(update("b", "b, edited", 1));
    await home.call(create("c", "c"));
    expect(away.texts).toEqual(["a", "b"]);

    proxy.mend();
    await expect.poll(() => away.texts).toEqual(["b, edited", "c"]);
    expect(away.rows).toEqual(home.rows);
    expect(away.syncsSent).toBe(1);
  });

  test("converges after the server was killed and started again", async () => {
    const own = await Den.start();
    onTestFinished(() => own.close());
    const room = freshRoom();
    const proxy = await Proxy.before(own);
    onTestFinished(() => proxy.close());
    const away = stock(proxy, room);
    const home = stock(own, room);
    for (const id of ["a", "b"]) await home.call(create(id, id));
    await expect.poll(() => away.texts).toEqual(["a", "b"]);

    proxy.cut();
    await home.call(remove("a"));
    await own.down("SIGKILL");
    await own.up();
    await expect.poll(() => home.texts).toEqual(["b"]);
    proxy.mend();
    await expect.poll(() => away.texts).toEqual(["b"]);
    await home.call(create("c", "after"));
    await expect.poll(() => away.texts).toEqual(["b", "after"]);
    expect([home.syncsSent, away.syncsSent]).toEqual([1, 1]);
  });

  test("an action that comes again, under its id and after a kill, is answered and not applied", async () => {
    const own = await Den.start();
    onTestFinished(() => own.close());
    const room = freshRoom();
    const [home, other] = [stock(own, room), stock(own, room)];
    const made = await home.call(create("a", "once"), "again001");
    await home.call(update("a", "edited since", 1));
    await own.down("SIGKILL");
    await own.up();
    expect(await home.call(create("a", "once"), "again001")).toEqual(made);
    for (const client of [home, other]) await expect.poll(() => client.texts).toEqual(["edited since"]);
    await home.call(remove("a"), "again002");
    await own.down("SIGKILL");
    await own.up();
    expect((await home.call(remove("a"), "again002"))[0]![0]).toBe("a");
    expect(await home.call(create("a", "once"), "again001")).toEqual(made);
    await home.call(create("b", "last"));
    for (const client of [home, other]) await expect.poll(() => client.texts).toEqual(["last"]);
    const withCursor = home.received.filter((message: any) => message.cursor) as any[]; // what it is sent when it comes back has none
    expect(commitOf(withCursor.at(-1).cursor)).toBe(4);
  });

  test("sends what it was told while it was away", async () => {
    const room = freshRoom();
    const proxy = await proxied();
    const away = stock(proxy, room);
    const home = stock(den, room);
    await away.call(create("a", "before"));
    proxy.cut();
    await expect.poll(() => away.socket.readyState).not.toBe(1);
    const made = away.call(create("b", "while away"));
    expect(away.texts).toEqual(["before", "while away"]);
    proxy.mend();
    expect((await made)[0]!.slice(0, 3)).toEqual(["b", "while away", 0]);
    await expect.poll(() => home.texts).toEqual(["before", "while away"]);
  });

  test("with rows kept from an earlier visit learns of deletes by its stamp", async () => {
    const room = freshRoom();
    const home = stock(den, room);
    const profile = new Profile();
    const first = stock(den, room, profile);
    for (const id of ["a", "b", "c"]) await home.call(create(id, id));
    await expect.poll(() => first.texts).toEqual(["a", "b", "c"]);
    first.socket.close();
    await home.call(remove("a"));
    await home.call(update("c", "c, edited", 0));
    const back = stock(den, room, profile);
    await expect.poll(() => back.texts).toEqual(["b", "c, edited"]);
    expect(back.rows).toEqual(home.rows);
  });

  test("that gave up offline shows what its queue did", async () => {
    const room = freshRoom();
    const proxy = await proxied();
    const away = stock(proxy, room);
    await away.call(create("a", "before"));
    proxy.cut();
    await expect.poll(() => away.socket.readyState).not.toBe(1);
    await expect(away.call(create("b", "while away"), "givenup1", 100)).rejects.toThrow("timed out");
    expect(away.texts).toEqual(["before"]);
    proxy.mend();
    await expect.poll(() => away.texts).toEqual(["before", "while away"]);
  });

  test("in one browser with another room ends up with its own room's rows", async () => {
    const [a, b, profile] = [freshRoom(), freshRoom(), new Profile()];
    const writers = [stock(den, a), stock(den, b)] as const;
    const pause = () => new Promise((resolve) => setTimeout(resolve, 5)); // stamps are milliseconds
    await writers[1].call(create("old", "b, old"));
    await pause();
    await writers[0].call(create("other", "a"));
    await pause();
    await writers[1].call(create("new", "b, new"));
    for (const [room, texts] of [[a, ["a"]], [b, ["b, new", "b, old"]], [b, ["b, new", "b, old"]], [a, ["a"]]] as const) {
      const page = stock(den, room, profile);
      await expect.poll(() => page.received.some((frame: any) => frame.sync === true)).toBe(true);
      expect([...page.texts].sort()).toEqual(texts);
      page.socket.close();
    }
  });

  test("shows a first visit in the order of creation", async () => {
    const room = freshRoom();
    const writer = stock(den, room);
    for (const id of ["m", "c", "x", "a"]) {
      await writer.call(create(id, id));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const page = stock(den, room);
    await expect.poll(() => page.order).toEqual(["m", "c", "x", "a"]);
  });

  test("takes a refused action back and says why", async () => {
    const room = freshRoom();
    const [client, other] = [stock(den, room), stock(den, room)];
    await client.call(create("a", "kept"));
    const refused = client.call(create("b", "x".repeat(501)));
    expect(client.texts).toHaveLength(2);
    await expect(refused).rejects.toThrow(/500/);
    expect(client.texts).toEqual(["kept"]);
    await client.call(create("c", "later"));
    await expect.poll(() => other.texts).toEqual(["kept", "later"]);
  });

  test("gives up on a reply that does not come", async () => {
    const proxy = await proxied();
    const room = freshRoom();
    const client = stock(proxy, room);
    await client.call(create("a", "answered"));
    proxy.hold();
    const lost = client.call(create("b", "unanswered"), "lostlost", 300);
    expect(client.texts).toEqual(["answered", "unanswered"]);
    await expect(lost).rejects.toThrow("timed out");
    expect(client.texts).toEqual(["answered"]);
    proxy.release();
    await expect.poll(() => client.received.some((frame: any) => frame.id === "lostlost")).toBe(true);
    expect(client.texts).toEqual(["answered"]); // the late reply is dropped with its rows
    const again = stock(den, room);
    await expect.poll(() => again.texts).toEqual(["answered", "unanswered"]);
  });

  test("gets a long list in one frame, and Den's own page in small ones", async () => {
    const room = freshRoom();
    const writer = stock(den, room);
    const ids = Array.from({ length: 2_000 }, (_, n) => `todo-${String(n).padStart(5, "0")}`);
    await Promise.all(ids.map((id) => writer.call(create(id, `${id} ${"x".repeat(450)}`))));
    const late = stock(den, room);
    await expect.poll(() => late.rows.map((row) => row[0])).toEqual(ids);
    const pages = late.received.filter((frame: any) => frame.sync === true) as { payload: Row[]; more?: boolean }[];
    expect(pages.map((page) => [page.payload.length, page.more === true])).toEqual([[ids.length, false]]);
    const page = pageSession(den, room);
    await expect.poll(() => page.session.state.rows.size).toBe(ids.length);
    expect(page.session.liveness.name).toBe("live");
  });

  test("gets nothing but JSON that it can read", async () => {
    const room = freshRoom();
    const client = stock(den, room);
    await client.call(create("a", "<b>\u2028\0\"\\ 🦊"));
    await expect.poll(() => client.received.length).toBeGreaterThanOrEqual(2);
    expect(client.texts).toEqual(["<b>\u2028\0\"\\ 🦊"]);
    expect(client.received.every((frame) => typeof frame === "object" && frame !== null)).toBe(true);
  });
});

describe("a bare socket", () => {
  test("the same id twice is applied once and answered twice alike", async () => {
    const room = freshRoom();
    const [one, other] = [await Bare.asked(den, room), await Bare.open(den, room, "")];
    one.act("once0001", "create", { id: "a", text: "once", completed: 0 });
    await expect.poll(() => one.replies("once0001").length).toBe(1);
    one.act("once0002", "update", { id: "a", text: "since", completed: 0 });
    one.act("once0001", "create", { id: "a", text: "once", completed: 0 });
    await expect.poll(() => one.replies("once0001").length).toBe(2);
    const [first, second] = one.replies("once0001");
    expect(first.type).toBe("success");
    expect(second).toEqual(first);
    other.send({ channel: CHANNEL, sync: true, from: null });
    await expect.poll(() => other.frames.find((frame) => frame.sync)?.payload.map((row: Row) => row[1])).toEqual(["since"]);
    expect(other.frames.filter((frame) => frame.broadcast)).toHaveLength(2);
  });

  test("the same id again after a reconnect under the same name is applied once", async () => {
    const room = freshRoom();
    const first = await Bare.asked(den, room, "the-same");
    first.act("again001", "create", { id: "a", text: "once", completed: 0 });
    await expect.poll(() => first.replies("again001").length).toBe(1);
    first.close();
    const second = await Bare.open(den, room, "the-same");
    second.act("again001", "create", { id: "a", text: "once", completed: 0 });
    await expect.poll(() => second.replies("again001").length).toBe(1);
    expect(second.replies("again001")[0]).toEqual(first.replies("again001")[0]);
  });

  test.each([
    ["", "text_empty"],
    ["   ", "text_empty"],
    ["x".repeat(501), "text_too_long"],
  ])("text %j is refused with its code", async (text, code) => {
    const room = freshRoom();
    const [one, other] = [await Bare.open(den, room), await Bare.open(den, room)];
    one.act("refused1", "create", { id: "a", text, completed: 0 });
    await expect.poll(() => one.replies("refused1").length).toBe(1);
    expect(one.replies("refused1")[0]).toMatchObject({ type: "error", rpc: true, channel: CHANNEL, id: "refused1", code });
    expect(one.replies("refused1")[0].error).toEqual([expect.any(String)]);
    other.send({ channel: CHANNEL, sync: true, from: null });
    await expect.poll(() => other.frames).toEqual([{ sync: true, channel: CHANNEL, payload: [], cursor: A_CURSOR }]);
  });

  test("500 characters are taken, whatever they weigh", async () => {
    const one = await Bare.asked(den, freshRoom());
    one.act("longest1", "create", { id: "a", text: "é".repeat(499) + "🦊", completed: 0 });
    await expect.poll(() => one.replies("longest1")[0]?.type).toBe("success");
  });

  test.each(["sqlite_master", "todos; drop table todos", "nothing"])("channel %j gives no rows", async (channel) => {
    const one = await Bare.open(den, freshRoom());
    one.send({ channel, sync: true, from: null });
    one.act("unknown1", "create", { id: "a", text: "x", completed: 0 }, channel);
    await expect.poll(() => one.replies("unknown1").length).toBe(1);
    expect(one.replies("unknown1")[0]).toMatchObject({ type: "error", code: "unknown_channel" });
    expect(one.frames.some((frame) => frame.sync)).toBe(false);
  });
});
