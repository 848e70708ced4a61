// The clients of the wire tests: the stock one and one with cursors over partysocket, the page's own session, and bare
// frames.

import PartySocket from "partysocket";
import WebSocket from "ws";
import { expect, onTestFinished } from "vitest";
import { join, type Notice, type Session } from "../../../fixtures/todo/web/session.js";
import { view } from "../../../fixtures/todo/web/store.js";
import { CursorClient } from "./cursorclient.ts";
import { type Profile, StockClient, randomId } from "./stockclient.ts";

/** Where a client connects to. */
export interface Target {
  readonly port: number;
}

export const CHANNEL = "todos";
/** What stands where a frame has a cursor, in a comparison. */
export const A_CURSOR = expect.stringMatching(/^[\w-]{11}\.(0|[1-9a-z][0-9a-z]*)$/);

/** The number of the commit that a cursor names. Only a test looks into cursors. */
export function commitOf(cursor: string | null): number {
  return parseInt(cursor!.split(".")[1]!, 36);
}

const nodeWebSocket = WebSocket as unknown as typeof globalThis.WebSocket;

/** A room that no other test uses. */
export function freshRoom(): string {
  return `room-${randomId()}`;
}

/** partysocket as it is published; only its waits between tries are shorter. */
export function stock(target: Target, room: string, profile?: Profile): StockClient {
  return new StockClient(partySocket(target, room), CHANNEL, profile);
}

/** A client that was written from PROTOCOL.md, over the same socket. */
export function cursorClient(target: Target, room: string, patience?: number): CursorClient {
  return new CursorClient(partySocket(target, room), CHANNEL, patience);
}

function partySocket(target: Target, room: string): PartySocket {
  const socket = new PartySocket({
    host: `127.0.0.1:${target.port}`,
    party: "todos",
    room,
    WebSocket: nodeWebSocket,
    minReconnectionDelay: 50,
    maxReconnectionDelay: 200,
  });
  onTestFinished(() => socket.close());
  return socket;
}

export interface PageSession {
  readonly session: Session;
  readonly notices: Notice[];
  readonly texts: string[];
}

/** The todo page's session, without the page. */
export function pageSession(target: Target, room: string): PageSession {
  const notices: Notice[] = [];
  const session = join({
    url: `ws://127.0.0.1:${target.port}/parties/todos/${room}?_pk=${randomId()}`,
    WebSocket: nodeWebSocket,
    onChange: () => {},
    onNotice: (notice) => void notices.push(notice),
  });
  onTestFinished(() => session.leave());
  return {
    session,
    notices,
    get texts() {
      return view(session.state, "all").items.map((item) => item.text).sort();
    },
  };
}

/** A socket whose frames a test writes and reads itself. */
export class Bare {
  readonly frames: any[] = [];

  private constructor(private readonly socket: WebSocket) {
    socket.on("message", (data) => this.frames.push(JSON.parse(String(data))));
  }

  static async open(target: Target, room: string, pk = randomId()): Promise<Bare> {
    const socket = new WebSocket(`ws://127.0.0.1:${target.port}/parties/todos/${room}?_pk=${pk}`);
    onTestFinished(() => socket.terminate());
    const bare = new Bare(socket);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return bare;
  }

  /** One that has had the answer to its sync: the room holds rows back from one that has a name and has not asked. */
  static async asked(target: Target, room: string, pk = randomId()): Promise<Bare> {
    const bare = await Bare.open(target, room, pk);
    bare.send({ channel: CHANNEL, sync: true, from: null });
    await expect.poll(() => bare.frames.some((frame) => frame.sync === true)).toBe(true);
    return bare;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  act(id: string, type: string, payload: unknown, channel = CHANNEL): void {
    this.send({ id, channel, rpc: true, action: { type, payload } });
  }

  /** The replies to an action, as many as came. */
  replies(id: string): any[] {
    return this.frames.filter((frame) => frame.rpc === true && frame.id === id);
  }

  close(): void {
    this.socket.close();
  }
}
