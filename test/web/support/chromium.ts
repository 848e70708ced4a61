// The Chromium that the browser tests drive: DEN_CHROMIUM names it, or it is looked for where it usually is.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser } from "playwright-core";

export function findChromium(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env["DEN_CHROMIUM"]) return isProgram(env["DEN_CHROMIUM"]) ? env["DEN_CHROMIUM"] : undefined;
  const dirs = (env["PATH"] ?? "").split(delimiter).filter(Boolean);
  const names = ["chromium", "chromium-browser", "google-chrome"];
  return ["/usr/bin/chromium", ...dirs.flatMap((dir) => names.map((name) => join(dir, name)))].find(isProgram);
}

/** Where a missing browser is a failure and not a reason to skip. */
export function browserRequired(env: NodeJS.ProcessEnv = process.env): boolean {
  return env["CI"] === "true" || env["DEN_REQUIRE_BROWSER"] === "1";
}

export const MISSING = "no Chromium: set DEN_CHROMIUM to one, or install it (apt-get install chromium)";

export function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
