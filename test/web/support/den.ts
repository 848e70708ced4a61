// A den server of a test's own: its own process, port and data directory. It can be stopped, killed and started
// again on the same port and data.

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { inject } from "vitest";

const START_TIMEOUT = 15_000;

export class Den {
  private process: ChildProcess | undefined;
  private log: string[] = [];
  port = 0;

  private constructor(private readonly data: string) {}

  /** Starts a server with an empty data directory. */
  static async start(): Promise<Den> {
    const den = new Den(await mkdtemp(join(tmpdir(), "den-web-data-")));
    await den.up();
    return den;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the process, on the port that it had before if it had one. */
  async up(): Promise<void> {
    const child = spawn(inject("denBinary"), ["--addr", `127.0.0.1:${this.port}`, "--data", this.data], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"] },
    });
    this.process = child;
    const lines = createInterface({ input: child.stderr! });
    this.port = await new Promise<number>((resolve, reject) => {
      const give = (why: string) => reject(new Error(`den ${why}; its log:\n${this.log.join("\n")}`));
      const timer = setTimeout(() => give(`did not listen within ${START_TIMEOUT} ms`), START_TIMEOUT);
      child.once("error", (error) => give(`could not be started: ${error.message}`));
      child.once("exit", (code) => give(`ended with ${code}`));
      lines.on("line", (line) => {
        this.log.push(line);
        const address = /msg=listening\b.*\burl="?http:\/\/[^:]+:(\d+)/.exec(line);
        if (!address) return;
        clearTimeout(timer);
        resolve(Number(address[1]));
      });
    });
  }

  /** Ends the process: SIGTERM for a clean stop, SIGKILL for a crash. */
  async down(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Runs one of den's commands for operators on this server's data, while it runs or not. */
  async command(name: string, ...args: string[]): Promise<void> {
    await promisify(execFile)(inject("denBinary"), [name, "--data", this.data, ...args]);
  }

  /** Puts something that is no database in a room's place, while the server is down. The function given back mends it. */
  async damage(room: string): Promise<() => Promise<void>> {
    const name = (await readdir(this.data, { recursive: true })).find((path) => path.endsWith(`/${room}.db`));
    if (!name) throw new Error(`the room ${room} has no file`);
    const file = join(this.data, name);
    const content = await readFile(file);
    await writeFile(file, "This is no database.\n".repeat(1000));
    return () => writeFile(file, content);
  }

  /** Ends the process and removes its data. */
  async close(): Promise<void> {
    await this.down();
    await rm(this.data, { recursive: true, force: true });
  }
}
