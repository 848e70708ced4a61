// The todo page's own session, in Node, against a real den over a network that fails.

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { freshRoom, pageSession, stock } from "../support/clients.ts";
import { Den } from "../support/den.ts";
import { Proxy } from "../support/proxy.ts";
import type { Action } from "../../../fixtures/todo/web/store.js";

const create = (id: string, text: string): Action => ({ type: "create", payload: { id, text, completed: 0 } });
const update = (id: string, text: string): Action => ({ type: "update", payload: { id, text, completed: 0 } });
const remove = (id: string): Action => ({ type: "delete", payload: { id } });

let den: Den;
let proxy: Proxy;
beforeAll(async () => {
  den = await Den.start();
});
afterAll(() => den?.close());

async function proxied(): Promise<Proxy> {
  proxy = await Proxy.before(den);
  onTestFinished(() => proxy.close());
  return proxy;
}

test("it goes live, and two of them converge", async () => {
  const room = freshRoom();
  const [one, two] = [pageSession(den, room), pageSession(den, room)];
  await expect.poll(() => [one.session.liveness.name, two.session.liveness.name]).toEqual(["live", "live"]);
  one.session.do(create("a", "from one"));
  two.session.do(create("b", "from two"));
  expect(one.texts).toContain("from one");
  await expect.poll(() => one.texts).toEqual(["from one", "from two"]);
  await expect.poll(() => two.texts).toEqual(["from one", "from two"]);
  await expect.poll(() => one.session.state.pending.length + two.session.state.pending.length).toBe(0);
  expect([...one.notices, ...two.notices]).toEqual([]);
});

test("it shares a room with the stock client", async () => {
  const room = freshRoom();
  const [page, other] = [pageSession(den, room), stock(den, room)];
  page.session.do(create("a", "from the page"));
  await expect.poll(() => other.texts).toEqual(["from the page"]);
  await other.call(update("a", "edited"));
  await expect.poll(() => page.texts).toEqual(["edited"]);
  await other.call(remove("a"));
  await expect.poll(() => page.texts).toEqual([]);
});

test("what is done while away is sent once when it is back, and what it missed is learned, deletes too", async () => {
  const room = freshRoom();
  const away = pageSession(await proxied(), room);
  const home = stock(den, room);
  await home.call(create("a", "a"));
  await home.call(create("b", "b"));
  await expect.poll(() => away.texts).toEqual(["a", "b"]);

  proxy.cut();
  await expect.poll(() => away.session.liveness.name).toBe("waiting");
  await home.call(remove("a"));
  away.session.do(create("c", "c"));
  away.session.do(update("c", "c, edited"));
  away.session.do(update("b", "b, edited"));
  expect(away.texts).toEqual(["a", "b, edited", "c, edited"]);
  expect(home.texts).toEqual(["b"]);

  proxy.mend();
  await expect.poll(() => away.texts).toEqual(["b, edited", "c, edited"]);
  await expect.poll(() => home.texts).toEqual(["b, edited", "c, edited"]);
  await expect.poll(() => away.session.state.pending.length).toBe(0);
  const broadcasts = home.received.filter((frame: any) => frame.broadcast === true);
  expect(broadcasts).toHaveLength(3);
  expect(away.notices).toEqual([]);
});

test("an action whose reply was lost is sent again, and applied once", async () => {
  const room = freshRoom();
  const away = pageSession(await proxied(), room);
  const home = stock(den, room);
  await expect.poll(() => away.session.liveness.name).toBe("live");

  proxy.hold();
  away.session.do(create("a", "once"));
  await expect.poll(() => home.texts).toEqual(["once"]);
  expect(away.session.state.pending).toHaveLength(1);
  proxy.cut();
  await home.call(update("a", "edited meanwhile"));
  proxy.mend();
  await expect.poll(() => away.session.state.pending.length).toBe(0);
  await expect.poll(() => away.texts).toEqual(["edited meanwhile"]);
  expect(home.texts).toEqual(["edited meanwhile"]);
  expect(away.notices).toEqual([]);
});

test("a todo that was deleted elsewhere does not come back with a repeated action's reply", async () => {
  const room = freshRoom();
  const away = pageSession(await proxied(), room);
  const home = stock(den, room);
  await expect.poll(() => away.session.liveness.name).toBe("live");
  proxy.hold();
  away.session.do(create("a", "short-lived"));
  await expect.poll(() => home.texts).toEqual(["short-lived"]);
  proxy.cut();
  await home.call(remove("a"));
  proxy.mend();
  await expect.poll(() => away.session.state.pending.length).toBe(0);
  await expect.poll(() => away.texts).toEqual([]);
  await home.call(create("b", "next"));
  await expect.poll(() => away.texts).toEqual(["next"]);
});

test("a refused action is taken back with the server's words", async () => {
  const { session, notices, texts } = pageSession(den, freshRoom());
  expect(texts).toEqual([]);
  session.do(create("a", "x".repeat(501)));
  await expect.poll(() => notices).toMatchObject([{ kind: "failed", code: "text_too_long", message: expect.stringMatching(/500/) }]);
  expect(session.state.pending).toEqual([]);
  expect(session.state.rows.size).toBe(0);
});
