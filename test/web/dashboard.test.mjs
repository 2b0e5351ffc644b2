// The dashboard in a browser, against the stand-in of web/mock and against the program where it is
// built. Every check waits for a result; none depends on how long anything takes.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { join } from "node:path";
import { api, hasProgram, openBrowser, openPage, pictures, startServer } from "./support.mjs";

const TABLE = `CREATE TABLE sensors (sensor text, temp float8, ts timestamptz NOT NULL)
  WITH (event_time = 'ts', lateness = '5 s', key = 'sensor')`;
const VIEW = `CREATE MATERIALIZED VIEW avg_temp AS
  SELECT sensor, window_start, avg(temp) AS avg, count(*) AS n
  FROM tumble(sensors, ts, INTERVAL '10 s') GROUP BY sensor, window_start`;
const EVIL = `<img src=x onerror="window.evil=1">`;

const at = (seconds) => new Date(Date.parse("2026-01-01T00:00:00Z") + seconds * 1000).toISOString();
const send = (server, rows) => api(server, "/v1/tables/sensors/rows", rows);

async function runSql(page, sql) {
  await page.getByLabel("SQL statement").fill(sql);
  await page.keyboard.press("Control+Enter");
}

/** Waits until a table cell with exactly this text is there. */
const cell = (page, text) => page.locator("td", { hasText: text }).filter({
  hasText: new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`),
}).first();

function scenarios(kind) {
  let browser;
  let server;
  let page;
  before(async () => {
    server = await startServer(kind);
    browser = await openBrowser();
    page = await openPage(browser);
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });
  const open = (hash) => page.goto(`${server.url}/#/${hash}`);
  const picture = (name) => page.screenshot({ path: join(pictures, `${kind}-${name}.png`) });

  test("an empty server says how to begin", async () => {
    await open("overview");
    await page.getByRole("heading", { name: "No tables yet" }).waitFor();
    await page.getByText("CREATE TABLE sensors").waitFor();
    await page.getByText("make demo").waitFor();
    await picture("empty");
  });

  test("a table and a view made on the SQL page appear in the navigation", async () => {
    await open("sql");
    await runSql(page, TABLE);
    await page.getByText("CREATE TABLE", { exact: true }).first().waitFor();
    await runSql(page, VIEW);
    const navigation = page.getByRole("navigation");
    await navigation.getByRole("link", { name: "avg_temp" }).waitFor();
    await navigation.getByRole("link", { name: "sensors" }).waitFor();
  });

  test("a view without rows says what it waits for", async () => {
    await open("view/avg_temp");
    await page.getByText("The chart starts with the first row").waitFor();
  });

  test("rows appear in chart and table while the page is open", async () => {
    await send(server, [1, 2, 3].flatMap((i) => [
      { sensor: "cellar", temp: 10 + i, ts: at(i) }, { sensor: "roof", temp: 30 + i, ts: at(i) },
    ]));
    await cell(page, "12.000").waitFor();
    await cell(page, "32.000").waitFor();
    const chart = page.locator(".chart").first();
    await page.locator(".chart[data-points='1']").waitFor();
    await send(server, [{ sensor: "cellar", temp: 20, ts: at(12) }]);
    await page.locator(".chart[data-points='2']").waitFor();
    await cell(page, "20.000").waitFor();
    assert.match(await chart.getAttribute("aria-label"), /2 series/);
    assert.equal(await page.locator(".legend li").count(), 2);
  });

  test("a changed value takes the place of the old one", async () => {
    await send(server, [{ sensor: "cellar", temp: 40, ts: at(13) }]);
    await cell(page, "30.000").waitFor();
    assert.equal(await cell(page, "20.000").count(), 0);
    await page.locator("td.mark").first().waitFor({ state: "detached" });
    await picture("view");
  });

  test("the table sorts by a column and filters", async () => {
    const averages = () => page.locator("tbody td:nth-child(3)").allTextContents();
    const header = page.getByRole("columnheader", { name: "avg" });
    await header.getByRole("button").click();
    assert.deepEqual(await averages(), ["12.000", "30.000", "32.000"]);
    assert.equal(await header.getAttribute("aria-sort"), "ascending");
    await header.getByRole("button").click();
    assert.deepEqual(await averages(), ["32.000", "30.000", "12.000"]);
    await page.getByLabel("Filter rows of avg_temp").fill("roof");
    await page.getByText("1 of 3 rows").waitFor();
    assert.deepEqual(await averages(), ["32.000"]);
  });

  test("a series can be left out of the chart", async () => {
    await page.getByRole("checkbox", { name: /roof/ }).uncheck();
    await page.locator(".chart[aria-label*='1 series']").waitFor();
  });

  test("text that looks like HTML stays text", async () => {
    await send(server, [{ sensor: EVIL, temp: 1, ts: at(14) }]);
    await page.getByLabel("Filter rows of avg_temp").fill("onerror");
    await cell(page, EVIL).waitFor();
    await open("table/sensors");
    await cell(page, EVIL).waitFor();
    assert.equal(await page.evaluate(() => window.evil), undefined);
    assert.equal(await page.locator("td img").count(), 0);
  });

  test("a table's page has its schema, its newest rows and lines to paste", async () => {
    await cell(page, "cellar").waitFor();
    await cell(page, "double precision").waitFor();
    const lines = await page.locator(".snippets").innerText();
    assert.ok(lines.includes(`${server.url}/v1/tables/sensors/rows`), lines);
    assert.match(lines, /kcat -P -b 127\.0\.0\.1:\d+ -t sensors/);
    assert.match(lines, /INSERT INTO sensors \(sensor, temp, ts\)/);
    await picture("table");
  });

  test("the curl line's row is accepted", async () => {
    const line = await page.locator(".snippets pre").first().innerText();
    const [, json, url] = /^curl -d '(.*)' (\S+)$/.exec(line);
    const response = await fetch(url, { method: "POST", body: json });
    assert.equal(response.status, 200, await response.text());
    await cell(page, JSON.parse(json).sensor).waitFor();
  });

  test("a query's rows are shown, and kept in the history", async () => {
    await open("sql");
    await runSql(page, "SELECT count(*) FROM sensors");
    await cell(page, "10").waitFor();
    await page.getByText(/^SELECT 1/).waitFor();
    await page.reload();
    await page.getByText(/^History/).click();
    await page.getByRole("listitem").getByText("SELECT count(*) FROM sensors").waitFor();
  });

  test("an error of SQL is shown at its place with its hint", async () => {
    await runSql(page, "SELECT *\nFROM sensrs LIMIT 5");
    const box = page.getByRole("alert");
    await box.getByText('relation "sensrs" does not exist').waitFor();
    await box.getByText(/meant "sensors"/).waitFor();
    const place = await box.locator(".place").innerText();
    const [text, caret] = place.split("\n");
    assert.equal(text, "line 2: FROM sensrs LIMIT 5");
    assert.equal(caret.indexOf("^"), text.indexOf("sensrs"));
    const editor = page.getByLabel("SQL statement");
    assert.equal(await editor.evaluate((area) => area.selectionStart), 14);
    await picture("sql-error");
  });

  test("EXPLAIN shows the plan", async () => {
    await page.getByLabel("SQL statement").fill("SELECT * FROM sensors");
    await page.getByRole("button", { name: "EXPLAIN" }).click();
    await page.getByRole("columnheader", { name: "QUERY PLAN" }).waitFor();
    await page.locator("tbody tr").first().waitFor();
    assert.equal(await page.getByRole("alert").count(), 0);
  });

  test("the pipeline's nodes open by keyboard and show their SQL", async () => {
    await open("pipeline");
    const node = page.getByRole("button", { name: /^view avg_temp: live/ });
    await node.waitFor();
    await page.getByRole("button", { name: /^source sensors/ }).waitFor();
    await node.focus();
    await page.keyboard.press("Enter");
    await page.locator(".details pre", { hasText: "FROM tumble(sensors" }).waitFor();
    assert.equal(await node.getAttribute("aria-pressed"), "true");
    assert.ok(await page.locator("path.edge").count() >= 2);
    await picture("pipeline");
  });

  test("the overview has a card for the view and one for the table", async () => {
    await open("overview");
    const view = page.locator("a.card", { hasText: "avg_temp" });
    await view.getByText("live").waitFor();
    const table = page.locator("a.card", { has: page.getByRole("heading", { name: "sensors" }) });
    await table.locator(".stat", { hasText: "rows" }).getByText("10", { exact: true }).waitFor();
    await picture("overview");
  });

  test("a row that does not fit is listed with reason and raw bytes", async () => {
    const raw = '{"sensor":"cellar","temp":"warm","ts":"2026-01-01T00:00:20Z"}';
    await open("dead");
    await page.getByRole("heading", { name: "No dead letters" }).waitFor();
    await server.addDead("sensors", raw);
    await cell(page, raw).waitFor();
    await page.getByText(/column "temp": expected a number/).waitFor();
    await picture("dead");
  });

  test("times switch between UTC and the browser's zone", async () => {
    const context = await browser.newContext({ timezoneId: "Asia/Kolkata" });
    const other = await context.newPage();
    await other.goto(`${server.url}/#/view/avg_temp`);
    await cell(other, "2026-01-01 00:00:10").waitFor();
    await other.getByRole("button", { name: "UTC" }).click();
    await cell(other, "2026-01-01 05:30:10").waitFor();
    await context.close();
  });

  test("what does not exist says so", async () => {
    await open("view/nothing");
    await page.getByRole("heading", { name: 'There is no view "nothing"' }).waitFor();
  });

  test("every page fits a screen of 360 points", async () => {
    const narrow = await openPage(browser, { viewport: { width: 360, height: 740 } });
    for (const hash of ["overview", "pipeline", "view/avg_temp", "table/sensors", "sql", "dead"]) {
      await narrow.goto(`${server.url}/#/${hash}`);
      await narrow.locator("main .panel, main .card").first().waitFor();
      const over = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${hash} is ${over} points too wide`);
      const name = `${kind}-narrow-${hash.replace("/", "-")}.png`;
      await narrow.screenshot({ path: join(pictures, name) });
    }
    assert.deepEqual(narrow.problems, []);
    await narrow.close();
  });

  test("the page outlives the server and goes on by itself", async () => {
    await open("view/avg_temp");
    await cell(page, "32.000").waitFor();
    await server.kill();
    await page.getByText("Tidemill does not answer.").first().waitFor();
    await page.locator("header").getByText("disconnected").waitFor();
    assert.ok(await cell(page, "32.000").isVisible(), "what was read stays readable");
    await picture("away");
    await server.start();
    await page.locator("header").getByText("connected", { exact: true }).waitFor();
    await page.locator(".away").waitFor({ state: "detached" });
    await send(server, [{ sensor: "attic", temp: 55, ts: at(15) }]);
    await cell(page, "55.000").waitFor();
    await page.getByRole("alert").waitFor({ state: "detached" });
    await cell(page, "32.000").waitFor();
  });

  test("a dropped view disappears", async () => {
    await open("sql");
    await runSql(page, "DROP MATERIALIZED VIEW avg_temp");
    await page.getByRole("navigation").getByRole("link", { name: "avg_temp" })
      .waitFor({ state: "detached" });
  });

  test("nothing went wrong in the page on the way", () => {
    assert.deepEqual(page.problems, []);
  });
}

describe("dashboard on the stand-in", () => scenarios("stand-in"));
describe("dashboard on the program", { skip: hasProgram ? false : "build/tidemill is not built" },
  () => scenarios("program"));
