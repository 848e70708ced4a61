// Builds den once for a run of the tests, from the project that they stand in. DEN_BINARY names one that is built already.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    denBinary: string;
  }
}

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));

export default function setup(project: TestProject): (() => void) | undefined {
  const built = process.env["DEN_BINARY"];
  if (built) {
    project.provide("denBinary", built);
    return undefined;
  }
  const dir = mkdtempSync(join(tmpdir(), "den-web-build-"));
  const binary = join(dir, process.platform === "win32" ? "den.exe" : "den");
  execFileSync("go", ["build", "-o", binary, "./cmd/den"], { cwd: projectRoot, stdio: "inherit" });
  project.provide("denBinary", binary);
  return () => rmSync(dir, { recursive: true, force: true });
}
