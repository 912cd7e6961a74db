// What scenarios of the console stand on: Chromium, watched; an agent; people who sign in at the provider.
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

/// What this run is told: where gateway, provider and its control are, and what is in the company.
export const given = JSON.parse(await text(process.stdin));
export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', chromiumSandbox: process.getuid() !== 0,
});

async function sent(url, body, token) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return answer.json();
}
const control = (what, body) => sent(`${given.control}/${what}`, body);

// ── people ──────────────────────────────────────────────────────────────────────────────────────

/// How long a session of `brief` lasts.
export const BRIEF_S = 20;
const ACME = (name, groups, more = {}) => ({ email: `${name}@acme.example`, email_verified: true, groups, tenants: [], ...more });
export const PEOPLE = {
  sam: ACME('sam', ['finance']),
  lee: ACME('lee', ['finance']),
  kim: ACME('kim', ['support-leads'], { tenants: ['acct_alpha'] }),
  bo: ACME('bo', ['support-leads'], { tenants: ['acct_bravo'] }),
  ann: ACME('ann', []),
  oli: ACME('oli', ['operations']),
  pat: ACME('pat', ['operations']),
  brief: ACME('brief', ['operations'], { token_s: BRIEF_S }),
  ada: ACME('ada', ['audit', 'operations', 'finance', 'support-leads']),
};
/// Somebody who is known only by what the provider says of them.
export const register = (more) => control('register', Object.assign(PEOPLE, more));

/// A token of somebody's, for what is to be the case before a scenario begins.
async function tokenOf(name) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { aud: 'countersign-people', client_id: 'countersign-people', sub: name, tenant: null, auth_time: now, ...PEOPLE[name] };
  return (await control('sign', { payload, header: { typ: 'JWT' } })).token;
}
/// What somebody does beside the browser: `what` is a path of the admin API.
export const acts = async (name, what, body = {}) => sent(`${given.gateway}/admin/v1/${what}`, body, await tokenOf(name));

// ── agents ──────────────────────────────────────────────────────────────────────────────────────

let sessions = 0;
/// An agent in a session of its own: what it calls, and what it drafts.
export async function agent(claims = {}) {
  sessions += 1;
  const payload = { sid: `session-${sessions}`, sub: 'u-ann', agent_build: '4.2.0', ...claims };
  const { token } = await control('sign', { payload });
  const call = (tool, args) => sent(`${given.gateway}/v1/calls`, { tool, arguments: args }, token);
  const draft = async (tool, args) => {
    const answer = await call(tool, args);
    assert.ok(answer.error?.reference, `no draft: ${JSON.stringify(answer)}`);
    return answer.error.reference;
  };
  return { call, draft, state: (reference) => call('check_draft', { reference }) };
}

const invoices = [...given.invoices];
export const invoice = () => invoices.pop() ?? assert.fail('too few invoices');
export const refund = (of, note = 'It came late.', cents = 4_200) => ['refund_invoice', { invoice_id: of, amount_cents: cents, note }];
export const address = (street, city = 'Hamburg') => ['change_billing_address', { street, city }];

// ── browsers ────────────────────────────────────────────────────────────────────────────────────

/// How long something may take, on a machine that has much else to do.
export const PATIENCE_MS = 120_000;

/// A browser of somebody's, which notes whatever must never be: an error on the console, a violated
/// policy, a dialog, a request to anybody but gateway and provider, and an answer that was not expected.
export class Visit {
  #wrong = [];
  #expected = [];
  #forgiven = [];

  static async begin(options = {}) {
    const visit = new Visit();
    visit.context = await browser.newContext({ viewport: { width: 1280, height: 900 }, timezoneId: 'Asia/Tokyo', locale: 'en-GB', ...options });
    visit.context.setDefaultTimeout(PATIENCE_MS);
    await visit.context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
    });
    visit.context.on('page', (page) => visit.#watch(page));
    visit.context.on('request', (request) => visit.#asked(request));
    visit.page = await visit.context.newPage();
    return visit;
  }

  #watch(page) {
    const note = (what) => this.#wrong.push(`${what} (${page.url()})`);
    page.on('console', (message) => {
      // A page that says no is one, and the browser says so; nothing that a page loads may.
      const refused = /^Failed to load resource: .* status of (4\d\d)/.exec(message.text());
      const whole = message.location().url === page.url();
      if (refused && whole && this.#expected.includes(Number(refused[1]))) return;
      if (['error', 'warning'].includes(message.type())) note(`console: ${message.text()} ${message.location().url}`);
    });
    page.on('pageerror', (error) => note(`script: ${error}`));
    page.on('dialog', (dialog) => { note(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  }

  #asked(request) {
    const { origin, protocol } = new URL(request.url());
    const own = [given.gateway, given.issuer, given.made_up].includes(origin);
    if (!own && protocol !== 'data:') this.#wrong.push(`asked ${request.url()}`);
  }

  /// From here on a page may answer with this status.
  expect(...status) { this.#expected.push(...status); }
  /// What reads so is what the scenario is about.
  forgive(pattern) { this.#forgiven.push(pattern); }

  /// Opens a page of the console and signs in on the way, if it asks for that.
  async as(name, path = '/console/drafts', ago = 0) {
    await this.page.goto(given.gateway + path);
    await this.signIn(name, ago);
    assert.equal(this.page.url(), given.gateway + path);
  }
  async signIn(name, ago = 0) {
    assert.ok(this.page.url().startsWith(`${given.issuer}/interaction/`), `no sign-in page but ${this.page.url()}`);
    await this.page.getByLabel('Account').fill(name);
    await this.page.getByLabel('Seconds ago').fill(String(ago));
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.page.waitForURL(`${given.gateway}/**`);
  }

  open(path) { return this.page.goto(given.gateway + path); }
  said() { return this.page.locator('main').innerText(); }
  /// Waits until the page says so, by itself or on its next one.
  async says(what) {
    await this.page.locator('main').filter({ hasText: what }).waitFor()
      .catch(async () => assert.fail(`not ${what} but: ${await this.said()}`));
  }
  press(name) { return this.page.getByRole('button', { name, exact: true }).click(); }
  follow(name) { return this.page.getByRole('link', { name }).click(); }
  unfold(name) { return this.page.locator('summary', { hasText: name }).click(); }

  /// What was wrong. It ends the browser, and keeps a picture of its page if there is something.
  async end(error, name) {
    const own = this.#wrong.filter((what) => !this.#forgiven.some((pattern) => pattern.test(what)));
    const wrong = [...own, ...(error ? [error.stack.split('\n').slice(0, 9).join(' ')] : [])];
    if (wrong.length && this.page) await this.page.screenshot({ path: `${given.failed}/${name}.png`, timeout: 5_000 }).catch(() => {});
    await this.context.close();
    return wrong;
  }
}
