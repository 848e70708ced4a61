// The todo page in real browsers, against a real den.

import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { MISSING, browserRequired, findChromium, launch } from "../support/chromium.ts";
import { freshRoom } from "../support/clients.ts";
import { contrasts } from "../support/contrast.ts";
import { Den } from "../support/den.ts";
import { Proxy } from "../support/proxy.ts";
import { TodoPage } from "../support/todopage.ts";

const screenshots = fileURLToPath(new URL("../screenshots/", import.meta.url));
const executable = findChromium();

if (!executable) {
  if (!browserRequired()) console.warn(`The browser tests are skipped: ${MISSING}.`);
  test("a Chromium is there", (context) => {
    if (!browserRequired()) return context.skip(MISSING);
    const missing = new Error(MISSING);
    missing.stack = MISSING;
    throw missing;
  });
}

describe.runIf(executable)("the todo page", () => {
  let browser: Browser;
  let den: Den;
  beforeAll(async () => {
    mkdirSync(screenshots, { recursive: true });
    [browser, den] = await Promise.all([launch(executable!), Den.start()]);
  });
  afterAll(async () => {
    await browser?.close();
    await den?.close();
  });

  /** Two people in one room, each in a browser of their own. */
  async function two(base = den.url): Promise<[TodoPage, TodoPage]> {
    const room = freshRoom();
    return Promise.all([TodoPage.open(browser, base, room), TodoPage.open(browser, base, room)]);
  }

  async function proxied(server = den): Promise<Proxy> {
    const proxy = await Proxy.before(server);
    onTestFinished(() => proxy.close());
    return proxy;
  }

  test("what one browser adds, edits, toggles and deletes, the other shows", async () => {
    const [ann, bob] = await two();
    await ann.add("Milk", "Bread");
    await bob.shows("[ ] Milk", "[ ] Bread");
    await bob.add("Tea");
    await ann.shows("[ ] Milk", "[ ] Bread", "[ ] Tea");

    await bob.edit("Milk", "Oat milk");
    await ann.shows("[ ] Oat milk", "[ ] Bread", "[ ] Tea");
    await ann.check("Bread").click();
    await bob.shows("[ ] Oat milk", "[x] Bread", "[ ] Tea");
    await expect.poll(() => bob.left()).toBe("2 left");

    await ann.remove("Tea");
    await bob.shows("[ ] Oat milk", "[x] Bread");
    await bob.page.getByRole("button", { name: "Clear completed" }).click();
    await ann.shows("[ ] Oat milk");
    await bob.shows("[ ] Oat milk");

    await ann.page.reload();
    await ann.shows("[ ] Oat milk");
    expect([...ann.faults, ...bob.faults]).toEqual([]);
  });

  test("what was deleted comes back, one delete at a time", async () => {
    const [ann, bob] = await two();
    await ann.add("Milk", "Bread", "Tea");
    await ann.check("Bread").click();
    await ann.check("Milk").click();
    await bob.shows("[x] Milk", "[x] Bread", "[ ] Tea");
    await ann.page.getByRole("button", { name: "Clear completed" }).click();
    await bob.shows("[ ] Tea");
    expect(await ann.notices()).toEqual(["Deleted 2 todos | "]);
    await expect.poll(() => ann.focused()).toBe("Undo");
    await ann.remove("Tea");
    await bob.shows();
    expect(await ann.notices()).toEqual(["Deleted “Tea” | "]);

    await ann.page.getByRole("button", { name: "Undo" }).click();
    await bob.shows("[ ] Tea");
    await ann.shows("[ ] Tea");
    await expect.poll(() => ann.focused()).toBe("Tea");
    expect(await ann.notices()).toEqual([]);
    await ann.page.keyboard.press("Control+z");
    await bob.shows("[ ] Tea", "[x] Milk", "[x] Bread");
    await ann.shows("[ ] Tea", "[x] Milk", "[x] Bread");
    await ann.page.keyboard.press("Control+z");
    await ann.page.reload();
    await ann.shows("[ ] Tea", "[x] Milk", "[x] Bread");
    expect([...(await ann.notices()), ...(await bob.notices()), ...ann.faults, ...bob.faults]).toEqual([]);
  });

  test("a delete that is taken back offline is taken back for everybody", async () => {
    const proxy = await proxied();
    const room = freshRoom();
    const [ann, bob] = await Promise.all([TodoPage.open(browser, proxy.url, room), TodoPage.open(browser, den.url, room)]);
    await ann.add("Milk");
    await bob.shows("[ ] Milk");
    proxy.cut();
    await ann.becomes(/^Offline/);
    await ann.remove("Milk");
    await ann.shows();
    await ann.page.getByRole("button", { name: "Undo" }).click();
    await ann.shows("[ ] Milk (Waiting)");
    proxy.mend();
    await ann.shows("[ ] Milk");
    await bob.shows("[ ] Milk");
    expect(await ann.notices()).toEqual([]);
  });

  test("Ctrl+Z in a text that is being written is the text's own", async () => {
    const [ann, bob] = await two();
    await ann.add("Milk", "Bread");
    await bob.shows("[ ] Milk", "[ ] Bread");
    await ann.remove("Milk");
    await ann.shows("[ ] Bread");
    await ann.newTodo.fill("half a thought");
    await ann.page.keyboard.press("Control+z");
    await ann.add("Tea");
    await bob.shows("[ ] Bread", "[ ] Tea");
    await ann.page.keyboard.press("Control+z");
    await bob.shows("[ ] Bread", "[ ] Tea", "[ ] Milk");
  });

  test("the filters list what they say", async () => {
    const [ann, bob] = await two();
    await ann.add("open", "closed");
    await ann.check("closed").click();
    await ann.page.getByRole("link", { name: "Active" }).click();
    await ann.shows("[ ] open");
    await ann.page.getByRole("link", { name: "Done" }).click();
    await ann.shows("[x] closed");
    await bob.check("open").click();
    await ann.shows("[x] open", "[x] closed");
    await ann.page.getByRole("link", { name: "Active" }).click();
    await expect.poll(() => ann.page.getByText("All done.").isVisible()).toBe(true);
    await expect.poll(() => ann.page.title()).toMatch(/^Todos · room-/);
  });

  test("rooms are apart", async () => {
    const [ann] = await two();
    const [eve] = await two();
    await ann.add("secret");
    await eve.add("other");
    await eve.shows("[ ] other");
    await ann.shows("[ ] secret");
  });

  test("text is text, whatever it looks like", async () => {
    const [ann, bob] = await two();
    const texts = ["<img src=x onerror=alert(1)>", "&amp; \"quoted\" 'too'", "🦊 \u202eright to left", "שלום"];
    await ann.add(...texts);
    await bob.shows(...texts.map((text) => `[ ] ${text}`));
    expect(bob.faults).toEqual([]);
  });

  test("a change is shown at once, marked until it is confirmed", async () => {
    const proxy = await proxied();
    const [ann, bob] = await two(proxy.url);
    await ann.add("confirmed");
    await ann.shows("[ ] confirmed");
    proxy.hold();
    await ann.add("on its way");
    await ann.check("confirmed").click();
    await ann.shows("[x] confirmed (Saving)", "[ ] on its way (Saving)");
    await expect.poll(() => ann.row("on its way").locator(".mark").evaluate((mark) => getComputedStyle(mark).opacity)).toBe("1");
    proxy.release();
    await ann.shows("[x] confirmed", "[ ] on its way");
    await bob.shows("[x] confirmed", "[ ] on its way");
  });

  test("a refused change is undone with the server's message, and its text can be mended", async () => {
    const [ann, bob] = await two();
    await ann.add("short");
    const long = "far too long ".repeat(40).trim();
    await ann.add(long);
    await expect.poll(() => ann.notices()).toEqual([expect.stringMatching(/^Could not add “far too long .*…” \| .*500/)]);
    await ann.shows("[ ] short");
    await ann.page.getByRole("button", { name: "Edit text" }).click();
    expect(await ann.newTodo.inputValue()).toBe(long);
    expect(await ann.notices()).toEqual([]);

    await ann.edit("short", long);
    await expect.poll(() => ann.notices()).toEqual([expect.stringMatching(/^Could not change .* \| .*500/)]);
    await ann.shows("[ ] short");
    await ann.page.getByRole("button", { name: "Edit text" }).click();
    expect(await ann.editor.inputValue()).toBe(long);
    await ann.editor.fill("mended");
    await ann.editor.press("Enter");
    await bob.shows("[ ] mended");
  });

  test("a change that is not answered in ten seconds is undone, and can be tried again", async () => {
    const proxy = await proxied();
    const room = freshRoom();
    const ann = await TodoPage.open(browser, proxy.url, room);
    await ann.page.clock.install();
    await ann.page.clock.pauseAt((await ann.page.evaluate(() => Date.now())) + 5_000);
    proxy.hold();
    await ann.add("unheard");
    await ann.shows("[ ] unheard (Saving)");
    await ann.page.clock.runFor(9_500);
    await ann.shows("[ ] unheard (Saving)");
    await ann.page.clock.runFor(600);
    await ann.shows();
    expect(await ann.notices()).toEqual(["Could not add “unheard” | The server did not answer within 10 seconds, so the change was undone."]);
  });

  test("an empty text is not sent", async () => {
    const [ann] = await two();
    await ann.add("kept");
    await ann.add("   ");
    await expect.poll(() => ann.page.getByText("A todo needs some text.").isVisible()).toBe(true);
    await ann.edit("kept", " ");
    await expect.poll(() => ann.notices()).toEqual([expect.stringContaining("was left as it was")]);
    await ann.shows("[ ] kept");
  });

  test("what is done offline is kept, shown as waiting, and sent when the network is back", async () => {
    const proxy = await proxied();
    const room = freshRoom();
    const [ann, bob] = await Promise.all([TodoPage.open(browser, proxy.url, room), TodoPage.open(browser, den.url, room)]);
    await ann.add("first", "second");
    await bob.shows("[ ] first", "[ ] second");

    proxy.cut();
    await ann.becomes(/^Offline: retrying in \d+ s$/);
    await ann.add("third");
    await ann.check("first").click();
    await ann.shows("[x] first (Waiting)", "[ ] second", "[ ] third (Waiting)");
    expect(await ann.left()).toBe("2 left · 2 to send");
    await bob.edit("second", "second, edited");
    await bob.add("fourth");
    await bob.shows("[ ] first", "[ ] second, edited", "[ ] fourth");

    proxy.mend();
    await ann.page.getByRole("button", { name: "Try now" }).click({ timeout: 2_000 }).catch(() => undefined);
    await ann.becomes(/^Live$/);
    const both = ["[x] first", "[ ] second, edited", "[ ] fourth", "[ ] third"];
    await ann.shows(...both);
    await bob.shows(...both);
    expect(await ann.notices()).toEqual([]);
  });

  test("todos that were written offline come back in the order in which they were written", async () => {
    const proxy = await proxied();
    const room = freshRoom();
    const [ann, bob] = await Promise.all([TodoPage.open(browser, proxy.url, room), TodoPage.open(browser, den.url, room)]);
    proxy.cut();
    await ann.becomes(/^Offline/);
    const written = Array.from({ length: 12 }, (_, at) => `number ${at + 1}`);
    await ann.add(...written);
    proxy.mend();
    await ann.becomes(/^Live$/);
    const list = written.map((text) => `[ ] ${text}`);
    await bob.shows(...list);
    await ann.shows(...list);
    await ann.page.reload();
    await ann.shows(...list);
  });

  test("a browser that says it is offline finds back by itself", async () => {
    const [ann, bob] = await two();
    await ann.add("before");
    await bob.shows("[ ] before");
    await ann.page.context().setOffline(true);
    await ann.add("meanwhile");
    await ann.page.context().setOffline(false);
    await ann.shows("[ ] before", "[ ] meanwhile");
    await bob.shows("[ ] before", "[ ] meanwhile");
    await ann.becomes(/^Live$/);
  });

  test.each(["SIGTERM", "SIGKILL"] as const)("pages stay open over a server that goes with %s and comes back", async (signal) => {
    const own = await Den.start();
    onTestFinished(() => own.close());
    const [ann, bob] = await two(own.url);
    await ann.add("before");
    await bob.shows("[ ] before");
    await own.down(signal);
    await ann.becomes(/^Offline/);
    await ann.add("while it was down");
    await own.up();
    await Promise.all([ann.becomes(/^Live$/), bob.becomes(/^Live$/)]);
    await bob.shows("[ ] before", "[ ] while it was down");
    await bob.add("after");
    await ann.shows("[ ] before", "[ ] while it was down", "[ ] after");
    expect([...ann.faults, ...bob.faults]).toEqual([]);
  });

  test("a room that cannot be opened says why, keeps what is written, and opens when it can be", async () => {
    const own = await Den.start();
    onTestFinished(() => own.close());
    const room = freshRoom();
    const bob = await TodoPage.open(browser, own.url, room);
    await bob.add("before");
    await bob.shows("[ ] before");
    await own.down();
    const mend = await own.damage(room);
    await own.up();

    const ann = await TodoPage.visit(browser, own.url, room);
    await ann.becomes(/^Not available: retrying in \d+ s$/);
    expect(await ann.blank()).toBe("This room cannot be opened. The room's storage cannot be opened.");
    await ann.add("written meanwhile");
    await ann.shows("[ ] written meanwhile (Waiting)");
    expect(await ann.blank()).toBe("This room cannot be opened. The room's storage cannot be opened.");
    await expect.poll(() => bob.blank()).toBe("This room is not available now. The room's storage cannot be opened.");
    await bob.shows("[ ] before");
    expect([...(await ann.notices()), ...(await bob.notices()), ...ann.faults, ...bob.faults]).toEqual([]);

    await own.down();
    await mend();
    await own.up();
    for (const page of [ann, bob]) {
      await page.shows("[ ] before", "[ ] written meanwhile");
      await page.becomes(/^Live$/);
      expect(await page.blank()).toBe("");
    }
  });

  test("a room that no server would open says why, and is not asked for again and again", async () => {
    const ann = await TodoPage.visit(browser, den.url, "x".repeat(300));
    await expect.poll(() => ann.blank()).toBe("This room cannot be opened. A room's name has 1 to 256 bytes of UTF-8.");
    expect(await ann.connection()).toBe("Closed by the server");
    await expect.poll(() => ann.page.getByRole("button", { name: "Try now" }).isVisible()).toBe(true);
  });

  test("a page whose server goes before the list has come says so", async () => {
    const proxy = await proxied();
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const page = await context.newPage();
    await page.routeWebSocket(/parties/, (socket) => {
      proxy.cut();
      socket.connectToServer();
    });
    await page.goto(proxy.url);
    await expect.poll(() => page.locator("#blank").textContent()).toBe("This room cannot be opened. The server cannot be reached.");
    await expect.poll(() => page.locator("#connection-words").textContent()).toMatch(/^Offline: retrying in \d+ s$/);
  });

  test("the link to a room is copied, and leads another browser there", async () => {
    const [ann] = await two();
    const { page } = ann;
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await ann.add("shared");
    await ann.shows("[ ] shared");
    await page.getByRole("link", { name: "Done" }).click();
    await ann.newTodo.focus();
    await page.keyboard.press("Shift+Tab");
    await expect.poll(() => ann.focused()).toMatch(/^room-\w+\s+Share or switch$/);
    await page.keyboard.press("Enter");
    await expect.poll(() => ann.focused()).toBe("Copy link");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByText("Copied.").isVisible()).toBe(true);
    const link = await page.evaluate(() => navigator.clipboard.readText());
    await page.keyboard.press("Escape");
    await expect.poll(() => ann.focused()).toMatch(/Share or switch$/);

    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const bob = await context.newPage();
    await bob.goto(link);
    await expect.poll(() => bob.locator(".text").allTextContents()).toEqual(["shared"]);
    expect(ann.faults).toEqual([]);
  });

  test("where the browser gives no clipboard, the link is there to be copied by hand", async () => {
    const [ann] = await two();
    await ann.page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await ann.page.getByRole("button", { name: "Share or switch" }).click();
    await ann.page.getByRole("button", { name: "Copy link" }).click();
    await expect.poll(() => ann.page.getByText("The link is selected").isVisible()).toBe(true);
    expect(await ann.page.evaluate(() => getSelection()!.toString())).toBe(ann.page.url());
  });

  test("from one room to another, and back", async () => {
    const [ann] = await two();
    const { page } = ann;
    const home = new URL(page.url()).searchParams.get("room")!;
    await ann.add("at home");
    await ann.shows("[ ] at home");
    const opener = page.getByRole("button", { name: "Share or switch" });
    await opener.click();
    await page.getByRole("dialog").getByLabel("Go to another list").fill(`  ${home} & away  `);
    await page.keyboard.press("Enter");
    await expect.poll(() => new URL(page.url()).searchParams.get("room")).toBe(`${home} & away`);
    await ann.becomes(/^Live$/);
    await ann.shows();
    await ann.add("away");
    await ann.shows("[ ] away");
    await opener.click();
    await page.getByRole("dialog").getByRole("link", { name: home, exact: true }).click();
    await ann.shows("[ ] at home");
    expect(ann.faults).toEqual([]);
  });

  test("the dialog is closed by its button, by Escape and from beside it, and Ctrl+Z in it deletes and brings back nothing", async () => {
    const [ann, bob] = await two();
    const { page } = ann;
    await ann.add("Milk");
    await ann.remove("Milk");
    await bob.shows();
    const dialog = page.getByRole("dialog");
    const close = [() => dialog.getByRole("button", { name: "Close" }).click(), () => page.keyboard.press("Escape"), () => page.mouse.click(5, 5)];
    for (const act of close) {
      await page.getByRole("button", { name: "Share or switch" }).click();
      await expect.poll(() => dialog.isVisible()).toBe(true);
      await page.keyboard.press("Control+z");
      await act();
      await expect.poll(() => dialog.isVisible()).toBe(false);
    }
    await ann.add("Tea");
    await bob.shows("[ ] Tea");
  });

  test.each([320, 1000])("a long room name is cut on a page of %d pixels, and can be read whole", async (width) => {
    const room = `${freshRoom()} ${"with a name that goes on ".repeat(8).trim()}`;
    const ann = await TodoPage.open(browser, den.url, room, { viewport: { width, height: 640 } });
    expect(await ann.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
    const { height, cut } = await ann.page.locator("#room").evaluate((name) => ({ height: name.getBoundingClientRect().height, cut: name.scrollWidth > name.clientWidth }));
    expect(cut).toBe(true);
    expect(height).toBeLessThan(30); // one line
    expect(await ann.page.locator("#room-button").getAttribute("title")).toBe(room);
    await ann.page.locator("#room-button").click();
    const whole = ann.page.getByRole("dialog").getByText(room);
    expect(await whole.evaluate((name) => name.scrollWidth <= name.parentElement!.clientWidth)).toBe(true);
  });

  test("everything can be done from the keyboard, and the focus is never lost", async () => {
    const [ann, bob] = await two();
    const { keyboard } = ann.page;
    await expect.poll(() => ann.focused()).toBe("New todo");
    const shown: string[] = [];
    for (const text of ["one", "two", "three"]) {
      await keyboard.type(text);
      await keyboard.press("Enter");
      shown.push(`[ ] ${text}`);
    }
    await ann.shows(...shown);
    await keyboard.press("ArrowDown");
    await expect.poll(() => ann.focused()).toBe("one");
    await keyboard.press("Space");
    await keyboard.press("ArrowDown");
    await keyboard.press("Enter");
    await keyboard.type(", edited");
    await keyboard.press("Enter");
    await bob.shows("[x] one", "[ ] two, edited", "[ ] three");
    await expect.poll(() => ann.focused()).toBe("two, edited");

    await keyboard.press("Enter");
    await keyboard.type(" in vain");
    await keyboard.press("Escape");
    await ann.shows("[x] one", "[ ] two, edited", "[ ] three");
    await expect.poll(() => ann.focused()).toBe("two, edited");

    await keyboard.press("Delete");
    await bob.shows("[x] one", "[ ] three");
    await expect.poll(() => ann.focused()).toBe("three");
    await keyboard.press("Tab");
    await expect.poll(() => ann.focused()).toBe("Edit “three”");
    await keyboard.press("Tab");
    await expect.poll(() => ann.focused()).toBe("Delete “three”");
    await keyboard.press("Enter");
    await bob.shows("[x] one");
    await expect.poll(() => ann.focused()).toBe("Delete “one”");
    await keyboard.press("Control+z");
    await bob.shows("[x] one", "[ ] three");
    await expect.poll(() => ann.focused()).toBe("three");
    await keyboard.press("Delete");
    await bob.shows("[x] one");
    await expect.poll(() => ann.focused()).toBe("one");
    await keyboard.press("ArrowUp");
    await expect.poll(() => ann.focused()).toBe("New todo");
    await keyboard.press("Shift+Tab");
    await keyboard.press("Tab");
    await expect.poll(() => ann.focused()).toBe("New todo");
  });

  test("focus and a draft survive what others do", async () => {
    const [ann, bob] = await two();
    await ann.add("mine", "theirs");
    await bob.shows("[ ] mine", "[ ] theirs");
    await ann.row("mine").getByText("mine").dblclick();
    await ann.editor.fill("a draft");
    await bob.edit("mine", "changed under it");
    await bob.remove("theirs");
    await ann.shows("[ ] changed under it");
    expect(await ann.editor.inputValue()).toBe("a draft");
    expect(await ann.editor.evaluate((editor) => editor === document.activeElement)).toBe(true);

    await bob.remove("changed under it");
    await expect.poll(() => ann.notices()).toEqual(["This todo was deleted while you were editing it | “a draft”"]);
    await ann.page.getByRole("button", { name: "Keep the text" }).click();
    expect(await ann.newTodo.inputValue()).toBe("a draft");
    expect(await ann.focused()).toBe("New todo");
  });

  test("the connection keeps its name over a reload, and a duplicated tab takes another", async () => {
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const names: (string | null)[] = [];
    const watch = (page: Page) => page.on("websocket", (socket) => names.push(new URL(socket.url()).searchParams.get("_pk")));
    const page = await context.newPage();
    watch(page);
    await page.goto(den.url);
    await expect.poll(() => names.length).toBe(1);
    await page.reload();
    await expect.poll(() => names.length).toBe(2);
    expect(names[1]).toBe(names[0]);

    const copied = context.waitForEvent("page");
    await page.evaluate(() => void open(location.href));
    const copy = await copied;
    const nameOf = (tab: Page) => tab.evaluate(() => sessionStorage.getItem("den.connection"));
    await expect.poll(() => nameOf(copy)).not.toBe(names[0]);
    expect(await nameOf(page)).toBe(names[0]);
  });

  describe.each([
    { name: "light", options: { colorScheme: "light" as const } },
    { name: "dark", options: { colorScheme: "dark" as const } },
    { name: "phone", options: { colorScheme: "light" as const, viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true } },
    { name: "phone-dark", options: { colorScheme: "dark" as const, viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true } },
  ])("drawn in $name", ({ name, options }) => {
    async function look({ page }: TodoPage, state: string): Promise<void> {
      await page.waitForTimeout(600);
      await page.screenshot({ path: `${screenshots}${name}-${state}.png` });
      const wide = page.locator("html, dialog[open]").evaluateAll((boxes) => boxes.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.tagName));
      expect(await wide).toEqual([]);
      expect((await contrasts(page)).filter(({ ratio }) => ratio < 4.5)).toEqual([]);
    }

    test("it is readable in every state, and fits", async () => {
      const proxy = await proxied();
      const room = freshRoom();
      const ann = await TodoPage.open(browser, proxy.url, room, options);
      await look(ann, "empty");

      await ann.add("Ship the first milestone", "Call Grandma about Sunday’s lunch", "Water the plants", "Buy oat milk, bread and the good butter", "Read the chapter on write-ahead logs again, slowly, and take notes this time because the last reading left nothing behind");
      await ann.check("Water the plants").click();
      await expect.poll(() => ann.list()).toHaveLength(5);
      await expect.poll(() => ann.page.locator(".mark:not(:empty)").count()).toBe(0);
      await look(ann, "todos");

      proxy.hold();
      await ann.add("Book the train");
      await look(ann, "pending");
      proxy.release();
      await expect.poll(() => ann.page.locator(".mark:not(:empty)").count()).toBe(0);

      await ann.row("Ship the first milestone").getByRole("button", { name: /^Edit/ }).focus();
      await ann.page.keyboard.press("Enter");
      await look(ann, "editing");
      await ann.page.keyboard.press("Escape");

      await ann.add("too long ".repeat(60));
      await expect.poll(() => ann.notices()).toHaveLength(1);
      await look(ann, "error");
      await ann.page.getByRole("button", { name: "Dismiss" }).click();

      proxy.cut();
      await ann.becomes(/^Offline/);
      await ann.add("Written on the train");
      await ann.check("Book the train").click();
      await look(ann, "offline");
      expect(ann.faults).toEqual([]);
    });

    test("its messages and its dialog are readable, and fit", async () => {
      const ann = await TodoPage.open(browser, den.url, freshRoom(), options);
      await ann.add("Milk");
      await ann.shows("[ ] Milk");
      await ann.check("Milk").click();
      await ann.page.getByRole("button", { name: "Clear completed" }).click();
      await look(ann, "undo");
      await ann.page.evaluate(() => localStorage.setItem("den.rooms", JSON.stringify(["kitchen", "a name that goes on ".repeat(9)])));
      await ann.page.reload();
      await ann.page.locator("#room-button").click();
      await ann.page.getByRole("button", { name: "Copy link" }).click();
      await look(ann, "room");

      const closed = await TodoPage.visit(browser, den.url, "x".repeat(300), options);
      await expect.poll(() => closed.blank()).toMatch(/^This room cannot be opened/);
      await look(closed, "closed");
    });
  });

  test("on a phone everything that is pressed is large enough for a finger", async () => {
    const ann = await TodoPage.open(browser, den.url, freshRoom(), { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true });
    await ann.newTodo.fill("Milk");
    await ann.page.getByRole("button", { name: "Add" }).tap();
    await ann.check("Milk").tap();
    await ann.shows("[x] Milk");
    const small = () =>
      ann.page.locator("button:visible, a:visible, input:visible").evaluateAll((elements) =>
        elements
          .map((element) => ({ what: element.outerHTML.slice(0, 60), ...element.getBoundingClientRect().toJSON() }))
          .filter(({ width, height }) => Math.round(width) < 44 || Math.round(height) < 44),
      );
    expect(await small()).toEqual([]);
    await ann.page.evaluate(() => localStorage.setItem("den.rooms", '["a","somewhere else"]'));
    await ann.page.reload();
    await ann.shows("[x] Milk");
    await ann.page.locator("#room-button").tap();
    await expect.poll(() => ann.page.getByRole("dialog").getByRole("link").count()).toBe(2);
    expect(await small()).toEqual([]);
    await ann.page.getByRole("button", { name: "Close" }).tap();
    await ann.row("Milk").getByRole("button", { name: "Edit “Milk”" }).tap();
    await ann.editor.fill("Oat milk");
    await ann.editor.press("Enter");
    await ann.shows("[x] Oat milk");
    await ann.row("Oat milk").getByRole("button", { name: "Delete “Oat milk”" }).tap();
    await ann.shows();
    expect(await small()).toEqual([]);
    await ann.page.getByRole("button", { name: "Undo" }).tap();
    await ann.shows("[x] Oat milk");
  });
});
