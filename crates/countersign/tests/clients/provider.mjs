// An OpenID provider for the tests: the real one, on loopback, with keys that can be changed while it
// runs. Everything secret in it is made up. It ends when its standard input does.
//
// Beside the provider stands a control server that signs whatever it is asked to, as an attacker would
// who has some key, and counts how often the keys were fetched.
import { createServer } from 'node:http';
import { createHmac } from 'node:crypto';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const RESOURCE = process.argv[2];
let keys = []; // { kid, alg, privateKey, jwk }, the newest first
let made = 0;
let fetches = 0;
let provider;

async function key(alg) {
  made += 1;
  const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
  const kid = `key-${made}`;
  const jwk = { ...(await jose.exportJWK(privateKey)), kid, alg, use: 'sig' };
  return { kid, alg, privateKey, publicKey, jwk };
}

async function build() {
  const built = new Provider(issuer, {
    jwks: { keys: keys.map(({ jwk }) => jwk) },
    clients: [{
      client_id: 'support-copilot', client_secret: 'made-up', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [], id_token_signed_response_alg: keys[0].alg,
    }, {
      // People: a public client on loopback, whose port does not count (RFC 8252).
      client_id: 'countersign-people', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/console/signed-in'], response_types: ['code'],
      id_token_signed_response_alg: keys[0].alg, require_auth_time: true,
    }],
    claims: { openid: ['sub', 'groups', 'tenants'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId, ...(people.get(accountId) ?? person) }) }),
    ttl: { IdToken: (_ctx, token) => people.get(token.available.sub)?.token_s ?? 3600 },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    scopes: ['usage:read', 'tickets:read'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, client) => (client.clientId === 'countersign-people' ? undefined : RESOURCE),
        getResourceServerInfo: () => ({
          scope: 'usage:read tickets:read', audience: RESOURCE, accessTokenTTL: 600,
          accessTokenFormat: 'jwt', jwt: { sign: { alg: keys[0].alg } },
        }),
      },
    },
    extraTokenClaims: () => ({ tenant: 'acct_alpha', person: 'p-1' }),
  });
  built.on('server_error', (_ctx, error) => console.error(error));
  oidc = built;
  provider = built.callback();
}

// Whoever is asked to sign in is this person, and agrees; once people are registered, they are asked who
// they are on a page, and how many seconds ago that was.
let person = { email: 'sam@acme.example', email_verified: true, groups: ['finance'], tenants: [] };
let account = 'p-sam';
let people = new Map(); // The claims of each, and for how long their tokens count (`token_s`).
let oidc;
const PAGE = `<!doctype html><html lang="en"><title>Who are you?</title><link rel="icon" href="data:,"><form method="post">
<label>Account <input name="account" required></label> <label>Seconds ago <input name="ago" value="0"></label>
<button>Sign in</button></form></html>`;
async function interact(request, response) {
  const { prompt, params, session, grantId } = await oidc.interactionDetails(request, response);
  const result = {};
  if (prompt.name === 'login' && people.size && request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8').end(PAGE);
    return;
  }
  if (prompt.name === 'login') {
    const said = new URLSearchParams(await whole(request));
    const ts = Math.floor(Date.now() / 1000) - Number(said.get('ago') ?? 0);
    result.login = { accountId: said.get('account') ?? account, ts };
  }
  if (prompt.name === 'consent') {
    const grant = grantId ? await oidc.Grant.find(grantId)
      : new oidc.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope('openid email');
    result.consent = { grantId: await grant.save() };
  }
  await oidc.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

async function whole(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

const listening = (server) => new Promise((done) => {
  server.listen(0, '127.0.0.1', () => done(server.address().port));
});
const server = createServer((request, response) => {
  if (request.url.startsWith('/jwks')) fetches += 1;
  if (away) request.socket.destroy();
  else if (request.url.startsWith('/interaction/')) interact(request, response).catch((error) => { console.error(error); response.destroy(); });
  else provider(request, response);
});
let away = false;
const issuer = `http://127.0.0.1:${await listening(server)}`;
keys = [await key('ES256')];
await build();

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

async function sign({ header = {}, payload = {}, by = 'newest' }) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer, aud: RESOURCE, sub: 'ann', client_id: 'support-copilot', tenant: 'acct_alpha',
    iat: now, exp: now + 300, ...payload,
  };
  for (const [name, value] of Object.entries(claims)) if (value === null) delete claims[name];
  const signer = by === 'unknown' ? await key('ES256') : keys.find(({ kid }) => kid === by) ?? keys[0];
  const head = { alg: signer.alg, typ: 'at+jwt', kid: signer.kid, ...header };
  if (head.alg === 'none') return `${part(head)}.${part(claims)}.`;
  if (head.alg === 'HS256') {
    // The public key as if it were a shared secret.
    const secret = await jose.exportSPKI(signer.publicKey ?? (await jose.importJWK(signer.jwk)));
    const text = `${part(head)}.${part(claims)}`;
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  }
  return new jose.CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader(head).sign(signer.privateKey, { crit: { x: true } });
}

const control = createServer(async (request, response) => {
  const text = await whole(request);
  const asked = text ? JSON.parse(text) : {};
  let answer = {};
  if (request.url === '/sign') answer = { token: await sign(asked) };
  if (request.url === '/fetches') answer = { fetches };
  if (request.url === '/away') away = asked.away;
  if (request.url === '/become') ({ account, person } = asked);
  if (request.url === '/register') people = new Map(Object.entries(asked));
  if (request.url === '/rotate') {
    // A new key signs from now on; the old one is still published.
    keys = [await key(asked.alg ?? 'ES256'), ...keys].slice(0, 2);
    await build();
    answer = { kid: keys[0].kid };
  }
  if (request.url === '/retire') {
    keys = keys.slice(0, 1);
    await build();
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(answer));
});
console.log(JSON.stringify({ issuer, control: `http://127.0.0.1:${await listening(control)}` }));
process.stdout.on('error', () => {}); // Nobody reads on.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
