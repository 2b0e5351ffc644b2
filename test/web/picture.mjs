// Makes docs/img/dashboard.png of a running server: node test/web/picture.mjs URL [VIEW]
// With VIEW, the page of that view, else the overview.
import { mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { openBrowser, openPage, root } from "./support.mjs";

const FILE_BYTES_MAX = 300 * 1024;
const SETTLE_MS = 8000;
const [url, view] = process.argv.slice(2);
if (!url) {
  console.error("usage: node test/web/picture.mjs URL [VIEW]");
  process.exit(2);
}
const file = join(root, "docs/img/dashboard.png");
mkdirSync(dirname(file), { recursive: true });
const browser = await openBrowser();
const viewport = { width: 1280, height: 880 };
const page = await openPage(browser, { viewport, colorScheme: "dark" });
await page.goto(view ? `${url}/#/view/${encodeURIComponent(view)}` : url);
await page.locator(view ? ".chart canvas" : ".card").first().waitFor();
await page.waitForTimeout(SETTLE_MS);
await page.screenshot({ path: file });
await browser.close();
const { size } = statSync(file);
console.log(`${file}: ${size} bytes`);
if (size > FILE_BYTES_MAX) {
  console.error(`more than ${FILE_BYTES_MAX} bytes`);
  process.exit(1);
}
