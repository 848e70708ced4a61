// The todo page as a person meets it: what is on it, and what can be done there.

import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { expect, onTestFinished } from "vitest";

export class TodoPage {
  /** What the page threw, logged as an error or violated of its content security policy. */
  readonly faults: string[] = [];
  readonly newTodo: Locator;
  readonly rows: Locator;

  private constructor(readonly page: Page) {
    this.newTodo = page.getByLabel("New todo");
    this.rows = page.getByRole("list", { name: "Todos" }).getByRole("listitem");
    page.on("pageerror", (error) => this.faults.push(String(error)));
    page.on("console", (message) => {
      // A refused connection is logged by the browser itself; the tests refuse many.
      if (message.type() === "error" && !/WebSocket connection|ERR_CONNECTION|ERR_INTERNET/.test(message.text())) this.faults.push(message.text());
    });
  }

  /** Opens the page in a browser context of its own, and waits until it is live. */
  static async open(browser: Browser, base: string, room: string, options: BrowserContextOptions = {}): Promise<TodoPage> {
    const todo = await TodoPage.visit(browser, base, room, options);
    await todo.becomes(/^Live$/);
    expect(todo.faults).toEqual([]);
    return todo;
  }

  /** Opens the page in a browser context of its own. */
  static async visit(browser: Browser, base: string, room: string, options: BrowserContextOptions = {}): Promise<TodoPage> {
    const context = await browser.newContext({ viewport: { width: 1000, height: 760 }, ...options });
    onTestFinished(() => context.close());
    const todo = new TodoPage(await context.newPage());
    await todo.page.goto(`${base}/?room=${encodeURIComponent(room)}`);
    return todo;
  }

  /** What stands in the list's place, or under it. */
  async blank(): Promise<string> {
    return (await this.page.locator("#blank").textContent()) ?? "";
  }

  /** Waits for the words about the connection. */
  async becomes(words: RegExp): Promise<void> {
    await expect.poll(async () => [await this.connection(), ...this.faults].join("\n")).toMatch(words);
  }

  async connection(): Promise<string> {
    return (await this.page.locator("#connection-words").textContent()) ?? "";
  }

  row(text: string): Locator {
    return this.rows.filter({ has: this.page.getByText(text, { exact: true }) });
  }

  check(text: string): Locator {
    return this.page.getByRole("checkbox", { name: text, exact: true });
  }

  async add(...texts: string[]): Promise<void> {
    for (const text of texts) {
      await this.newTodo.fill(text);
      await this.newTodo.press("Enter");
    }
  }

  async edit(text: string, to: string): Promise<void> {
    await this.row(text).getByText(text, { exact: true }).dblclick();
    await this.editor.fill(to);
    await this.editor.press("Enter");
  }

  get editor(): Locator {
    return this.rows.getByRole("textbox");
  }

  async remove(text: string): Promise<void> {
    await this.row(text).hover();
    await this.row(text).getByRole("button", { name: `Delete “${text}”` }).click();
  }

  /** The list as it is drawn: `[x]` before what is done, a mark behind what waits for the server. */
  list(): Promise<string[]> {
    return this.rows.evaluateAll((rows) =>
      rows.map((row) => {
        const done = row.querySelector<HTMLInputElement>(".check")!.checked ? "[x] " : "[ ] ";
        const mark = row.querySelector(".mark")!.textContent;
        return done + row.querySelector(".text")!.textContent + (mark ? ` (${mark})` : "");
      }),
    );
  }

  async shows(...list: string[]): Promise<void> {
    await expect.poll(() => this.list()).toEqual(list);
  }

  async left(): Promise<string> {
    return (await this.page.locator("#left").textContent()) ?? "";
  }

  /** The messages that stand on the page, title and detail in one line each. */
  notices(): Promise<string[]> {
    return this.page.locator(".notice").evaluateAll((notices) =>
      notices.map((notice) => [...notice.querySelectorAll("p")].map((line) => line.textContent).join(" | ")),
    );
  }

  /** What has the focus: its accessible name, as far as the page gives one. */
  focused(): Promise<string> {
    return this.page.evaluate(() => {
      const at = document.activeElement;
      const by = at?.getAttribute("aria-labelledby");
      const label = at instanceof HTMLInputElement ? at.labels?.[0]?.textContent : null;
      return (by && document.getElementById(by)?.textContent) || at?.getAttribute("aria-label") || label || at?.textContent?.trim() || "";
    });
  }
}
