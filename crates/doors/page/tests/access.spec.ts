// For everyone: axe finds nothing serious in any view, in both schemes, and pictures of them are made at three
// widths to be looked at.

import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { Office, dayFromToday, nodes } from './office';

const VIEWS = ['calendar', 'conflicts', 'policies', 'policies/YSP-2029', 'systems', 'network', 'report', 'start'];
/** What tells that a view has what it shows. */
const SHOWS: Record<string, string> = {
  conflicts: 'Chess',
  policies: 'YSP-2029',
  'policies/YSP-2029': 'Held by',
  systems: 'CRM',
  network: 'this office',
  report: 'YSP-2029',
};
const CALENDARS = ['Month', 'Week', 'Day', 'List', 'Rooms'] as const;
const WIDTHS = [360, 800, 1280];
const PICTURES = process.env.FASTI_PAGE_PICTURES ?? '../../../target/page/pictures';

test.beforeAll(async ({ browser }) => {
  const core = await Office.open(browser, nodes()[0]!);
  await core.post('/v1/publish', {
    type: 'policy_start',
    payload: { policy_id: 'YSP-2028', title: 'Swimming lessons', start_date: dayFromToday(-1), end_date: dayFromToday(1) },
  });
  await core.post('/v1/policies/YSP-2028/approve', {});
  const at = (hour: string, title: string, calendar: string, more = {}) =>
    core.post('/v1/events', {
      '@type': 'Event', title, start: `${dayFromToday(0)}T${hour}:00:00`, timeZone: 'America/Denver', duration: 'PT1H30M', 'fasti:calendar': calendar, ...more,
    });
  // Something for each view to show: what needs a person, and a system that is down.
  await core.post('/v1/publish', {
    type: 'policy_start',
    payload: { policy_id: 'YSP-2029', title: 'Summer camps', start_date: dayFromToday(0), end_date: dayFromToday(2) },
  });
  await core.post('/v1/policies/YSP-2029/approve', {});
  await core.post('/v1/publish', { type: 'policy_update', payload: { policy_id: 'YSP-2029', title: 'Summer camps for all' } });
  await core.api.post('/v1/resources', { data: { name: 'Hall', capacity: 1 } });
  for (const title of ['Choir', 'Chess']) {
    const event = { '@type': 'Event', title, start: `${dayFromToday(0)}T13:00:00`, timeZone: 'America/Denver', duration: 'PT1H', 'fasti:calendar': 'hall' };
    await core.api.post('/v1/bookings', { data: { resource: 'Hall', event } });
  }
  await core.api.post('/v1/subscriptions', { data: { name: 'CRM', callback_url: 'http://127.0.0.1:9/', start: 'beginning' } });
  await at('08', 'Gym opens', 'sports');
  await at('11', 'Budget talk', 'finance', { status: 'tentative' });
  await at('15', 'Called off', 'sports', { status: 'cancelled' });
  await core.close();
});

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of WIDTHS) {
    test(`every view at ${width} pixels, ${colorScheme}`, async ({ browser }) => {
      const size = { width, height: width < 500 ? 740 : 800 };
      const core = await Office.open(browser, nodes()[0]!, { colorScheme, viewport: size });
      const { page } = core;
      const look = async (name: string) => {
        const found = await new AxeBuilder({ page }).analyze();
        const serious = found.violations.filter((it) => it.impact === 'serious' || it.impact === 'critical');
        const told = serious.map((it) => `${name}: ${it.id}: ${it.nodes.map((node) => node.target.join(' ')).join('; ')}`);
        expect.soft(told).toEqual([]);
        // Nothing is wider than the window: what is wide scrolls in itself.
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect.soft(overflow, `${name} is wider than the window`).toBeLessThanOrEqual(0);
        await page.screenshot({ path: `${PICTURES}/${name.replace('/', '-')}-${colorScheme}-${width}.png` });
      };
      await page.goto('/');
      await page.getByLabel('App password').waitFor();
      await look('login');
      await core.logIn();
      // Whoever runs a network of one office is shown around first.
      await expect(page.getByRole('heading', { name: 'Welcome to Core' })).toBeVisible();
      for (const view of VIEWS) {
        await core.go(view);
        await expect(page.locator('main')).toContainText(SHOWS[view] ?? '');
        if (view !== 'calendar') await look(view);
      }
      for (const view of CALENDARS) {
        await core.calendar(view);
        if (view !== 'Rooms') await expect(core.event('Gym opens').first()).toBeAttached();
        await look(`calendar-${view.toLowerCase()}`);
      }
      await page.getByRole('button', { name: 'New event' }).click();
      await look('dialog');
      await page.keyboard.press('Escape');
      await core.calendar('List');
      await core.event('Chess').first().click();
      await expect(page.getByRole('dialog')).toContainText('displaced');
      await look('dialog-displaced');
      await core.close();
    });
  }
}
