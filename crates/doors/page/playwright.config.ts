import { defineConfig } from '@playwright/test';

// The system's own Chromium: nothing is downloaded. Nodes are started by tests/tests/page.rs, which says in the
// environment where they are.
export default defineConfig({
  testDir: 'tests',
  outputDir: process.env.FASTI_PAGE_RESULTS ?? '../../../target/page/results',
  workers: 1,
  fullyParallel: false,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: 'list',
  use: {
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      // Containers have no namespaces for a sandbox, nor much shared memory.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    },
    actionTimeout: 15_000,
    navigationTimeout: 15_000,
    locale: 'en-US',
    timezoneId: 'America/Denver',
    viewport: { width: 1280, height: 800 },
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
  },
});
