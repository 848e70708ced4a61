// A client that does what partysync's React hook does over partysocket, faults and all, so that what works here
// works for a page that uses the published packages:
// - it asks for a sync once, when it is made, and never again, whatever happens to its socket;
// - it merges the rows of a sync into what it has, and does not look there for tombstones;
// - it drops a row for a tombstone in an `update` broadcast or in a reply to its own action;
// - it shows its own actions before they are answered, and takes them back when they are refused or when no
//   reply came in time.

import type PartySocket from "partysocket";
import type { Action, Row } from "../../../fixtures/todo/web/store.js";

export const STOCK_TIMEOUT = 10_000;

interface Call {
  readonly action: Action;
  resolve(rows: Row[]): void;
  reject(error: Error): void;
}

export class StockClient {
  private value: Row[];
  private readonly calls = new Map<string, Call>();
  /** Every frame that this client handed to its socket. */
  readonly sent: string[] = [];
  /** Every frame that came in. */
  readonly received: unknown[] = [];

  constructor(
    readonly socket: PartySocket,
    private readonly channel: string,
    kept: { rows: Row[]; from: number | null } = { rows: [], from: null },
  ) {
    this.value = kept.rows;
    socket.addEventListener("message", (event: MessageEvent) => this.take(JSON.parse(String(event.data))));
    this.send({ channel, sync: true, from: kept.from });
  }

  /** The rows as the page would draw them, confirmed and optimistic, by id. */
  get rows(): Row[] {
    let rows = this.value;
    for (const { action } of this.calls.values()) rows = optimistic(rows, action);
    return [...rows].sort((a, b) => (a[0] < b[0] ? -1 : 1));
  }

  get texts(): string[] {
    return this.rows.map((row) => row[1]);
  }

  get syncsSent(): number {
    return this.sent.filter((frame) => JSON.parse(frame).sync === true).length;
  }

  call(action: Action, id = randomId(), timeout = STOCK_TIMEOUT): Promise<Row[]> {
    return new Promise<Row[]>((resolve, reject) => {
      const timer = setTimeout(() => this.calls.get(id)?.reject(new Error(`RPC call ${id} timed out`)), timeout);
      const end = () => {
        clearTimeout(timer);
        this.calls.delete(id);
      };
      this.calls.set(id, {
        action,
        resolve: (rows) => (end(), resolve(rows)),
        reject: (error) => (end(), reject(error)),
      });
      this.send({ id, channel: this.channel, rpc: true, action });
    });
  }

  private send(frame: object): void {
    const text = JSON.stringify(frame);
    this.sent.push(text);
    this.socket.send(text);
  }

  private take(message: any): void {
    this.received.push(message);
    if (message.channel !== this.channel) return;
    if (message.sync === true) this.put(message.payload);
    else if (message.broadcast === true && message.type === "update") this.apply(message.payload);
    else if (message.broadcast === true && message.type === "delete-all") this.value = [];
    else if (message.rpc === true && message.type === "success") {
      this.apply(message.result);
      this.calls.get(message.id)?.resolve(message.result);
    } else if (message.rpc === true && message.type === "error") {
      this.calls.get(message.id)?.reject(new Error(message.error.join("\n")));
    }
  }

  private put(rows: Row[]): void {
    for (const row of rows) this.value = [...this.value.filter((held) => held[0] !== row[0]), row];
  }

  private apply(rows: Row[]): void {
    for (const row of rows) {
      if (row.at(-1) == null) this.put([row]);
      else this.value = this.value.filter((held) => held[0] !== row[0]);
    }
  }
}

function optimistic(rows: Row[], { type, payload }: Action): Row[] {
  const others = rows.filter((row) => row[0] !== payload.id);
  if (type === "delete") return others;
  const now = Date.now();
  return [...others, [payload.id, payload.text, payload.completed, now, now, null]];
}

export function randomId(): string {
  return Math.random().toString(36).slice(2, 10).padEnd(8, "0");
}
