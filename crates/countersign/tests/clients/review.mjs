// The package for a security review in Chromium, from a file: what it asks the network for, what its
// console says, where its anchors lead, what a reader cannot read, and how many pages it prints to, as one
// JSON line. The second argument is where the printed pages go.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const [file, printed] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', chromiumSandbox: process.getuid() !== 0,
});
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
const said = [];
const asked = [];
const here = pathToFileURL(file).href;
page.on('console', (message) => said.push(message.text()));
page.on('pageerror', (error) => said.push(String(error)));
page.on('dialog', (dialog) => { said.push(dialog.message()); dialog.dismiss(); });
page.on('request', (request) => { if (request.url() !== here) asked.push(request.url()); });
await page.goto(here);
const anchors = await page.locator('a').evaluateAll((all) => all.map((a) => a.getAttribute('href')));
const broken = [];
for (const anchor of anchors) {
  if (!anchor.startsWith('#') || await page.locator(`[id="${anchor.slice(1)}"]`).count() !== 1) broken.push(anchor);
}
const sections = await page.locator('main > section').evaluateAll((all) => all.map((one) => one.id));
const elements = await page.locator('script, img, iframe, link, object, embed, form, input, b').count();
const text = await page.locator('main').innerText();
// By the protocol and not by a script of the page's, which its policy would not let run.
const { violations } = await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`);
const faults = violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
const wide = await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth');
await page.setViewportSize({ width: 390, height: 844 });
const narrow = await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth');
await page.setViewportSize({ width: 1200, height: 900 });
const pdf = await page.pdf({ preferCSSPageSize: true, ...(printed ? { path: printed } : {}) });
const pages = (pdf.toString('latin1').match(/\/Type\s*\/Page\b/g) ?? []).length;
if (printed) await page.screenshot({ path: printed.replace('.pdf', '.png'), fullPage: true });
await browser.close();
console.log(JSON.stringify({ said, asked, anchors: anchors.length, broken, sections, elements, text, faults, wide, narrow, pages }));
