// The picture of the page in the README: tests/page/pictures makes it anew. No test of anything.

import { test } from '@playwright/test';
import { Office, dayFromToday, nodes } from './office';

test('a week at two offices', async ({ browser }) => {
  const file = process.env.FASTI_README_PICTURE;
  test.skip(file === undefined, 'only when asked for');
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
  await core.page.screenshot({ path: file });
  await core.close();
  await denver.close();
});
