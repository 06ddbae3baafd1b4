// The pictures of the page and of the terminal in the README: tests/page/pictures makes them anew. No test of anything.

import { execFileSync } from 'node:child_process';
import { test } from '@playwright/test';
import { Office, dayFromToday, nodes } from './office';

test('a week at two offices', async ({ browser }) => {
  const folder = process.env.FASTI_README_PICTURES;
  test.skip(folder === undefined, 'only when asked for');
  const [first, second] = nodes();
  const core = await Office.open(browser, first!, { viewport: { width: 1100, height: 640 } });
  const denver = await Office.open(browser, second!);
  const monday = -((new Date().getDay() + 6) % 7);
  const add = (office: Office, day: number, hour: string, title: string, calendar: string, duration = 'PT1H30M') => ({
    '@type': 'Event', title, start: `${dayFromToday(monday + day)}T${hour}:00`, timeZone: 'America/Denver', duration, 'fasti:calendar': calendar,
  });
  const room = await core.post('/v1/resources', { name: 'Room 1' });
  await core.post('/v1/publish', {
    type: 'policy_start',
    payload: { policy_id: 'YSP-2027', title: 'Youth sports grants', start_date: dayFromToday(monday), end_date: dayFromToday(monday + 3) },
  });
  await core.post('/v1/policies/YSP-2027/approve', {});
  await core.post('/v1/bookings', { resource: room.id, event: add(core, 1, '09:00', 'Board meeting', 'board') });
  await core.post('/v1/events', add(core, 0, '10:00', 'Coaches’ round', 'sports'));
  await core.post('/v1/events', { ...add(core, 2, '08:30', 'Grant interviews', 'grants', 'PT3H'), status: 'tentative' });
  await core.post('/v1/events', add(core, 4, '09:00', 'Audit prep', 'board'));
  await denver.post('/v1/events', add(denver, 3, '10:00', 'Gym inspection', 'sports', 'PT2H'));
  await core.logIn();
  await core.calendar('Week');
  await core.event('Gym inspection').waitFor();
  await core.event('settled').or(core.event('Board meeting')).first().waitFor();
  await core.page.screenshot({ path: `${folder}/week.png` });

  const fasti = (...args: string[]) => {
    const env = { ...process.env, CLICOLOR_FORCE: '1', TZ: 'America/Denver' };
    const said = execFileSync(process.env.FASTI_PROGRAM!, ['--dir', first!.dir, ...args], { env, encoding: 'utf8' });
    return `<b>$ fasti ${args.join(' ')}</b>\n${html(said)}`;
  };
  const calls = [
    fasti('agenda', '--from', dayFromToday(monday), '--to', dayFromToday(monday + 4)),
    fasti('policies'),
    fasti('members'),
  ];
  const terminal = await browser.newPage({ viewport: { width: 1100, height: 640 } });
  await terminal.setContent(`<style>${TERMINAL}</style><pre>${calls.join('\n')}</pre>`);
  await terminal.locator('pre').screenshot({ path: `${folder}/terminal.png` });
  await terminal.close();
  await core.close();
  await denver.close();
});

const TERMINAL = `pre { display: inline-block; margin: 0; padding: 1.2em 1.4em; background: #1c1b20; color: #e6e1e5; font: 14px/1.45 monospace }
  .c1 { font-weight: bold } .c2 { opacity: 0.7 } .c31 { color: #ff8a80 } .c32 { color: #8bd5a0 } .c33 { color: #f2c46d } .c36 { color: #7fd0e0 }`;

/** What a terminal would show: colours and weights as classes. */
function html(said: string): string {
  const safe = said.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  let isOpen = false;
  return safe.replace(/\x1b\[([\d;]*)m/g, (_, codes: string) => {
    const end = isOpen ? '</span>' : '';
    const classes = codes.split(';').filter((code) => code !== '' && code !== '0');
    isOpen = classes.length > 0;
    return isOpen ? `${end}<span class="${classes.map((code) => `c${code}`).join(' ')}">` : end;
  });
}
