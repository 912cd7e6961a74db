// What others wrote is text: markup in every field of every page, each with a mark of its own.
import assert from 'node:assert/strict';
import { PATIENCE_MS, acts, address, agent, given, register } from './console-stage.mjs';

/// A text that becomes an element called so, or ends an attribute, wherever it is not escaped.
export const marked = (name) => given.markup.replaceAll('HERE', name);
const coded = (name) => encodeURIComponent(marked(name));
const HIDDEN = 'rec\u202enwod\u200b\u2066\u00adx\u{e0041}';
const SPELT = 'rec\\u{202e}nwod\\u{200b}\\u{2066}\\u{ad}x\\u{e0041}';

/// Nothing on the page was made of a mark. The text that it has, and the marks that are not in it.
async function read({ page }, marks) {
  const found = await page.evaluate(() => {
    document.querySelectorAll('details').forEach((one) => { one.open = true; });
    const own = (element) => (element.getAttribute('src') ?? '').startsWith('/console/assets/');
    const strange = [...document.querySelectorAll('img, script, b, iframe, object, [onerror], [onfocus], [id="HERE"]')];
    return { strange: strange.filter((element) => !own(element)).map((element) => element.outerHTML), text: document.body.textContent };
  });
  assert.deepEqual(found.strange, [], `${page.url()} has elements of theirs`);
  // A value within JSON has its quotes escaped.
  const text = found.text.replaceAll('\\"', '"');
  return { text, missing: marks.filter((mark) => !text.includes(marked(mark))) };
}
const told = (visit, { text, missing }) => assert.equal(missing.join(), '', `not shown as text on ${visit.page.url()}: ${missing}; in ${text.replace(/\s+/g, ' ')}`);

/// Each of the marks is on the page as text, and nothing on it was made of one.
const shows = async (visit, ...marks) => told(visit, await read(visit, marks));
/// The same of a page that is opened, again and again until what it is made from has been read.
async function open(visit, path, ...marks) {
  for (const end = Date.now() + PATIENCE_MS; ;) {
    await visit.open(path);
    const found = await read(visit, marks);
    if (!found.missing.length || Date.now() > end) return told(visit, found);
    await visit.page.waitForTimeout(500);
  }
}

/// Whoever reads all of it: their id, address and group are markup too.
async function somebody() {
  const person = marked('person');
  const groups = ['finance', 'audit', 'operations', marked('group')];
  await register({ [person]: { email: marked('address'), email_verified: true, groups, tenants: [] } });
  return person;
}

/// An agent in a session of which every name that a token has is markup.
const theirs = () => agent({
  client_id: 'claims-desk', tenant: marked('tenant'), sub: marked('subject'), sid: marked('session'),
  model: marked('model'), agent_build: marked('build'),
});

export const markup = {
  async 'markup in a draft is text: arguments, names, rows, summary, reasons'(visit) {
    const [person, asks] = [await somebody(), await theirs()];
    await visit.as(person);
    const first = await asks.draft('file_claim', { said: marked('said'), more: [marked('item')] });
    const second = await asks.draft('file_claim', { said: marked('other'), more: [] });
    const page = `/console/drafts/${first}`;
    await visit.open(page);
    await visit.page.locator('section[aria-label=Preview] table').waitFor();
    const whole = ['said', 'item', 'tenant', 'subject', 'group', 'team', 'contact', 'column', 'cell', 'street'];
    await shows(visit, ...whole, 'address');
    await open(visit, `${page}/preview`, 'column', 'cell', 'street');
    await open(visit, `${page}/together`, 'said', 'other', 'tenant');
    await open(visit, '/console/drafts', 'tenant');
    await open(visit, '/console/drafts?view=all', 'tenant');
    await visit.open(page);
    await visit.unfold('Reject');
    await visit.page.getByLabel('In your own words').fill(marked('reason'));
    await visit.press('Reject');
    await visit.says('rejected');
    await shows(visit, 'reason', 'address', 'said', 'tenant');
    await open(visit, '/console/drafts?view=done', 'tenant', 'address');
    assert.match(JSON.stringify(await asks.state(first)), /id=reason/);
    // What happened before is beside the next draft of the session.
    await open(visit, `/console/drafts/${second}`, 'other', 'said');
    await visit.page.getByLabel('Why?').fill(marked('withdrawn'));
    await visit.press('Withdraw');
    await visit.says('withdrawn');
    await shows(visit, 'withdrawn', 'address');
  },
  async 'markup in what is looked on at is text: calls, records, agents, switches, unknown outcomes'(visit) {
    const [person, asks] = [await somebody(), await theirs()];
    await visit.as(person);
    await asks.call(marked('tool'), { [marked('key')]: marked('value') }); // Of which only the name is kept.
    await asks.call('file_claim', { said: marked('refused'), more: [], [marked('extra')]: 1 });
    const desk = await agent({ tenant: marked('tenant'), sub: marked('subject') });
    const lost = await desk.draft('pay_out', { reference: 'pay_000078', amount_cents: 100 });
    await acts('sam', `drafts/${lost}/approve`);
    const others = await (await agent()).draft(...address('Hafenstrasse 13'));
    assert.equal((await desk.state(others)).error.code, 'unknown_draft');
    await open(visit, '/console/agents', 'purpose', 'team', 'contact');
    await open(visit, '/console/agents/claims-desk', 'purpose', 'team', 'contact', 'group', 'tenant');
    await open(visit, '/console/activity', 'tenant', 'tool');
    await open(visit, `/console/activity?outcome=refused&tenant=${coded('tenant')}`, 'tenant', 'tool');
    for (const field of ['agent', 'tenant', 'tool', 'code']) {
      await open(visit, `/console/activity?${field}=${coded(field)}`);
      assert.equal(await visit.page.locator(`form [name=${field}]`).inputValue(), marked(field));
    }
    await open(visit, `/console/audit?tenant=${coded('tenant')}`, 'tenant', 'subject', 'extra', 'refused', 'model', 'build');
    for (const field of ['since', 'until', 'agent', 'tool', 'code', 'call', 'draft', 'kind']) {
      await open(visit, `/console/audit?${field}=${coded(field)}`);
    }
    await visit.open(`/console/activity?tenant=${coded('tenant')}`);
    for (const link of (await visit.page.locator('table a[href*="/calls/"]').evaluateAll((all) => all.map((one) => one.getAttribute('href')))).slice(0, 3)) {
      await open(visit, link, 'tenant');
    }
    await open(visit, '/console/alerts', 'tenant');
    // What people say of it.
    await open(visit, '/console/unknown', 'tenant');
    const one = visit.page.locator('article').filter({ has: visit.page.locator(`a[href="/console/drafts/${lost}"]`) });
    await one.getByLabel('It happened', { exact: true }).check();
    await one.getByLabel('How do you know?').fill(marked('known'));
    await one.getByRole('button').click();
    await one.waitFor({ state: 'detached' });
    await open(visit, '/console/unknown?resolved=true', 'known', 'address', 'tenant');
    await visit.open('/console/switches');
    await visit.page.getByLabel('What').selectOption('tenant');
    await visit.page.getByLabel('Its name').fill(marked('tenant'));
    await visit.page.getByLabel('Why?').fill(marked('why'));
    await visit.press('Switch off');
    await visit.says(marked('why'));
    await shows(visit, 'tenant', 'why', 'address');
    await acts('oli', 'suspensions/resume', { kind: 'tenant', name: marked('tenant'), reason: 'It was a test.' });
    await open(visit, '/console/audit?kind=suspended', 'why', 'address');
    await open(visit, '/console/charts', 'address');
  },
  async 'markup in an address or a header is text, or nowhere'(visit) {
    const person = await somebody();
    await visit.context.setExtraHTTPHeaders({ 'user-agent': marked('agent'), 'accept-language': marked('language') });
    await visit.as(person);
    visit.expect(400, 401, 404, 403);
    const here = coded('here');
    const paths = [
      `/console/${here}`, `/console/drafts/${here}`, `/console/drafts/${here}/preview`, `/console/drafts/${here}/together`,
      `/console/drafts?view=${here}`, `/console/drafts?before=${here}`, `/console/agents/${here}`, `/console/calls/${here}`,
      `/console/unknown?resolved=${here}`, `/console/charts?span=${here}`, `/console/activity?before=${here}`, `/console/activity?since=${here}`,
      `/console/activity?outcome=${here}`, `/console/alerts?before=${here}`, `/console/audit?before=${here}`, `/console/assets/${here}`,
      `/console/signed-in?code=${here}&state=${here}`, `/console/signed-in?error=${here}&state=${here}&iss=${here}`,
    ];
    for (const path of paths) await open(visit, path);
    visit.forgive(/favicon/); // What is no page has no icon.
    for (const marks of [`?${here}`, `?back=/console/drafts%3Fview=${here}`]) {
      await visit.page.goto(`${given.made_up}/console/made-up${marks}`);
      await shows(visit);
    }
    const form = visit.page.locator('form.fields');
    await form.getByLabel('Address or id').fill(marked('made'));
    await form.getByLabel('Groups').fill('operations');
    await form.getByRole('button').click();
    await visit.page.waitForURL('**/console/drafts**');
    await shows(visit, 'made');
  },
  async 'what nobody would see is spelt out'(visit) {
    await register();
    const asks = await agent({ client_id: 'claims-desk', sub: `nora ${HIDDEN}` });
    const answer = await asks.call('file_claim', { said: `claim ${HIDDEN}`, more: [] });
    await visit.as(await somebody());
    const draft = answer.error.reference ?? await asks.draft('file_claim', { said: 'claim', more: [] });
    await visit.open(`/console/drafts/${draft}`);
    const spelt = [`nora ${SPELT}`, ...(answer.error.reference ? [`claim ${SPELT}`] : [])];
    for (const text of spelt) await visit.says(text);
    await visit.unfold('Reject');
    await visit.page.getByLabel('In your own words').fill(`why ${HIDDEN}`);
    await visit.press('Reject');
    await visit.says(`why ${SPELT}`);
    for (const view of ['done', 'all']) {
      await visit.open(`/console/drafts?view=${view}`);
      const all = await visit.page.locator('body').innerText();
      assert.doesNotMatch(all, /[\u00ad\u200b-\u200f\u202a-\u202e\u2066-\u2069]/u);
    }
  },
};
