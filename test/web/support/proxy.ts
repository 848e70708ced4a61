// The network between a client and a server, as a test wants it: bytes can be held back on their way to the
// client, every connection can be cut, and new ones refused.

import { once } from "node:events";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";

export class Proxy {
  private readonly links = new Set<{ client: Socket; server: Socket }>();
  private held = false;
  private down = false;

  private constructor(private readonly listener: Server) {}

  static async before(target: { port: number }): Promise<Proxy> {
    const listener = createServer();
    const proxy = new Proxy(listener);
    listener.on("connection", (client) => proxy.link(client, target.port));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    return proxy;
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  private link(client: Socket, port: number): void {
    if (this.down) {
      client.destroy();
      return;
    }
    const server = connect(port, "127.0.0.1");
    const link = { client, server };
    const end = () => {
      this.links.delete(link);
      client.destroy();
      server.destroy();
    };
    this.links.add(link);
    client.pipe(server);
    server.on("data", (bytes) => client.write(bytes));
    for (const socket of [client, server]) socket.on("close", end).on("error", end);
    if (this.held) server.pause();
  }

  /** What the server says is kept back from now on; what clients say still reaches it. */
  hold(): void {
    this.held = true;
    for (const { server } of this.links) server.pause();
  }

  release(): void {
    this.held = false;
    for (const { server } of this.links) server.resume();
  }

  /** Ends every connection without a goodbye, what is held back is lost, and refuses new ones. */
  cut(): void {
    this.down = true;
    this.held = false;
    for (const { client, server } of [...this.links]) {
      client.destroy();
      server.destroy();
    }
  }

  /** Lets connections through again. */
  mend(): void {
    this.down = false;
  }

  async close(): Promise<void> {
    this.cut();
    this.listener.close();
    await once(this.listener, "close");
  }
}
