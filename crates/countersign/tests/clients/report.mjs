// A report of the evaluation suite in Chromium, from a file, in both themes: what its console says, what a
// reader cannot read, and what is seen of it, as one JSON line. The second argument is a picture's file.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const [file, picture] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', chromiumSandbox: process.getuid() !== 0,
});
const said = [];
const faults = [];
const seen = {};
for (const colorScheme of ['light', 'dark']) {
  const page = await browser.newPage({ colorScheme });
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  await page.goto(pathToFileURL(file).href);
  seen.title = await page.title();
  seen.heading = await page.locator('h1').innerText();
  seen.open = await page.locator('details[open] summary').allInnerTexts();
  seen.cases = await page.locator('details').count();
  seen.text = await page.locator('details[open]').allInnerTexts();
  // By the protocol and not by a script of the page's, which its policy would not let run.
  const { violations } = await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`);
  faults.push(...violations.map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes[0].html}`));
  if (picture) await page.screenshot({ path: picture.replace('.png', `-${colorScheme}.png`) });
}
await browser.close();
console.log(JSON.stringify({ ...seen, said, faults }));
