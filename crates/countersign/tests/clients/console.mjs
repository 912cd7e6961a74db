// Chromium in front of the console: each scenario in a browser context of its own, one JSON line each.
// Usage: console.mjs URL MODE [PROVIDER | FOLDER]: `people` (made-up ones), `provider` (signs in there),
// `shots` (screenshots of every page into FOLDER).
import { chromium } from 'playwright-core';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [url, mode, more] = process.argv.slice(2);
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'],
});

function must(holds, what) { if (!holds) throw new Error(what); }

// ── the agent ──
async function post(path, body, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  return (await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })).json();
}
async function agent(session, user = 'ann') {
  const asked = { agent: 'support-copilot', tenant: 'acct_alpha', user, session };
  const { access_token: token } = await post('/dev/token', asked);
  const call = (tool, args) => post('/v1/calls', { tool, arguments: args }, token);
  const draft = async (tool, args) => {
    const answer = await call(tool, args);
    must(answer.error?.reference, `no draft: ${JSON.stringify(answer)}`);
    return answer.error.reference;
  };
  return { call, draft };
}
const PAID = ['inv_500718', 'inv_500715', 'inv_500712', 'inv_500709'];
const refund = (n, cents, note = 'It came late.') => ['refund_invoice', { invoice_id: PAID[n], amount_cents: cents, note }];
const mail = (text) => ['send_customer_email', { to: 'nora@alpha.example', subject: 'Your refund', message: text }];

// ── people ──
const SAM = ['sam@acme.example', 'finance', ''];
const OPERATOR = ['op-1@acme.example', 'operations', ''];
const ALL = ['pat@acme.example', 'finance,operations,audit,support-leads', ''];

/// A page of somebody who is watched for errors, foreign requests and violated policies.
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const wrong = [];
  context.setDefaultTimeout(60000); // of a machine that does much else
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  const watch = (watched) => {
    watched.on('console', (message) => { if (message.type() === 'error' && !/status of 4\d\d|ERR_FAILED/.test(message.text())) wrong.push(message.text()); });
    watched.on('pageerror', (error) => wrong.push(String(error)));
    watched.on('dialog', (dialog) => { wrong.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
    watched.on('request', (request) => {
      const origin = new URL(request.url()).origin;
      if (origin !== new URL(url).origin && origin !== more) wrong.push(`asked ${request.url()}`);
    });
  };
  watch(page);
  return { context, page, wrong, watch };
}
async function be(page, [person, groups, tenants], to = '/console/drafts', stale = false) {
  await page.goto(`${url}/console/made-up?back=${encodeURIComponent(to)}`);
  const form = page.locator('form.fields');
  await form.locator('[name=person]').fill(person);
  await form.locator('[name=groups]').fill(groups);
  await form.locator('[name=tenants]').fill(tenants);
  if (stale) await form.locator('[name=stale]').check();
  await form.locator('button').click();
}
const text = (page) => page.locator('main').innerText();
const settled = (page) => page.waitForFunction(() => /carried out|nothing has changed/.test(document.querySelector('#state')?.innerText ?? ''), null, { timeout: 60000 });

const people = {
  async 'a draft is approved with keys, and the way back shows the decision'({ page }) {
    const { draft } = await agent('keys');
    const id = await draft(...refund(0, 701));
    await be(page, SAM);
    await page.keyboard.press('?');
    must(await page.locator('dialog[open]').count() === 1, 'no help');
    await page.keyboard.press('Escape');
    for (let n = 0; n < 40 && !(await page.evaluate(() => document.activeElement?.getAttribute('href')))?.includes(id); n += 1) await page.keyboard.press('j');
    await page.keyboard.press('k');
    await page.keyboard.press('j');
    await page.locator(`a[href="/console/drafts/${id}"]`).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(`**/drafts/${id}`);
    await page.locator('section[aria-label=Preview] table').waitFor();
    await page.keyboard.press('r');
    must(await page.evaluate(() => document.activeElement.name) === 'preset', 'R does not lead to the reasons');
    await page.keyboard.press('Tab'); await page.keyboard.press('Tab');
    await page.locator('h1').click();
    await page.keyboard.press('a');
    must(await page.evaluate(() => document.activeElement.value) === 'approve', 'A does not lead to the button');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => /sam@acme/.test(document.querySelector('#state')?.innerText ?? ''));
    await settled(page);
    await page.goBack();
    await page.waitForTimeout(500);
    must(await page.locator('button[value=approve]').count() === 0 || !page.url().endsWith(id), 'the decision is offered again');
  },
  async 'a rejection says why, in the words of the person'({ page }) {
    const { draft, call } = await agent('reject');
    const id = await draft(...refund(1, 702));
    await be(page, SAM, `/console/drafts/${id}`);
    await page.locator('summary', { hasText: 'Reject' }).click();
    await page.getByLabel('More information is needed first.').check();
    await page.locator('button[value=reject]').click();
    await page.waitForFunction(() => /rejected/.test(document.querySelector('#state')?.innerText ?? ''));
    const told = await call(...refund(1, 702));
    must(told.error?.code === 'rejected' && JSON.stringify(told).includes('More information is needed first.'), JSON.stringify(told));
    const own = await draft(...refund(1, 703));
    await page.goto(`${url}/console/drafts/${own}`);
    await page.locator('summary', { hasText: 'Reject' }).click();
    await page.getByLabel('In your own words').fill('Ask Nora first.');
    await page.locator('button[value=reject]').click();
    await page.waitForFunction(() => /Ask Nora first/.test(document.querySelector('#state')?.innerText ?? ''));
  },
  async 'without JavaScript all of it is there'({ page }) {
    const { draft } = await agent('plain');
    const id = await draft(...refund(2, 704));
    await page.goto(`${url}/console/drafts/${id}`);
    await page.locator('form.fields [name=person]').fill(SAM[0]);
    await page.locator('form.fields [name=groups]').fill(SAM[1]);
    await page.locator('form.fields button').click();
    must((await text(page)).includes('704'), 'the arguments are missing');
    await page.getByRole('link', { name: 'Show what the system has now' }).click();
    must((await text(page)).includes(PAID[2]), 'no preview');
    await page.getByRole('link', { name: 'Back to the draft' }).click();
    await page.getByRole('button', { name: 'Approve' }).click();
    must(/by sam@acme/.test(await text(page)), await text(page));
  },
  async 'of two tabs one decides and the other is told'({ context, page, watch }) {
    const { draft } = await agent('tabs');
    const id = await draft(...mail('Two tabs.'));
    await be(page, SAM, `/console/drafts/${id}`);
    const other = await context.newPage();
    watch(other);
    // The second one does not hear of what the first does.
    await other.route('**/console/events*', (route) => route.abort());
    await other.goto(`${url}/console/drafts/${id}`);
    await page.locator('button[value=approve]').click();
    await page.waitForFunction(() => /by sam@acme/.test(document.querySelector('#state')?.innerText ?? ''));
    await other.locator('button[value=approve]').click();
    await other.waitForLoadState();
    must(/It is .* by now|not, or no longer/.test(await text(other)), await text(other));
  },
  async 'a draft that expires while it is open is refused, and says so'({ page }) {
    const { draft } = await agent('late');
    const id = await draft('change_billing_address', { street: 'Hafenstrasse 12', city: 'Bremen' });
    await page.route('**/console/events*', (route) => route.abort());
    await be(page, ['kim@acme.example', 'support-leads', ''], `/console/drafts/${id}`);
    await page.locator('button[value=approve]').waitFor();
    await page.waitForTimeout(15500);
    await page.locator('button[value=approve]').click();
    await page.waitForLoadState();
    must(/its time is over|It is expired by now/.test(await text(page)), await text(page));
  },
  async 'a queue that is open shows a new draft by itself'({ page }) {
    const { draft } = await agent('live');
    await be(page, SAM);
    await page.waitForTimeout(1500);
    const id = await draft(...mail('It appears by itself.'));
    await page.locator(`a[href="/console/drafts/${id}"]`).waitFor({ timeout: 20000 });
  },
  async 'several drafts of a session are decided together, each shown whole'({ page }) {
    const { draft } = await agent('together');
    const ids = [await draft(...mail('One of three.')), await draft(...mail('Two of three.')), await draft(...mail('Three of three.'))];
    await be(page, SAM, `/console/drafts/${ids[0]}`);
    await page.getByRole('link', { name: 'Decide about 3 together' }).click();
    for (const words of ['One of three.', 'Two of three.', 'Three of three.']) must((await text(page)).includes(words), words);
    await page.locator(`input[value="${ids[1]}"]`).uncheck();
    await page.getByRole('button', { name: 'Approve what is ticked' }).click();
    must((await page.getByText('approved', { exact: true }).count()) === 2, await text(page));
    await page.goto(`${url}/console/drafts/${ids[1]}`);
    must(/waiting/.test(await text(page)), 'what was not ticked was decided');
  },
  async 'a sign-in that is too old leads to a fresh one and back'({ page }) {
    const { draft } = await agent('stale');
    const id = await draft(...mail('It takes a fresh sign-in.'));
    await be(page, SAM, `/console/drafts/${id}`, true);
    must(await page.locator('button[value=approve]').count() === 0, 'it can be approved');
    await page.getByRole('link', { name: 'Sign in again to approve' }).click();
    await page.locator('button.person', { hasText: SAM[0] }).click();
    await page.waitForURL(`**/drafts/${id}`);
    await page.locator('button[value=approve]').click();
    await page.waitForFunction(() => /by sam@acme/.test(document.querySelector('#state')?.innerText ?? ''));
  },
  async 'an agent is switched off, and somebody else switches it on'({ page }) {
    await be(page, OPERATOR, '/console/agents/dispatch-planner');
    await page.locator('summary', { hasText: 'Suspend' }).click();
    await page.getByLabel('Why?').fill('It acts oddly.');
    await page.getByRole('button', { name: 'Suspend' }).click();
    must(/is suspended by op-1@acme.example/.test(await text(page)), await text(page));
    must(await page.getByRole('button', { name: 'Resume' }).count() === 0, 'who suspended may resume');
    await be(page, ['op-2@acme.example', 'operations', ''], '/console/agents/dispatch-planner');
    await page.getByLabel('Why may it go on?').fill('It was a test.');
    await page.getByRole('button', { name: 'Resume' }).click();
    must(!/is suspended/.test(await text(page)), await text(page));
  },
  async 'signed out, a page that was open does nothing'({ context, page, watch }) {
    await be(page, SAM);
    const other = await context.newPage();
    watch(other);
    await other.goto(`${url}/console/drafts`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/signed-out');
    await other.goto(`${url}/console/drafts?view=all`);
    must(other.url().includes('/console/made-up'), other.url());
  },
  async 'markup, scripts and hidden characters are shown as text'({ page }) {
    const nasty = '<img src=x onerror=alert(1)><script>alert(2)</script>"\'&lt;b>';
    const hidden = 'refund\u202e\u200bdnufer';
    const { draft, call } = await agent('nasty', `ann${nasty}`);
    const id = await draft(...refund(3, 705, nasty));
    const other = await draft(...mail(`${nasty} ${hidden}`));
    await call(nasty.slice(0, 60), { [nasty]: nasty });
    await call('annotate_ticket', { ticket_id: 'tkt_300042', note: nasty });
    const nobody = { person: `sam@acme.example`, groups: `finance,operations,audit,${nasty.replaceAll(',', '')}`, tenants: '' };
    await be(page, [nobody.person, nobody.groups, ''], `/console/drafts/${id}`);
    for (const path of [`/console/drafts/${id}`, `/console/drafts/${other}`]) {
      await page.goto(url + path);
      must((await text(page)).includes(nasty), `${path}: ${await text(page)}`);
    }
    must((await text(page)).includes('\\u{202e}\\u{200b}'), 'hidden characters stay hidden');
    await page.locator('summary', { hasText: 'Reject' }).click();
    await page.getByLabel('In your own words').fill(nasty);
    await page.locator('button[value=reject]').click();
    await page.waitForFunction((words) => document.querySelector('#state')?.innerText.includes(words), nasty);
    await page.waitForTimeout(1500);
    const pages = ['activity', 'audit', `audit?code=${encodeURIComponent(nasty)}`, `activity?agent=${encodeURIComponent(nasty)}`, 'drafts?view=done', 'alerts', 'charts'];
    for (const path of pages) {
      await page.goto(`${url}/console/${path}`);
      for (const summary of await page.locator('details > summary').all()) await summary.click().catch(() => {});
      must(await page.locator('main img, main script, main b').count() === 0, `${path} has elements of theirs`);
    }
    await page.goto(`${url}/console/activity?outcome=refused`);
    must((await text(page)).includes('<img src=x'), 'the tool that nobody has is not shown');
    await be(page, [`<b>eve</b>@acme.example`, 'operations', '']);
    must((await page.locator('.me').innerText()).includes('<b>eve</b>@acme.example'), 'a name is not text');
  },
  async 'no page has an error that a reader of screens would meet, in either theme'({ context, page }) {
    const { call, draft } = await agent('axe');
    const id = await draft(...refund(3, 706));
    const { call: id_of } = await call('get_account_usage', { account_id: 'acct_alpha', days: 3 });
    await be(page, ALL);
    await page.waitForTimeout(1500);
    const paths = ['drafts', 'drafts?view=all', 'drafts?view=done', `drafts/${id}`, `drafts/${id}/together`, `drafts/${id}/preview`, 'unknown', 'activity', 'alerts', 'agents',
      'agents/support-copilot', 'switches', 'charts', 'audit', `calls/${id_of}`, 'made-up', 'signed-out', 'drafts/none'];
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      for (const path of paths) {
        await page.setViewportSize({ width: scheme === 'dark' ? 360 : 1440, height: 900 });
        await page.goto(`${url}/console/${path}`);
        const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        must(beyond <= 0, `${path} is ${beyond} px too wide`);
        // By the protocol, since no page lets a script of another's run.
        const client = await context.newCDPSession(page);
        await client.send('Runtime.evaluate', { expression: AXE });
        const { result } = await client.send('Runtime.evaluate', {
          expression: 'axe.run(document).then((r) => JSON.stringify(r.violations.map((v) => [v.impact, v.id, v.nodes[0].html.slice(0, 120)])))',
          awaitPromise: true,
        });
        const serious = JSON.parse(result.value).filter(([impact]) => impact === 'serious' || impact === 'critical');
        must(serious.length === 0, `${scheme} ${path}: ${JSON.stringify(serious)}`);
      }
    }
  },
};

const provider = {
  async 'somebody signs in at the company’s provider and is back where they were going'({ page }) {
    await page.goto(`${url}/console/drafts?view=all`);
    await page.waitForURL(`${url}/console/drafts?view=all`);
    must((await page.locator('.me').innerText()).includes('sam@acme.example'), await text(page));
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/signed-out');
    await page.getByRole('link', { name: 'Sign in' }).click();
    await page.waitForURL('**/console/drafts');
  },
};

// ── screenshots ──
async function shots(folder) {
  const { draft, call } = await agent('shots');
  const id = await draft(...refund(0, 4200, 'Paid twice, says the bank.'));
  await call('get_account_usage', { account_id: 'acct_bravo', days: 7 });
  const { call: one } = await call('list_invoices', { account_id: 'acct_alpha', limit: 5 });
  await draft(...mail('Invoice inv_500718 was paid twice; we have refunded 42.00 euros.'));
  const { page } = await open();
  await be(page, ALL);
  await page.waitForTimeout(1500);
  const pages = { queue: 'drafts', draft: `drafts/${id}`, together: `drafts/${id}/together`, activity: 'activity', call: `calls/${one}`, alerts: 'alerts',
    unknown: 'unknown', agents: 'agents', agent: 'agents/support-copilot', switches: 'switches', charts: 'charts', audit: 'audit', people: 'made-up' };
  for (const [name, path] of Object.entries(pages)) {
    for (const width of [360, 768, 1440]) {
      await page.emulateMedia({ colorScheme: width === 768 ? 'dark' : 'light' });
      await page.setViewportSize({ width, height: 900 });
      await page.goto(`${url}/console/${path}`);
      await page.waitForTimeout(400);
      await page.screenshot({ path: `${folder}/${name}-${width}.png` });
    }
  }
}

try {
  if (mode === 'shots') await shots(more);
  for (const [name, scenario] of Object.entries({ people, provider }[mode] ?? {})) {
    const opened = await open({ javaScriptEnabled: !name.startsWith('without JavaScript') });
    let why = null;
    try {
      await scenario(opened);
      if (opened.wrong.length) why = opened.wrong.join('; ');
    } catch (error) {
      why = `${error.message} (${opened.page.url()}) ${opened.wrong.join('; ')}`;
    }
    console.log(JSON.stringify({ scenario: name, why }));
    await opened.context.close();
  }
} finally {
  await browser.close();
}
