// An office as a test sees it: its page in a browser, and its node's API beside that.

import { expect, request, type APIRequestContext, type Browser, type BrowserContext, type Page } from '@playwright/test';

export interface Node {
  name: string;
  http: string;
  token: string;
  office: string;
  /** Its folder. */
  dir: string;
}

/** The nodes that were started for these tests: Core, Denver. */
export function nodes(): Node[] {
  const told = process.env.FASTI_NODES;
  if (!told) throw new Error('FASTI_NODES is missing: run these tests with cargo nextest run -p fasti-tests --test page');
  return JSON.parse(told) as Node[];
}

export class Office {
  /** What the page complained of: none of it may be there in the end. */
  readonly complaints: string[] = [];

  private constructor(
    readonly node: Node,
    readonly page: Page,
    readonly api: APIRequestContext,
    private readonly context: BrowserContext,
  ) {}

  static async open(browser: Browser, node: Node, options: Parameters<Browser['newContext']>[0] = {}): Promise<Office> {
    const context = await browser.newContext({ baseURL: node.http, ...options });
    const page = await context.newPage();
    const api = await request.newContext({
      baseURL: node.http,
      extraHTTPHeaders: { authorization: `Bearer ${node.token}` },
    });
    const office = new Office(node, page, api, context);
    page.on('pageerror', (error) => office.complaints.push(String(error)));
    page.on('console', (message) => {
      // A refusal that a test provokes is no complaint of the page's.
      const isRefusal = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !isRefusal) office.complaints.push(message.text());
    });
    return office;
  }

  /** Logs in by a link, as `fasti login` prints it. */
  async logIn() {
    const { path } = await this.post('/v1/session/link', {});
    await this.page.goto(path as string);
    await this.page.getByRole('navigation', { name: 'Views' }).waitFor();
    expect(new URL(this.page.url()).hash).not.toContain('login');
  }

  async go(view: string) {
    await this.page.goto(`/#/${view}`);
    await this.page.getByRole('heading', { level: 1 }).waitFor();
  }

  async calendar(view: 'Month' | 'Week' | 'Day' | 'List' | 'Rooms') {
    await this.go('calendar');
    await this.page.getByRole('button', { name: view, exact: true }).click();
    await expect(this.page.locator('[data-loaded=true]')).toBeVisible();
  }

  event(title: string) {
    return this.page.locator('.ec-event', { hasText: title });
  }

  async get(path: string): Promise<any> {
    const response = await this.api.get(path);
    expect(response.ok(), `${path}: ${await response.text()}`).toBe(true);
    return response.json();
  }

  async post(path: string, data: unknown): Promise<any> {
    const response = await this.api.post(path, { data });
    expect(response.ok(), `${path}: ${await response.text()}`).toBe(true);
    return response.json();
  }

  /** Cuts its links with these offices, and heals all others. */
  async cut(...others: Office[]) {
    const response = await this.api.put('/v1/faults', { data: { cut: others.map((it) => it.node.office) } });
    expect(response.ok(), await response.text()).toBe(true);
  }

  async close() {
    await this.context.close();
    await this.api.dispose();
    expect(this.complaints).toEqual([]);
  }
}

/** A day of this month or the next that is in the month view, as ISO. */
export const dayFromToday = (days: number): string => {
  const at = new Date(Date.now() + days * 86_400_000);
  return new Intl.DateTimeFormat('en-CA', { timeZone: 'America/Denver' }).format(at);
};
