// What people do with the page, told across two offices.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@playwright/test';
import { Office, dayFromToday, nodes } from './office';

let core: Office;
let denver: Office;

test.beforeEach(async ({ browser }) => {
  const [first, second] = nodes();
  core = await Office.open(browser, first!);
  denver = await Office.open(browser, second!);
  await core.logIn();
  await denver.logIn();
});

test.afterEach(async () => {
  await core.cut();
  await core.close();
  await denver.close();
});

/** The form, filled in. */
async function add(office: Office, title: string, more: { calendar?: string; books?: string; at?: string; day?: string } = {}) {
  const { page } = office;
  await page.getByRole('button', { name: 'New event' }).click();
  const dialog = page.getByRole('dialog', { name: 'New event' });
  await dialog.getByLabel('Title').fill(title);
  const day = more.day ?? dayFromToday(0);
  await dialog.getByLabel('Begins', { exact: true }).fill(day);
  await dialog.getByLabel('Ends', { exact: true }).fill(day);
  const at = more.at ?? '10:00';
  await dialog.getByLabel('Begins at').fill(at);
  await dialog.getByLabel('Ends at').fill(`${String(Number(at.slice(0, 2)) + 1).padStart(2, '0')}:00`);
  if (more.calendar) await dialog.getByLabel('Calendar').fill(more.calendar);
  if (more.books) await dialog.getByLabel('Books').selectOption({ label: more.books });
  await dialog.getByRole('button', { name: 'Add' }).click();
  await expect(dialog).toBeHidden();
}

test('an event is added, dragged and resized at one office, and seen at the other without reloading', async () => {
  await core.calendar('Week');
  await denver.calendar('Week');
  await add(core, 'Standup', { calendar: 'team', at: '09:00' });
  await expect(core.event('Standup')).toContainText('9:00');
  await expect(denver.event('Standup')).toContainText('9:00');
  // It has the same colour there, as that comes from the calendar's name.
  const colour = (office: Office) => office.event('Standup').evaluate((it) => getComputedStyle(it).backgroundColor);
  expect(await colour(core)).toBe(await colour(denver));

  const box = (await core.event('Standup').boundingBox())!;
  const { mouse } = core.page;
  await mouse.move(box.x + box.width / 2, box.y + 10);
  await mouse.down();
  await mouse.move(box.x + box.width / 2, box.y + 10 + 24, { steps: 4 });
  await mouse.move(box.x + box.width / 2, box.y + 10 + 96, { steps: 8 });
  await mouse.up();
  await expect(core.event('Standup')).toContainText('11:00');
  await expect(denver.event('Standup')).toContainText('11:00');

  const edge = (await core.event('Standup').boundingBox())!;
  await core.event('Standup').hover();
  await mouse.move(edge.x + edge.width / 2, edge.y + edge.height - 2);
  await mouse.down();
  await mouse.move(edge.x + edge.width / 2, edge.y + edge.height + 30, { steps: 6 });
  await mouse.move(edge.x + edge.width / 2, edge.y + edge.height + 46, { steps: 6 });
  await mouse.up();
  await expect(core.event('Standup')).toContainText('1:00');
  await expect(denver.event('Standup')).toContainText('1:00');
});

test('all that dragging does can be done with the keyboard', async () => {
  await core.calendar('Week');
  await add(core, 'Keys', { at: '14:00' });
  const { page } = core;
  await core.event('Keys').focus();
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog', { name: 'Event' });
  await expect(dialog.getByLabel('Title')).toBeFocused();
  await dialog.getByLabel('Begins at').fill('15:00');
  await dialog.getByLabel('Ends at').fill('16:30');
  await page.keyboard.press('Enter');
  await expect(dialog).toBeHidden();
  await expect(core.event('Keys')).toContainText('3:00');
  await core.event('Keys').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await expect(core.event('Keys')).toBeFocused();
});

test('one of a series is moved, and then all of it', async () => {
  const { page } = core;
  await core.post('/v1/events', {
    '@type': 'Event',
    uid: 'series',
    title: 'Series',
    start: `${dayFromToday(0)}T09:00:00`,
    timeZone: 'America/New_York',
    duration: 'PT1H',
    recurrenceRules: [{ '@type': 'RecurrenceRule', frequency: 'daily', count: 3 }],
  });
  await core.calendar('List');
  const series = core.event('Series');
  await expect(series.first()).toContainText('7:00', { timeout: 10_000 });
  await series.first().click();
  const dialog = page.getByRole('dialog', { name: 'Event' });
  await dialog.getByLabel('Begins at').fill('08:00');
  await dialog.getByLabel('Ends at').fill('09:00');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(dialog).toBeHidden();
  await expect(series.first()).toContainText('8:00');
  let event = await core.get('/v1/events/series');
  // In the series' own zone, and of that occurrence alone.
  expect(event.start).toBe(`${dayFromToday(0)}T09:00:00`);
  expect(event.recurrenceOverrides[`${dayFromToday(0)}T09:00:00`].start).toBe(`${dayFromToday(0)}T10:00:00`);

  await series.first().click();
  await dialog.getByLabel('all in the series').check();
  await dialog.getByLabel('Begins at').fill('07:30');
  await dialog.getByLabel('Ends at').fill('08:30');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(dialog).toBeHidden();
  event = await core.get('/v1/events/series');
  // By as much as this one was moved; what was said of this one goes along.
  expect(event.start).toBe(`${dayFromToday(0)}T08:30:00`);
  expect(event.recurrenceOverrides[`${dayFromToday(0)}T08:30:00`].start).toBe(`${dayFromToday(0)}T09:30:00`);
  expect(Object.keys(event.recurrenceOverrides)).toHaveLength(1);
});

test('a series is dragged: one of it, or nothing', async () => {
  const { page } = core;
  await core.post('/v1/events', {
    '@type': 'Event',
    uid: 'dragged',
    title: 'Drill',
    start: `${dayFromToday(-1)}T11:00:00`,
    timeZone: 'America/Denver',
    duration: 'PT1H',
    recurrenceRules: [{ '@type': 'RecurrenceRule', frequency: 'daily', count: 2 }],
  });
  await core.calendar('Day');
  const drag = async () => {
    await expect(core.event('Drill')).toContainText('11:00');
    const box = (await core.event('Drill').boundingBox())!;
    await page.mouse.move(box.x + 40, box.y + 10);
    await page.mouse.down();
    await page.mouse.move(box.x + 40, box.y + 34, { steps: 4 });
    await page.mouse.move(box.x + 40, box.y + 58, { steps: 4 });
    await page.mouse.up();
  };
  await drag();
  await page.getByRole('button', { name: 'Leave it' }).click();
  await drag();
  await page.getByRole('button', { name: 'Only this one' }).click();
  await expect(core.event('Drill')).toContainText('12:00');
  const event = await core.get('/v1/events/dragged');
  expect(event.start).toBe(`${dayFromToday(-1)}T11:00:00`);
  expect(event.recurrenceOverrides).toEqual({
    [`${dayFromToday(0)}T11:00:00`]: { start: `${dayFromToday(0)}T12:00:00`, duration: 'PT1H' },
  });
});

test('an event is cancelled at one office, and struck out at the other', async () => {
  await core.post('/v1/events', {
    '@type': 'Event', uid: 'off', title: 'Call <b onclick=alert(1)>off</b>', start: `${dayFromToday(0)}T19:00:00`, timeZone: 'America/Denver', duration: 'PT1H',
  });
  await core.calendar('List');
  await denver.calendar('List');
  // What others write is text, and never markup.
  await expect(denver.event('Call <b onclick=alert(1)>off</b>')).toBeVisible();
  await core.event('off</b>').click();
  await core.page.getByRole('button', { name: 'Cancel the event' }).click();
  await expect(core.event('off</b>')).toContainText('cancelled');
  await expect(denver.event('off</b>')).toContainText('cancelled');
});

test('what another changed meanwhile is not overwritten', async () => {
  await core.calendar('Week');
  await add(core, 'Contested', { at: '16:00' });
  const { occurrences } = await core.get(
    `/v1/events?expand=true&from=${dayFromToday(0)}&to=${dayFromToday(0)}&zone=America/Denver`,
  );
  const { uid } = occurrences.find((it: any) => it.event.title === 'Contested');
  await core.event('Contested').click();
  const dialog = core.page.getByRole('dialog', { name: 'Event' });
  const meanwhile = await core.api.patch(`/v1/events/${uid}`, { data: { title: 'Contested, by Denver' } });
  expect(meanwhile.ok()).toBe(true);
  await dialog.getByLabel('Title').fill('Contested, by Core');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(dialog.getByRole('alert')).toContainText('Nothing of yours was saved');
  await dialog.getByRole('button', { name: 'Close', exact: true }).last().click();
  await expect(core.event('Contested, by Denver')).toBeVisible();
});

test('a field that is edited two ways is shown to both, and decided by one click', async () => {
  await core.post('/v1/events', {
    '@type': 'Event', uid: 'split', title: 'Retreat', start: `${dayFromToday(0)}T12:00:00`, timeZone: 'America/Denver', duration: 'PT1H',
  });
  await core.calendar('Week');
  await denver.calendar('Week');
  await expect(denver.event('Retreat')).toBeVisible();
  await core.cut(denver);
  for (const [office, title] of [[core, 'Retreat in Rome'], [denver, 'Retreat in Paris']] as const) {
    await office.event('Retreat').click();
    const dialog = office.page.getByRole('dialog', { name: 'Event' });
    await dialog.getByLabel('Title').fill(title);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await expect(office.event(title)).toBeVisible();
  }
  await core.cut();
  const badge = (office: Office) => office.page.getByRole('link', { name: /^Conflicts/ });
  await expect(badge(core)).toContainText('1', { timeout: 40_000 });
  await expect(badge(denver)).toContainText('1', { timeout: 40_000 });
  await denver.go('conflicts');
  await core.go('conflicts');
  const article = denver.page.getByRole('article', { name: /Retreat/ });
  await expect(article).toContainText('Retreat in Rome');
  await expect(article).toContainText('Retreat in Paris');
  await article.getByRole('button', { name: /Paris/ }).click();
  await expect(denver.page.getByText('Nothing needs a decision.')).toBeVisible();
  await expect(core.page.getByText('Nothing needs a decision.')).toBeVisible();
  await core.calendar('Week');
  await expect(core.event('Retreat in Paris')).toBeVisible();
});

test('a room is booked twice at once: one booking holds, the other is displaced, and said to be', async () => {
  await core.calendar('Rooms');
  await denver.calendar('Rooms');
  await expect(denver.page.getByText('Nothing can be booked yet')).toBeVisible();
  await core.page.getByRole('button', { name: 'New room…' }).click();
  await core.page.getByLabel('Name').fill('Room 1');
  await core.page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
  for (const office of [core, denver]) await expect(office.page.locator('.fill').getByText('Room 1')).toBeVisible();
  await core.cut(denver);
  await add(core, 'Board', { books: 'Room 1', at: '13:00' });
  await add(denver, 'Interview', { books: 'Room 1', at: '13:00' });
  await core.cut();
  // Core has the say in its room, and had settled it before it heard of the other.
  await expect(core.event('Interview')).toContainText('displaced', { timeout: 40_000 });
  await expect(denver.event('Interview')).toContainText('displaced');
  await expect(denver.event('Board')).toBeVisible();
  await denver.go('conflicts');
  const article = denver.page.getByRole('article', { name: /Interview/ });
  await article.getByRole('button').first().click();
  await expect(article).toBeHidden();
});

test('an event that is dragged to another room stays where it is, and the page says why', async () => {
  for (const name of ['Attic', 'Barn']) await core.post('/v1/resources', { name });
  const event = { '@type': 'Event', title: 'Rehearsal', start: `${dayFromToday(0)}T09:00:00`, timeZone: 'America/Denver', duration: 'PT2H' };
  await core.post('/v1/bookings', { resource: 'Attic', event });
  await core.calendar('Rooms');
  const rehearsal = core.event('Rehearsal');
  await rehearsal.scrollIntoViewIfNeeded();
  const { page } = core;
  const [from, to] = [(await rehearsal.boundingBox())!, (await page.locator('.fill').getByText('Barn').boundingBox())!];
  await page.mouse.move(from.x + 20, from.y + 8);
  await page.mouse.down();
  await page.mouse.move(from.x + 20, (from.y + to.y) / 2, { steps: 4 });
  await page.mouse.move(from.x + 20, to.y + 8, { steps: 4 });
  await page.mouse.up();
  await expect(page.locator('.notice.error')).toContainText('keeps what it has booked');
  const bookings = (await core.get('/v1/bookings')).bookings.filter((it: any) => it.title === 'Rehearsal');
  expect(bookings.map((it: any) => [it.resource_name, it.state])).toEqual([['Attic', 'settled']]);
});

test('a policy is published, proposed at one office, approved at the other, and edited since', async () => {
  const { page } = denver;
  await denver.go('policies');
  await page.getByLabel('Number').fill('YSP-2027');
  await page.getByLabel('Title').fill('Youth sports');
  await page.getByLabel('First day').fill(dayFromToday(0));
  await page.getByLabel('Last day').fill(dayFromToday(3));
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.getByRole('button', { name: 'Propose' }).click();
  await expect(page.locator('main')).toContainText('proposed');
  // Denver is no approver, and is told so.
  await page.getByRole('button', { name: 'Approve' }).click();
  await expect(page.locator('.notice.error')).toContainText('approver');
  await page.getByRole('button', { name: 'Dismiss' }).first().click();

  await core.go('policies/YSP-2027');
  await core.page.getByRole('button', { name: 'Approve' }).click();
  await expect(core.page.getByRole('heading', { name: 'Approved version' })).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Approved version' })).toBeVisible();
  const history = page.getByRole('region', { name: 'History' });
  await expect(history).toContainText('Denver published it');
  await expect(history).toContainText('Core approved version');
  await expect(page.getByText('Held by 2 of 2 offices')).toBeVisible();

  // Dragged by a day, it says so.
  await denver.calendar('Month');
  await denver.event('Youth sports').first().click();
  const dialog = page.getByRole('dialog', { name: 'Event' });
  await expect(dialog).toContainText('An edit shows as changed');
  await dialog.getByLabel('Last day').fill(dayFromToday(4));
  await dialog.getByRole('button', { name: 'Save' }).click();
  await expect(dialog).toBeHidden();
  await expect(core.page.locator('main')).toContainText('changed since approval');
  await expect(core.page.getByRole('heading', { name: 'Edited since' })).toBeVisible();
  await expect(core.page.getByRole('region', { name: 'History' })).toContainText(/Denver wrote .*the last day/);
  await core.page.getByRole('button', { name: 'Approve as it stands now' }).click();
  await expect(core.page.getByRole('heading', { name: 'Edited since' })).toBeHidden();
  const [policy] = (await core.get('/v1/policies')).policies;
  expect(policy.approved[0].content['fasti:policy'].end).toBe(dayFromToday(4));

  await core.go('report');
  await expect(core.page.getByRole('article', { name: /YSP-2027/ })).toContainText('Held by');
});

test('a system that was down is delivered to again when somebody asks for it', async () => {
  let isDown = true;
  const taken: string[] = [];
  const system: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      response.statusCode = isDown ? 500 : 200;
      if (!isDown) taken.push(JSON.parse(body).data?.uid as string);
      response.end(isDown ? 'down' : '');
    });
  });
  await new Promise<void>((done) => system.listen(0, '127.0.0.1', done));
  try {
    const { page } = core;
    await core.go('systems');
    await page.getByLabel('Name').fill('CRM');
    await page.getByLabel('Address').fill(`http://127.0.0.1:${(system.address() as AddressInfo).port}/`);
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await expect(page.locator('code.secret')).toContainText('whsec_');
    await core.post('/v1/events', {
      '@type': 'Event', uid: 'owed', title: 'Owed', start: `${dayFromToday(0)}T18:00:00`, duration: 'PT1H',
    });
    const row = page.getByRole('row', { name: /owed/ });
    await expect(row).toContainText('pending');
    await expect(page.getByRole('row', { name: /CRM http/ })).toContainText('500');
    isDown = false;
    await page.getByRole('button', { name: 'Replay owed to CRM' }).click();
    await expect(page.getByText('Everything is confirmed.')).toBeVisible();
    expect(taken).toContain('owed');
    // All of it once more, for a system that lost what it had.
    taken.length = 0;
    await page.getByRole('button', { name: 'Replay to CRM' }).click();
    await page.getByRole('radio', { name: 'everything' }).check();
    await page.getByRole('button', { name: 'Deliver again' }).click();
    await expect(page.getByRole('dialog')).toBeHidden();
    await expect.poll(() => taken).toContain('owed');
  } finally {
    system.close();
  }
});

test('whoever comes first is led through; an app password logs in, and is worth nothing once taken back', async ({ browser }) => {
  const { page } = core;
  await core.go('start');
  await page.getByLabel('Its name').fill('Boston');
  await page.getByRole('button', { name: 'Make a ticket' }).click();
  await expect(page.getByText(/^fasti join /)).toBeVisible();
  await page.getByLabel('Name', { exact: true }).first().fill('ann');
  await page.getByRole('button', { name: 'Make a password' }).click();
  const password = await page.locator('code.secret').nth(2).innerText();
  await expect(page.getByText(/\/dav\/$/)).toBeVisible();

  const ann = await Office.open(browser, core.node);
  await ann.page.goto('/');
  await ann.page.getByLabel('Name').fill('ann');
  await ann.page.getByLabel('App password').fill('wrong');
  await ann.page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(ann.page.getByRole('alert')).toContainText('no user');
  await ann.page.getByLabel('App password').fill(password);
  await ann.page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(ann.page.getByRole('link', { name: 'Get started' })).toBeHidden();
  await expect(ann.page.getByText('live', { exact: true })).toBeVisible();
  await ann.go('network');
  await expect(ann.page.getByRole('button', { name: /Remove/ })).toBeHidden();
  await core.api.delete('/v1/users/ann');
  await expect(ann.page.getByRole('heading', { name: 'Log in to Fasti' })).toBeVisible();
  await ann.close();
});

test('the network shows who is away and behind', async () => {
  await core.go('network');
  const row = core.page.getByRole('row', { name: /^Denver/ });
  await expect(row).toContainText('linked', { timeout: 40_000 });
  await expect(row).toContainText('holds all');
  await core.cut(denver);
  await expect(row).toContainText('away');
  await core.post('/v1/events', { '@type': 'Event', title: 'Unheard', start: `${dayFromToday(0)}T20:00:00`, duration: 'PT1H' });
  await expect(row).toContainText(/\d+ (entry|entries) behind/);
  await core.cut();
  await expect(row).toContainText('holds all', { timeout: 40_000 });
});

test('a lost connection is said, and what was missed is shown once it is back', async () => {
  await core.calendar('Week');
  const { page } = core;
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  // Log-outs elsewhere and restarts end streams; here nothing gets through for a while.
  const context = page.context();
  await context.setOffline(true);
  await expect(page.getByText('Connection lost, trying again…')).toBeVisible();
  await core.post('/v1/events', { '@type': 'Event', title: 'Missed', start: `${dayFromToday(0)}T17:00:00`, timeZone: 'America/Denver', duration: 'PT1H' });
  await context.setOffline(false);
  await expect(core.event('Missed')).toBeVisible();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
});
