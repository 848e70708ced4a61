import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { name: "unit", include: ["unit/**/*.test.ts"] } },
      {
        test: {
          name: "server",
          include: ["wire/**/*.test.ts", "browser/**/*.test.ts"],
          globalSetup: ["support/build.ts"],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: 8_000, interval: 25 } },
        },
      },
    ],
  },
});
