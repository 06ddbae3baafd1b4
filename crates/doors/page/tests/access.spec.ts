// For everyone: axe finds nothing serious in any view, in both schemes, and pictures of them are made at three
// widths to be looked at.

import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { Office, dayFromToday, nodes } from './office';

const VIEWS = ['calendar', 'conflicts', 'policies', 'policies/YSP-2028', 'systems', 'network', 'report', 'start'];
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
      for (const view of VIEWS) {
        await core.go(view);
        await page.waitForLoadState('networkidle').catch(() => {});
        if (view !== 'calendar') await look(view);
      }
      for (const view of CALENDARS) {
        await core.calendar(view);
        if (view !== 'Rooms') await expect(core.event('Gym opens').first()).toBeAttached();
        await look(`calendar-${view.toLowerCase()}`);
      }
      await page.getByRole('button', { name: 'New event' }).click();
      await look('dialog');
      await core.close();
    });
  }
}
