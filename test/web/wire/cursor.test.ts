// A client that was written from PROTOCOL.md, against a real den: resume by cursor, numbered actions.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Bare, CHANNEL, commitOf, cursorClient, freshRoom, stock } from "../support/clients.ts";
import type { CursorClient } from "../support/cursorclient.ts";
import { Den } from "../support/den.ts";
import { Proxy } from "../support/proxy.ts";
import type { Action, Row } from "../../../fixtures/todo/web/store.js";

const create = (id: string, text: string): Action => ({ type: "create", payload: { id, text, completed: 0 } });
const update = (id: string, text: string): Action => ({ type: "update", payload: { id, text, completed: 0 } });
const remove = (id: string): Action => ({ type: "delete", payload: { id } });

let den: Den;
beforeAll(async () => {
  den = await Den.start();
});
afterAll(() => den?.close());

/** What the server has, asked for anew. */
async function served(target: Den, room: string): Promise<Row[]> {
  const asking = await Bare.open(target, room);
  asking.send({ channel: CHANNEL, sync: true, cursor: null });
  await expect.poll(() => asking.frames.some((frame) => frame.sync && !frame.more)).toBe(true);
  asking.close();
  return byKey(asking.frames.filter((frame) => frame.sync).flatMap((frame) => frame.payload));
}

function byKey(rows: Iterable<Row>): Row[] {
  return [...rows].sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

function texts(client: CursorClient): string[] {
  return byKey(client.rows.values()).map((row) => row[1]);
}

/** Every frame of an answer to sync that a client got. */
function pages(client: CursorClient): any[] {
  return client.received.filter((frame) => frame.sync === true);
}

test("kill -9 under writes: each action is applied once and in order, and everybody ends with what the server has", async () => {
  const own = await Den.start();
  onTestFinished(() => own.close());
  const room = freshRoom();
  const clients = [cursorClient(own, room), cursorClient(own, room)];
  let actions = 0;
  const writing = setInterval(() => {
    for (const [n, client] of clients.entries()) {
      const id = `${n}-${actions}`;
      client.do(create(id, "made")); // a second time it would be refused
      client.do(update(id, "edited")); // as this one, if it came before
      if (actions % 3 === 0) client.do(remove(id));
      actions++;
    }
  }, 10);
  onTestFinished(() => clearInterval(writing));
  for (let kills = 1; kills <= 3; kills++) {
    const goal = clients.map((client) => client.received.length + 50 * kills);
    await expect.poll(() => clients.every((client, n) => client.received.length > goal[n]!), { timeout: 20_000 }).toBe(true);
    await own.down("SIGKILL");
    await own.up();
  }
  clearInterval(writing);
  await expect.poll(() => clients.map((client) => client.queue.length), { timeout: 15_000 }).toEqual([0, 0]);

  const end = await served(own, room);
  for (const client of clients) {
    await expect.poll(() => byKey(client.rows.values())).toEqual(end);
    expect(client.refused).toEqual([]);
    expect(client.resets).toEqual([]);
    expect(pages(client).length).toBeGreaterThanOrEqual(4);
  }
  const removed = Math.ceil(actions / 3);
  expect(end).toHaveLength(actions - removed);
  expect(end.every((row) => row[1] === "edited")).toBe(true);
  await expect.poll(() => clients.map(({ cursor }) => commitOf(cursor))).toEqual([2 * actions + removed, 2 * actions + removed]);
});

test("it comes back with a cursor and gets what changed, deletes too, and nothing else", async () => {
  const room = freshRoom();
  const proxy = await Proxy.before(den);
  onTestFinished(() => proxy.close());
  const away = cursorClient(proxy, room);
  const home = stock(den, room);
  for (const id of ["a", "b", "c", "d"]) await home.call(create(id, id));
  await expect.poll(() => texts(away)).toEqual(["a", "b", "c", "d"]);
  proxy.cut();
  await home.call(remove("a"));
  await home.call(update("c", "c, edited"));
  away.do(update("b", "b, edited while away"));
  proxy.mend();
  await expect.poll(() => texts(away)).toEqual(["b, edited while away", "c, edited", "d"]);
  await expect.poll(() => home.texts).toEqual(texts(away));
  const [answer] = pages(away).slice(-1);
  expect(answer.payload.map((row: Row) => row[0])).toEqual(["a", "c", "b"]);
  expect(away.resets).toEqual([]);
});

test("an action that the network lost is sent again, with those behind it", async () => {
  const room = freshRoom();
  const client = cursorClient(den, room);
  const send = client.socket.send.bind(client.socket);
  let sent = 0;
  client.socket.send = (data) => {
    return JSON.parse(String(data)).mutation === 2 && sent++ === 0 ? true : send(data);
  };
  for (const id of ["a", "b", "c", "d"]) client.do(create(id, id));
  await expect.poll(() => client.queue).toEqual([]);
  expect(sent).toBe(2);
  expect(client.received.filter((frame) => frame.code === "mutation_gap").map((frame) => frame.next)).toEqual([2, 2]);
  expect([...client.rows.keys()]).toEqual(["a", "b", "c", "d"]);
  expect(client.refused).toEqual([]);
  expect(await served(den, room)).toEqual(byKey(client.rows.values()));
});

test.each(["is there to the end", "comes back"])("a client that %s sees nothing again of what a late reply tells", async (how) => {
  const room = freshRoom();
  const proxy = await Proxy.before(den);
  onTestFinished(() => proxy.close());
  const late = cursorClient(proxy, room, 100);
  const home = stock(den, room);
  await home.call(create("z", "first"));
  await expect.poll(() => texts(late)).toEqual(["first"]);
  proxy.hold();
  late.do(create("a", "short-lived"));
  await expect.poll(() => home.texts).toEqual(["short-lived", "first"]);
  await home.call(remove("a"));
  const sends = late.sent;
  await expect.poll(() => late.sent).toBeGreaterThan(sends);
  const seen: string[][] = [];
  late.socket.addEventListener("message", () => void seen.push(texts(late)));
  if (how === "comes back") {
    proxy.cut();
    proxy.mend();
  } else proxy.release();
  await expect.poll(() => late.queue).toEqual([]);
  await home.call(create("b", "last"));
  await expect.poll(() => texts(late)).toEqual(["last", "first"]);
  const shown = seen.map((now) => now.includes("short-lived")).filter((is, i, all) => is !== all[i - 1]);
  expect(shown).toEqual(how === "comes back" ? [false] : [true, false]); // by its own reply, and not again by the one after the delete
  expect(late.received.filter((frame) => frame.type === "success").length).toBeGreaterThan(how === "comes back" ? 0 : 1);
});

test("a room that is restored from a backup: who is there and who comes back has what the backup has", async () => {
  const room = freshRoom();
  const proxy = await Proxy.before(den);
  onTestFinished(() => proxy.close());
  const [here, away] = [cursorClient(den, room), cursorClient(proxy, room)];
  const dir = await mkdtemp(join(tmpdir(), "den-web-backup-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, "room.db");
  here.do(create("a", "in the backup"));
  await expect.poll(() => texts(away)).toEqual(["in the backup"]);
  await den.command("backup", `todos/${room}`, file);
  here.do(create("b", "lost"));
  here.do(remove("a"));
  away.do(create("c", "lost too"));
  for (const client of [here, away]) await expect.poll(() => texts(client)).toEqual(["lost", "lost too"]);
  proxy.cut();
  await den.command("restore", `todos/${room}`, file);
  await expect.poll(() => texts(here)).toEqual(["in the backup"]);
  here.do(create("d", "since")); // the room waits for a number that it acknowledged before
  here.do(update("d", "edited since"));
  away.do(create("e", "while away")); // the room has never heard of this one
  away.do(update("e", "edited while away"));
  proxy.mend();
  for (const client of [here, away]) {
    await expect.poll(() => texts(client)).toEqual(["in the backup", "edited since", "edited while away"]);
    await expect.poll(() => client.queue).toEqual([]);
    expect(client.refused).toEqual([]);
  }
  const codes = (client: CursorClient) => new Set(client.received.filter((frame) => frame.type === "error").map((frame) => frame.code));
  expect([...codes(here), ...codes(away)]).toEqual(["mutation_gap", "unknown_client"]);
  expect([here.resets, away.resets]).toEqual([[], ["epoch"]]);
  expect(here.cursor).toBe(away.cursor);
  expect(await served(den, room)).toEqual(byKey(here.rows.values()));
});
