// A client with cursors and numbered actions. It was written from syncproto/PROTOCOL.md alone, by its sections "Resume"
// and "Exactly once", so that what works here shows that the page is enough to write a client from. It keeps one channel.

import type PartySocket from "partysocket";
import type { Action, Row } from "../../../fixtures/todo/web/store.js";

/** How long it waits before it sends again what was refused for a while, in milliseconds. */
const PAUSE = 50;
const MAY_PASS = new Set(["action_timeout", "aborted", "action_disabled", "overloaded", "room_unavailable", "storage_unavailable", "shutting_down"]);

interface Numbered {
  id: string;
  mutation: number;
  readonly action: Action;
}

export class CursorClient {
  rows = new Map<string, Row>();
  cursor: string | null = null;
  queue: Numbered[] = [];
  /** The codes of the actions that were refused for good, and why answers to sync replaced the rows. */
  readonly refused: string[] = [];
  readonly resets: string[] = [];
  readonly received: any[] = [];
  /** How many actions were handed to the socket; one that was sent twice counts twice. */
  sent = 0;

  private phase: "asked" | "answering" | "live" = "asked";
  private copy: Map<string, Row> | null = null;
  private latest: string | null = null;
  private name: string = nameAt(Date.now());
  private made = 0;
  private gap = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking: ReturnType<typeof setTimeout> | undefined;

  /** patience is how long it waits for a reply before it sends again, in milliseconds. */
  constructor(
    readonly socket: PartySocket,
    private readonly channel: string,
    private readonly patience = 10_000,
  ) {
    socket.addEventListener("open", () => this.opened());
    socket.addEventListener("close", () => this.lost());
    socket.addEventListener("message", (event: MessageEvent) => this.take(JSON.parse(String(event.data))));
  }

  do(action: Action): void {
    const one = { id: crypto.randomUUID(), mutation: ++this.made, action };
    this.queue.push(one);
    this.sendActions([one]);
  }

  private opened(): void {
    this.latest = null;
    this.retry();
    this.sync();
  }

  private lost(): void {
    clearTimeout(this.timer);
    clearTimeout(this.asking);
  }

  private sync(cursor = this.cursor): void {
    this.phase = "asked";
    this.copy = cursor === null ? new Map() : null;
    this.socket.send(JSON.stringify({ channel: this.channel, sync: true, cursor }));
  }

  private retry(from = 0): void {
    this.gap = from;
    this.sendActions(this.queue.filter(({ mutation }) => mutation >= from));
  }

  private sendActions(actions: readonly Numbered[]): void {
    if (this.socket.readyState !== this.socket.OPEN) return; // partysocket would keep them, and send them a second time
    this.sent += actions.length;
    for (const one of actions) this.socket.send(JSON.stringify({ ...one, channel: this.channel, rpc: true, client: this.name }));
    this.wait(this.patience);
  }

  private wait(ms: number): void {
    clearTimeout(this.timer);
    if (this.queue.length > 0) this.timer = setTimeout(() => this.retry(), ms);
  }

  private take(message: any): void {
    this.received.push(message);
    const { channel, cursor } = message;
    if (message.sync === true) this.page(message);
    else if (message.type === "update" && channel === this.channel) this.apply(message.payload);
    else if (message.type === "delete-all" && channel === this.channel) this.clear();
    else if (message.rpc === true && message.type === "success") this.succeeded(message);
    else if (message.rpc === true && message.type === "error") this.failed(message);
    else if (message.type === "exception" && channel === this.channel) this.notSynced(message.code);
    const seen = cursor ?? message.at;
    if (seen === undefined || !this.isNews(seen, message.type)) return;
    this.latest = seen;
    if (this.phase === "live" && message.sync !== true) this.cursor = cursor;
  }

  /** Whether a cursor is later than all that came before it. A stored reply keeps that of another history. */
  private isNews(cursor: string, type: string | undefined): boolean {
    const { latest } = this;
    return latest === null || isLater(cursor, latest) || (type !== "success" && !sameHistory(cursor, latest));
  }

  private notSynced(code: string): void {
    this.phase = "asked";
    const from = code === "too_large" ? null : this.cursor;
    if (code === "too_large" || MAY_PASS.has(code)) this.asking = setTimeout(() => this.sync(from), PAUSE);
  }

  private page(message: any): void {
    if (this.phase !== "answering" && message.reset) {
      this.copy = new Map();
      this.resets.push(message.reset);
    }
    this.phase = "answering";
    this.apply(message.payload);
    if (message.more) return;
    this.rows = this.copy ?? this.rows;
    this.copy = null;
    this.cursor = message.cursor;
    this.phase = "live";
  }

  private apply(changed: readonly Row[]): void {
    const rows = this.copy ?? this.rows;
    if (this.phase === "asked") changed = [];
    for (const row of changed) row.at(-1) === null ? rows.set(row[0], row) : rows.delete(row[0]);
  }

  private clear(): void {
    if (this.phase !== "asked") (this.copy ?? this.rows).clear();
  }

  private succeeded(message: any): void {
    if (message.number !== "used") throw new Error(`a success that keeps its number: ${message.id}`);
    if (this.isNews(message.cursor, message.type)) this.apply(message.result);
    this.answered(message.id);
    if (message.resync && this.phase === "live") this.sync();
  }

  /** What became of the number counts, whatever the code. */
  private failed({ id, code, number, next, now }: any): void {
    const at = this.queue.findIndex((one) => one.id === id);
    if (at < 0) return;
    const first = this.queue[0]!.mutation;
    if (number === undefined) this.replace(at, code);
    else if (number === "used") {
      this.answered(id);
      if (code !== "already_applied") this.refused.push(code);
      else if (this.phase === "live") this.sync();
    } else if (code === "unknown_client" && next !== first) this.rename(now);
    else if (code === "mutation_gap" && next < first) this.rename();
    else if (code === "mutation_gap" || code === "unknown_client") next !== this.gap && this.retry(next);
    else this.wait(PAUSE);
  }

  /** The server cannot read the frame: something that it refuses takes its number. */
  private replace(at: number, code: string): void {
    this.refused.push(code);
    this.queue[at] = { id: crypto.randomUUID(), mutation: this.queue[at]!.mutation, action: { type: "nothing" } as unknown as Action };
    this.wait(PAUSE);
  }

  private answered(id: string): void {
    this.queue = this.queue.filter((one) => one.id !== id);
    this.gap = 0;
    this.wait(this.patience);
  }

  /** The room does not know this client: it is a new one, and so is all that it wants. */
  private rename(now = Date.now()): void {
    this.name = nameAt(now);
    this.queue = this.queue.map(({ action }, n) => ({ id: crypto.randomUUID(), mutation: n + 1, action }));
    this.made = this.queue.length;
    this.retry();
  }
}

/** A client's name, with the time at which it was made, in Unix milliseconds. */
function nameAt(time: number): string {
  return `${String(time).padStart(13, "0")}.${crypto.randomUUID()}`;
}

/** Whether a cursor is of a later commit than another of the same history. */
function isLater(a: string, b: string): boolean {
  return sameHistory(a, b) && (a.length > b.length || (a.length === b.length && a > b));
}

function sameHistory(a: string, b: string): boolean {
  return a.split(".")[0] === b.split(".")[0];
}
