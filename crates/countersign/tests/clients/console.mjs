// Chromium in front of the console: scenarios, each in a browser of its own, one JSON line each. What is
// given is read from standard input (see `console-stage.mjs`); with `pictures`, pages are photographed.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { BRIEF_S, Visit, acts, address, agent, browser, given, invoice, refund, register } from './console-stage.mjs';
import { lookOver, photograph, tryOut } from './console-pages.mjs';
import { markup } from './console-markup.mjs';

const draftOf = async (agent_, [tool, args]) => `/console/drafts/${await agent_.draft(tool, args)}`;
const approve = (visit) => visit.page.locator('button[value=approve]');
const withoutNews = (context) => context.addInitScript(() => { delete window.EventSource; });
const state = async ({ state: of }, reference) => {
  const answer = await of(reference.split('/').pop());
  return answer.error?.code ?? answer.status;
};
/// Sends a form of this page's session, whatever the page offers.
const force = (visit, path, fields) => visit.page.evaluate(([to, all]) => {
  const form = Object.assign(document.createElement('form'), { method: 'post', action: to });
  const own = document.querySelector('[name=form]').value;
  for (const [name, value] of Object.entries({ form: own, ...all })) {
    form.append(Object.assign(document.createElement('input'), { type: 'hidden', name, value }));
  }
  document.body.append(form);
  form.submit();
}, [path, fields]);
const forceApproval = async (visit, draft) => {
  await Promise.all([visit.page.waitForURL('**/drafts/decide'), force(visit, '/console/drafts/decide', { draft: draft.split('/').pop(), decision: 'approve' })]);
};

const scenarios = {
  // ── deciding ──
  async 'from a link to the decision it is one glance and one click, on a telephone'(visit) {
    const of = invoice();
    const draft = await draftOf(await agent(), refund(of));
    await visit.page.setViewportSize({ width: 360, height: 740 });
    await visit.as('sam', draft);
    const seen = await approve(visit).boundingBox();
    assert.ok(seen && seen.y + seen.height <= 740, 'the button is out of sight');
    await visit.says('4200');
    await visit.page.locator('section[aria-label=Preview] td', { hasText: of }).first().waitFor();
    await approve(visit).click();
    await visit.says('carried out');
    await visit.says('by sam@acme.example');
    assert.equal(await approve(visit).count(), 0);
    // Times are the reader's own; UTC is on them.
    const time = visit.page.locator('time[title]').first(); // The page may be loading itself anew meanwhile.
    const [local, utc] = [await time.textContent(), await time.getAttribute('title')];
    assert.match(utc, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
    const hour = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', timeZone: 'Asia/Tokyo' }).format(new Date(utc.replace(' UTC', 'Z').replace(' ', 'T')));
    assert.match(local, new RegExp(`, ${hour}:`));
    return { refunded: [of] };
  },
  async 'a rejection with a usual reason reaches the agent'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, refund(invoice()));
    await visit.as('lee', draft);
    await visit.unfold('Reject');
    await visit.page.getByLabel('The amount or the recipient is wrong.').check();
    await visit.press('Reject');
    await visit.says(/rejected.*by lee@acme.example/);
    const told = await asks.state(draft.split('/').pop());
    assert.equal(told.error?.code, 'rejected');
    assert.match(JSON.stringify(told), /The amount or the recipient is wrong\./);
  },
  async 'and so does one in the person’s own words'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, refund(invoice()));
    await visit.as('sam', draft);
    await visit.unfold('Reject');
    await visit.page.getByLabel('In your own words').fill('Ask Nora first: “42” is not on the list.');
    await visit.press('Reject');
    await visit.says('Ask Nora first');
    assert.match(JSON.stringify(await asks.state(draft.split('/').pop())), /Ask Nora first: “42” is not on the list\./);
  },
  async 'several drafts of a session are decided together, each shown whole'(visit) {
    const [asks, all] = [await agent(), [invoice(), invoice(), invoice()]];
    const drafts = [];
    for (const of of all) drafts.push(await draftOf(asks, refund(of, `About ${of}.`)));
    await visit.as('sam', drafts[0]);
    await visit.follow('Decide about 3 together');
    for (const of of all) await visit.says(`About ${of}.`);
    await visit.page.locator(`input[value="${drafts[1].split('/').pop()}"]`).uncheck();
    await visit.press('Approve what is ticked');
    const approved = visit.page.getByText('approved', { exact: true });
    await approved.nth(1).waitFor();
    assert.equal(await approved.count(), 2);
    assert.equal(await state(asks, drafts[1]), 'approval_required');
    return { refunded: [all[0], all[2]] };
  },
  async 'keys lead through the queue to the decision'(visit) {
    const of = invoice();
    const draft = await draftOf(await agent(), refund(of));
    await visit.as('sam');
    const at = () => visit.page.evaluate(() => document.activeElement.getAttribute('href'));
    await visit.page.keyboard.press('?');
    await visit.page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await visit.page.keyboard.press('Escape');
    const back = (why) => visit.page.waitForFunction((to) => document.activeElement.getAttribute('href') === to, draft)
      .catch(async () => assert.fail(`${why}: ${await at()}`));
    await visit.page.locator(`a[href="${draft}"]`).waitFor();
    for (let n = 0; n < 60 && await at() !== draft; n += 1) await visit.page.keyboard.press('j');
    assert.equal(await at(), draft);
    // What comes in the meantime moves the list, and not the place in it.
    const later = await draftOf(await agent(), refund(invoice()));
    await visit.page.locator(`a[href="${later}"]`).waitFor();
    await back('the place is lost');
    await visit.page.keyboard.press('k');
    assert.notEqual(await at(), draft);
    await visit.page.keyboard.press('j');
    await back('back and forth');
    await visit.page.keyboard.press('Enter');
    await visit.page.waitForURL(`**${draft}`);
    await visit.page.keyboard.press('r');
    assert.equal(await visit.page.evaluate(() => document.activeElement.name), 'preset');
    await visit.page.locator('h1').click();
    await visit.page.keyboard.press('A');
    assert.equal(await visit.page.evaluate(() => document.activeElement.value), 'approve');
    await visit.page.keyboard.press('Enter');
    await visit.says('by sam@acme.example');
    return { refunded: [of] };
  },
  async 'a new draft appears in a queue that is open, by itself'(visit) {
    await visit.as('sam');
    const asks = await agent();
    await visit.page.waitForTimeout(1_200); // It has been looked at once.
    const draft = await draftOf(asks, refund(invoice()));
    const drafted = Date.now();
    await visit.page.locator(`a[href="${draft}"]`).waitFor();
    return { seen_after_ms: Date.now() - drafted };
  },
  async 'without JavaScript all of it is there, from the sign-in to the approval'(visit) {
    const of = invoice();
    const draft = await draftOf(await agent(), refund(of));
    await visit.as('sam', draft);
    await visit.says('4200');
    await visit.follow('Show what the system has now');
    await visit.says(of);
    await visit.follow('Back to the draft');
    await visit.press('Approve');
    await visit.says('by sam@acme.example');
    await visit.page.getByRole('navigation').getByRole('link', { name: 'Drafts' }).click();
    await visit.follow('Done');
    await visit.page.locator(`a[href="${draft}"]`).waitFor();
    return { refunded: [of] };
  },

  // ── not deciding ──
  async 'nobody agrees to what was asked for on their own behalf, known by their id'(visit) {
    await refusedAsSubject(visit, 'sam');
  },
  async 'nor known by their address'(visit) {
    await refusedAsSubject(visit, 'sam@acme.example');
  },
  async 'whoever is in no group sees nothing and decides nothing'(visit) {
    await hidden(visit, 'ann', refund(invoice()));
  },
  async 'nor does a lead of another tenant, and one of the tenant does'(visit) {
    const draft = await hidden(visit, 'bo', address('Hafenstrasse 12'));
    await visit.context.clearCookies();
    await visit.as('kim', draft);
    await approve(visit).click();
    await visit.says('carried out');
  },
  async 'a sign-in that is too old leads to a fresh one and back, and then approves once'(visit) {
    const [of, asks] = [invoice(), await agent()];
    const draft = await draftOf(asks, refund(of));
    await visit.as('sam', draft, 3_600);
    assert.equal(await approve(visit).count(), 0);
    visit.expect(401);
    await forceApproval(visit, draft);
    await visit.says('no older than 5 minutes');
    assert.equal(await state(asks, draft), 'approval_required');
    await visit.open(draft);
    const asked = visit.page.waitForRequest((one) => one.url().startsWith(given.issuer) && one.url().includes('code_challenge'));
    await visit.follow('Sign in again to approve');
    const query = new URL((await asked).url()).searchParams;
    assert.deepEqual([query.get('prompt'), query.get('max_age')], ['login', '0']);
    await visit.signIn('sam');
    assert.equal(visit.page.url(), given.gateway + draft);
    assert.equal(await state(asks, draft), 'approval_required', 'coming back approves nothing');
    await approve(visit).click();
    await visit.says('carried out');
    return { refunded: [of] };
  },
  async 'of two tabs one decides, and the other is told'(visit) {
    const of = invoice();
    const draft = await draftOf(await agent(), refund(of));
    await withoutNews(visit.context);
    await visit.as('sam', draft);
    const first = visit.page;
    visit.page = await visit.context.newPage();
    await visit.open(draft);
    await first.locator('button[value=approve]').click();
    await first.locator('main', { hasText: 'by sam@acme.example' }).waitFor();
    visit.expect(409);
    await approve(visit).click();
    await visit.says(/by now|no longer/);
    return { refunded: [of] };
  },
  async 'a page that is open shows by itself what another decided'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, refund(invoice()));
    await visit.as('sam', draft);
    await acts('lee', `drafts/${draft.split('/').pop()}/reject`, { reason: 'Twice the same.' });
    await visit.says('by lee@acme.example');
    await approve(visit).waitFor({ state: 'detached' });
  },
  async 'the way back shows what was decided'(visit) {
    const of = invoice();
    const draft = await draftOf(await agent(), refund(of));
    await visit.as('sam');
    await visit.page.locator(`a[href="${draft}"]`).click();
    await approve(visit).click();
    await visit.says('carried out');
    await visit.open('/console/drafts?view=done');
    await visit.page.goBack();
    await visit.says('by sam@acme.example');
    await visit.page.goBack();
    await visit.page.waitForLoadState();
    if (visit.page.url().endsWith(draft)) assert.equal(await approve(visit).count(), 0, 'it is offered again');
    return { refunded: [of] };
  },
  async 'a draft that expires while its page is open is refused, and the page says so'(visit) {
    const asks = await agent({ client_id: 'claims-desk' });
    await withoutNews(visit.context);
    await visit.as('ada');
    const draft = await draftOf(asks, ['file_soon', { said: 'It is late.', more: [] }]);
    await visit.open(draft);
    await visit.page.locator('time.urgent').first().waitFor();
    await visit.page.waitForFunction(() => [...document.querySelectorAll('time[data-until]')].every((time) => new Date(time.dateTime) < Date.now()));
    await visit.page.waitForTimeout(300);
    visit.expect(409);
    await approve(visit).click();
    await visit.says(/time is over|expired/);
    while (await state(asks, draft) === 'approval_required') await visit.page.waitForTimeout(200);
    assert.equal(await state(asks, draft), 'expired');
  },
  async 'and says so by itself where it hears of it'(visit) {
    const asks = await agent({ client_id: 'claims-desk' });
    await visit.as('ada');
    await visit.open(await draftOf(asks, ['file_soon', { said: 'It is later.', more: [] }]));
    await approve(visit).waitFor();
    await visit.says('expired');
    await approve(visit).waitFor({ state: 'detached' });
  },

  // ── sessions ──
  async 'signed out, what was open does nothing, and its cookie is worth nothing'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, refund(invoice()));
    await withoutNews(visit.context);
    await visit.as('sam', draft);
    const kept = await visit.context.cookies();
    const first = visit.page;
    const third = await visit.context.newPage();
    await third.goto(`${given.gateway}/console/drafts?view=all`);
    visit.page = await visit.context.newPage();
    await visit.open('/console/drafts');
    await visit.press('Sign out');
    await visit.page.waitForURL('**/console/signed-out');
    await visit.context.addCookies(kept.filter(({ name }) => name.includes('countersign')));
    visit.page = first;
    visit.expect(401);
    await approve(visit).click();
    await visit.says('Your session has ended: nothing was done.');
    assert.equal(await state(asks, draft), 'approval_required');
    // A page that was hidden all the while asks what is new when it is looked at again.
    await visit.context.clearCookies({ name: /_session/ });
    await third.evaluate(() => document.body.dispatchEvent(new Event('drafts')));
    await third.waitForURL(`${given.issuer}/interaction/**`);
    await visit.follow('Sign in');
    await visit.signIn('sam');
    await visit.page.waitForURL('**/console/drafts');
  },
  async 'a session ends with its token, on pages that are open too'(visit) {
    await register();
    await visit.as('brief', '/console/activity');
    const other = visit.page;
    await other.evaluate(() => { window.before = 'the same page'; });
    visit.page = await visit.context.newPage();
    await withoutNews(visit.page);
    await visit.open('/console/switches');
    await visit.page.waitForTimeout((BRIEF_S + 1) * 1_000);
    await visit.page.getByLabel('Why?').fill('Too late.');
    visit.expect(401, 403);
    await visit.press('Switch off');
    await visit.says(/(Your session has ended|This form is not of your session): nothing was done/);
    // The other page heard of it and went on to the provider, who knew them and sent them back.
    await other.waitForFunction(() => !window.before && document.querySelector('main h1')?.textContent === 'Activity');
  },
  async 'a cookie that somebody made up is no session'(visit) {
    const made = { name: 'countersign-session', value: 'A'.repeat(43), url: given.gateway };
    await visit.context.addCookies([made]);
    await visit.open('/console/drafts');
    await visit.signIn('sam');
    const [own] = (await visit.context.cookies()).filter(({ name }) => name === made.name);
    assert.notEqual(own.value, made.value);
    assert.deepEqual([own.httpOnly, own.sameSite, own.domain], [true, 'Lax', '127.0.0.1']);
    assert.equal(await visit.page.evaluate(() => document.cookie), '');
  },
  async 'another site neither frames the console nor sends a form of its own'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, refund(invoice()));
    await visit.as('sam', draft);
    const own = await visit.page.locator('[name=form]').first().inputValue();
    const evil = `<!doctype html><iframe src="${given.gateway}${draft}"></iframe>
      <form method=post action="${given.gateway}/console/drafts/decide"><input name=form value="${own}">
      <input name=draft value="${draft.split('/').pop()}"><input name=decision value=approve></form>`;
    const site = createServer((_request, response) => response.setHeader('content-type', 'text/html').end(evil));
    await new Promise((done) => { site.listen(0, '127.0.0.1', done); });
    try {
      // Another name of this machine: to a browser, another site.
      await visit.page.goto(`http://localhost:${site.address().port}/`);
      await visit.page.waitForTimeout(500);
      const framed = visit.page.frames().map((frame) => frame.url());
      assert.ok(!framed.some((url) => url.includes('/console/')), `framed: ${framed}`);
      await visit.page.evaluate(() => document.forms[0].submit());
      await visit.page.waitForURL('**/drafts/decide');
      assert.match(await visit.page.locator('body').innerText(), /Requests from this Origin are not accepted/);
    } finally {
      site.close();
    }
    visit.forgive(/localhost|frame|status of 403|favicon/);
    assert.equal(await state(asks, draft), 'approval_required');
  },

  // ── operating ──
  async 'who suspends does not resume; somebody else does, after a fresh sign-in'(visit) {
    await visit.as('oli', '/console/agents/dispatch-planner');
    await visit.unfold('Suspend');
    await visit.page.getByLabel('Why?').fill('It acts oddly.');
    await visit.press('Suspend');
    await visit.says(/suspended by oli@acme.example .*“It acts oddly.”/);
    assert.equal(await visit.page.getByRole('button', { name: 'Resume' }).count(), 0);
    visit.expect(403, 401);
    await Promise.all([visit.page.waitForURL('**/resume'), force(visit, '/console/switches/resume', { kind: 'agent', name: 'dispatch-planner', reason: 'It was me.' })]);
    await visit.says('Somebody else than who suspended it has to resume it.');
    const planner = await agent({ client_id: 'dispatch-planner' });
    const stopped = await planner.call('get_shipment', { shipment_id: 'shp_100001' });
    assert.equal(stopped.error?.code, 'suspended', JSON.stringify(stopped));
    await visit.context.clearCookies();
    await visit.as('pat', '/console/agents/dispatch-planner', 3_600);
    await visit.follow('Sign in again to resume');
    await visit.signIn('pat');
    await visit.page.getByLabel('Why may it go on?').fill('It was a test.');
    await visit.press('Resume');
    await visit.page.locator('main', { hasNotText: 'suspended by' }).waitFor();
    const goes = await planner.call('get_shipment', { shipment_id: 'shp_100001' });
    assert.notEqual(goes.error?.code, 'suspended');
  },
  async 'an operator says what came of an effect that nobody knows of'(visit) {
    const asks = await agent();
    const draft = await draftOf(asks, ['pay_out', { reference: 'pay_000077', amount_cents: 5_000 }]);
    await visit.as('sam', draft);
    await approve(visit).click();
    await visit.says('outcome unknown');
    await visit.context.clearCookies();
    await visit.as('oli', '/console/unknown');
    const one = visit.page.locator('article').filter({ has: visit.page.locator(`a[href="${draft}"]`) });
    await one.getByLabel('It did not', { exact: true }).check();
    await one.getByLabel('How do you know?').fill('The bank’s own list has none.');
    await one.getByRole('button', { name: 'Put it on record' }).click();
    await one.waitFor({ state: 'detached' });
    await visit.follow('All');
    await visit.says('It did not happen, says oli@acme.example');
    await visit.open(draft);
    await visit.says('tried, nothing has changed');
  },
  async 'activity shows new calls by itself, and one call’s whole story'(visit) {
    await visit.as('ada', '/console/activity');
    await visit.page.waitForTimeout(1_200);
    const asks = await agent();
    const { call } = await asks.call('get_account_usage', { account_id: 'acct_alpha', days: 3 });
    const line = visit.page.locator(`a[href="/console/calls/${call}"]`);
    await line.waitFor();
    await line.click();
    await visit.page.locator('.stages li', { hasText: 'Completed' }).waitFor();
  },
  async 'where people are made up, one chooses who to be'(visit) {
    await visit.page.goto(`${given.made_up}/console`);
    await visit.page.locator('button.person', { hasText: 'sam@acme.example' }).click();
    await visit.page.waitForURL('**/console/drafts');
    assert.match(await visit.page.locator('.me').innerText(), /sam@acme\.example/);
    await visit.press('Sign out');
    await visit.follow('Sign in');
    await lookOver(visit, { people: given.made_up + '/console/made-up' });
  },
  ...markup,
};

async function refusedAsSubject(visit, sub) {
  const asks = await agent({ sub });
  const draft = await draftOf(asks, refund(invoice()));
  await visit.as('sam', draft);
  await visit.says('on your own behalf');
  assert.equal(await approve(visit).count(), 0);
  visit.expect(403);
  await forceApproval(visit, draft);
  await visit.says('Not yours to do');
  assert.equal(await state(asks, draft), 'approval_required');
}

/// Somebody who must not even see a draft: neither by its address, nor listed, nor by a form.
async function hidden(visit, name, what) {
  const asks = await agent();
  const draft = await draftOf(asks, what);
  visit.expect(404);
  await visit.as(name, draft);
  await visit.says('Not here');
  for (const view of ['mine', 'all', 'done']) {
    await visit.open(`/console/drafts?view=${view}`);
    assert.equal(await visit.page.locator(`a[href="${draft}"]`).count(), 0, view);
  }
  await forceApproval(visit, draft);
  await visit.says('Not here');
  assert.equal(await state(asks, draft), 'approval_required');
  return draft;
}

async function run(name, scenario, number) {
  const begun = Date.now();
  const visit = await Visit.begin({ javaScriptEnabled: !name.startsWith('without JavaScript') });
  let [error, facts] = [null, {}];
  try {
    facts = await scenario(visit) ?? {};
  } catch (caught) {
    error = caught;
  }
  const failed = await visit.end(error, number);
  console.log(JSON.stringify({ scenario: name, ms: Date.now() - begun, failed, ...facts }));
}

/// Browsers at once: most of the time each of them waits.
const AT_ONCE = 3;
try {
  await register();
  const all = given.pictures
    ? [['pictures', (visit) => photograph(visit, given.pictures)]]
    : [...Object.entries(scenarios), ...await tryOut()];
  const only = all.filter(([name]) => name.includes(process.env.SCENARIO ?? ''));
  const queue = only.entries();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const [number, [name, scenario]] of queue) await run(name, scenario, number);
  }));
} finally {
  await browser.close();
}
