// A client that does what partysync's React hook does over partysocket, faults and all, so that what works here
// works for a page that uses the published packages:
// - it asks for a sync once, when it is made, and never again, whatever happens to its socket;
// - it merges the rows of a sync into what it has, and does not look there for tombstones;
// - it drops a row for a tombstone in an `update` broadcast or in a reply to its own action;
// - it stores each row of each frame at once, in a store that is the browser's, one for each channel name, with no
//   room and no host in it; it shows what is stored before it syncs, by created_at, and asks from the highest stamp
//   there; a delete-all clears the screen and not the store;
// - it shows its own actions before they are answered, and takes them back when they are refused or when no
//   reply came in time.

import type PartySocket from "partysocket";
import type { Action, Row } from "../../../fixtures/todo/web/store.js";

export const STOCK_TIMEOUT = 10_000;

/** A browser's stores, by channel: what IndexedDB keeps as `partysync-<channel>`. */
export class Profile {
  private readonly stores = new Map<string, Map<string, Row>>();

  store(channel: string): Map<string, Row> {
    let store = this.stores.get(channel);
    if (!store) this.stores.set(channel, (store = new Map()));
    return store;
  }
}

/** The highest updated_at or deleted_at in a store. */
function newestStamp(rows: Iterable<Row>): number | null {
  let newest: number | null = null;
  for (const row of rows) {
    for (const stamp of [row.at(-1), row.at(-2)] as (number | null)[]) {
      if (stamp && (newest === null || stamp > newest)) newest = stamp;
    }
  }
  return newest;
}

interface Call {
  readonly action: Action;
  resolve(rows: Row[]): void;
  reject(error: Error): void;
}

export class StockClient {
  private value: Row[];
  private readonly store: Map<string, Row>;
  private readonly calls = new Map<string, Call>();
  /** Every frame that this client handed to its socket. */
  readonly sent: string[] = [];
  /** Every frame that came in. */
  readonly received: unknown[] = [];

  constructor(
    readonly socket: PartySocket,
    private readonly channel: string,
    profile = new Profile(),
  ) {
    this.store = profile.store(channel);
    const kept = [...this.store.values()].sort((a, b) => a.at(-3)! as number - (b.at(-3)! as number));
    this.value = kept.filter((row) => row.at(-1) === null);
    socket.addEventListener("message", (event: MessageEvent) => this.take(JSON.parse(String(event.data))));
    this.send({ channel, sync: true, from: newestStamp(kept) });
  }

  /** The ids in the order in which the page draws them. */
  get order(): string[] {
    return this.value.map((row) => row[0]);
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
      const call = this.calls.get(message.id);
      if (!call) return; // it was given up, and its rows with it
      this.apply(message.result);
      call.resolve(message.result);
    } else if (message.rpc === true && message.type === "error") {
      this.calls.get(message.id)?.reject(new Error(message.error.join("\n")));
    }
  }

  private put(rows: Row[]): void {
    for (const row of rows) {
      this.store.set(row[0], row);
      const at = this.value.findIndex((held) => held[0] === row[0]);
      if (at < 0) this.value.push(row);
      else this.value.splice(at, 1, row);
    }
  }

  private apply(rows: Row[]): void {
    for (const row of rows) {
      if (row.at(-1) == null) this.put([row]);
      else {
        this.store.set(row[0], row);
        this.value = this.value.filter((held) => held[0] !== row[0]);
      }
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
