// Every page of the console, as people come to see it: looked over for barriers, and photographed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { acts, address, agent, given, invoice, refund } from './console-stage.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = [360, 768, 1440];

/// A day at the company: what there is to see on each page, and where.
async function live() {
  const desk = await agent({ sub: 'u-nora' });
  const of = invoice();
  await desk.call('search_tickets', { text: 'invoice', limit: 5 });
  await desk.call('list_invoices', { account_id: 'acct_alpha', status: 'paid', limit: 10 });
  const { call } = await desk.call('get_account_usage', { account_id: 'acct_alpha', days: 7 });
  await desk.call('get_account_usage', { account_id: 'acct_bravo', days: 7 });
  await desk.call('read_ticket', { ticket_id: 'tkt_301485' });
  const draft = await desk.draft(...refund(of, 'Charged twice for one collection; ticket tkt_301485.'));
  await desk.draft('send_customer_email', {
    to: 'nora@alpha.example', subject: 'Your refund', message: `Dear Ms Lindqvist,\n\nwe have refunded 42.00 euros of ${of}.`,
  });
  await desk.draft(...refund(invoice(), 'The pallet of shp_101885 arrived damaged.', 12_500));
  const bravo = await agent({ sub: 'u-sofia', tenant: 'acct_bravo' });
  await bravo.call('list_contacts', { account_id: 'acct_bravo' });
  await bravo.draft(...address('Torgauer Strasse 231', 'Leipzig'));
  const foreign = await bravo.call('check_draft', { reference: draft });
  assert.equal(foreign.error.code, 'unknown_draft');
  await bravo.call('drop_all_tables', { really: true });
  const planner = await agent({ client_id: 'dispatch-planner', sub: 'u-jan', depots: ['HAM'] });
  await planner.call('find_shipments', { filter: { account_id: 'acct_alpha', from: '2026-12-01', to: '2026-12-09' }, limit: 20 });
  await planner.call('get_shipment', { shipment_id: 'shp_100001' });
  const done = await desk.draft(...refund(invoice(), 'Goodwill.', 900));
  await acts('sam', `drafts/${done}/reject`, { reason: 'The customer did not ask for this.' });
  const lost = await desk.draft('pay_out', { reference: 'pay_004711', amount_cents: 2_500 });
  await acts('sam', `drafts/${lost}/approve`);
  await acts('oli', 'suspensions', { kind: 'tool', name: 'get_temperature_log', reason: 'Clocks of the trailers are wrong since their update.' });
  await acts('sam', 'delegations', { to: 'kim@acme.example', until: new Date(Date.now() + 432_000_000).toISOString() });
  await new Promise((given_up) => { setTimeout(given_up, 7_000); });
  return { draft, done, lost, call };
}

/// The pages: a name, who looks at them, where they are, and how long ago their sign-in was. A new page is
/// a new line.
export const PAGES = [
  ['all', 'ada', () => '/console/drafts?view=all'],
  ['done', 'ada', () => '/console/drafts?view=done'],
  ['rejected', 'ada', ({ done }) => `/console/drafts/${done}`],
  ['lost', 'ada', ({ lost }) => `/console/drafts/${lost}`],
  ['activity', 'ada', () => '/console/activity'],
  ['call', 'ada', ({ call }) => `/console/calls/${call}`],
  ['alerts', 'ada', () => '/console/alerts'],
  ['unknown', 'ada', () => '/console/unknown'],
  ['agents', 'ada', () => '/console/agents'],
  ['agent', 'ada', () => '/console/agents/support-copilot'],
  ['reach', 'ada', () => '/console/reach'],
  ['switches', 'pat', () => '/console/switches'],
  ['charts', 'ada', () => '/console/charts?span=hour'],
  ['audit', 'ada', () => '/console/audit'],
  ['queue', 'sam', () => '/console/drafts'],
  ['draft', 'sam', ({ draft }) => `/console/drafts/${draft}`],
  ['together', 'sam', ({ draft }) => `/console/drafts/${draft}/together`],
  ['preview', 'sam', ({ draft }) => `/console/drafts/${draft}/preview`],
  ['absence', 'sam', () => '/console/drafts/absence'],
  ['not-yours', 'sam', () => '/console/agents'],
  ['stale', 'lee', ({ draft }) => `/console/drafts/${draft}`, 3_600],
  ['empty', 'ann', () => '/console/drafts'],
  ['nowhere', 'ann', () => '/console/drafts/none'],
];

/// Opens a page as it is once all of it is there.
async function whole(visit, url) {
  await visit.page.goto(url);
  await visit.page.waitForFunction(() => !document.querySelector('[hx-trigger=load]:not(:has(table, .empty))') && document.querySelector('#status'));
}

/// Everybody can read these pages, in either theme and at every width, and none is wider than its window.
export async function lookOver(visit, pages) {
  const { page, context } = visit;
  const client = await context.newCDPSession(page);
  for (const [name, url] of Object.entries(pages)) {
    await whole(visit, url);
    await page.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
    // By the protocol, since no page runs a script that is not the console's.
    await client.send('Runtime.evaluate', { expression: AXE });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(beyond <= 0, `${name} is ${beyond} px wider than ${width}`);
        const { result } = await client.send('Runtime.evaluate', { expression: FOUND, awaitPromise: true });
        const grave = JSON.parse(result.value).filter(({ impact }) => ['serious', 'critical'].includes(impact));
        assert.deepEqual(grave, [], `${name}, ${colorScheme}, ${width} px`);
      }
    }
  }
}
const FOUND = `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => JSON.stringify(
  violations.map(({ impact, id, help, nodes }) => ({ impact, id, help, nodes: nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)) }))))`;

/// A scenario for the pages of each who looks.
export async function tryOut() {
  const seen = await live();
  const who = [...new Set(PAGES.map(([, name]) => name))];
  return who.map((person) => [`everybody can read what ${person} sees`, async (visit) => {
    const theirs = PAGES.filter(([, name]) => name === person);
    visit.expect(403, 404);
    await visit.as(person, theirs[0][2](seen), theirs[0][3]);
    await lookOver(visit, Object.fromEntries(theirs.map(([name, , path]) => [name, given.gateway + path(seen)])));
    if (person === 'sam') {
      await visit.page.keyboard.press('?');
      await lookOver(visit, {});
    }
  }]);
}

/// A few minutes of the same day, so that charts have something to show.
async function goOn(minutes) {
  const desk = await agent({ sub: 'u-nora' });
  const planner = await agent({ client_id: 'dispatch-planner', sub: 'u-jan', depots: ['HAM'] });
  for (let n = 0; n < minutes * 6; n += 1) {
    await desk.call('get_account_usage', { account_id: n % 5 ? 'acct_alpha' : 'acct_bravo', days: 1 + n });
    await planner.call('get_shipment', { shipment_id: `shp_10${String(1000 + n * 3).padStart(4, '0')}` });
    if (n % 7 === 3) await desk.call('list_invoices', { account_id: 'acct_alpha', limit: 5_000 });
    await new Promise((later) => { setTimeout(later, 10_000); });
  }
}

/// Makes the pictures of the documentation: each page at three widths, the middle one dark.
export async function photograph(visit, folder) {
  await goOn(Number(process.env.MINUTES ?? 4));
  const seen = await live();
  visit.expect(403, 404);
  let who = null;
  const shots = PAGES.map(([name, person, path, ago]) => [name, person, given.gateway + path(seen), ago]);
  for (const [name, person, url, ago] of [...shots, ['people', null, `${given.made_up}/console/made-up`]]) {
    if (person && person !== who) {
      await visit.context.clearCookies();
      await visit.as(person, '/console/drafts', ago);
    }
    who = person;
    for (const width of WIDTHS) {
      await visit.page.emulateMedia({ colorScheme: width === 768 ? 'dark' : 'light' });
      await visit.page.setViewportSize({ width, height: 900 });
      await whole(visit, url);
      const tall = await visit.page.evaluate(() => document.documentElement.scrollHeight);
      await visit.page.setViewportSize({ width, height: Math.min(Math.max(tall, 500), 1_400) });
      const path = `${folder}/${name}-${width}.png`;
      await visit.page.screenshot({ path });
      execFileSync('pngquant', ['--force', '--skip-if-larger', '--speed', '1', '--strip', '--output', path, '64', path]);
    }
  }
}
