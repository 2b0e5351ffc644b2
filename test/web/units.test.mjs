// The parts of the dashboard that need no browser.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { require, root } from "./support.mjs";

let m;

before(async () => {
  const { build } = require("esbuild");
  const folder = mkdtempSync(join(tmpdir(), "tidemill-units-"));
  const outfile = join(folder, "units.mjs");
  const names = ["rows", "series", "sse", "format", "sql", "api", "live", "graph"];
  globalThis.localStorage ??= { getItem: () => null, setItem: () => {} };
  await build({
    stdin: {
      contents: names.map((name) => `export * from "./${name}";`).join("\n"),
      resolveDir: join(root, "web/src"), loader: "ts",
    },
    bundle: true, format: "esm", platform: "node", outfile, logLevel: "silent",
  });
  m = await import(pathToFileURL(outfile));
  rmSync(folder, { recursive: true });
});

const COLUMNS = [{ name: "k", type: "text" }, { name: "v", type: "bigint" }];
const contents = (set) => set.all().map((row) => row.values);

test("rows: a change of a key replaces its row and marks what changed", () => {
  const set = new m.RowSet(COLUMNS, ["k"], 10);
  set.apply(1, { k: "a", v: 1 }, 100);
  set.apply(-1, { k: "a", v: 1 }, 200);
  set.apply(1, { k: "a", v: 2 }, 200);
  assert.deepEqual(contents(set), [["a", 2]]);
  assert.deepEqual(set.all()[0].changed, [false, true]);
});

test("rows: changes applied again over a newer reading end at the same state", () => {
  const changes = [[1, 1], [-1, 1], [1, 2], [-1, 2], [1, 3]];
  for (let read = 0; read <= 3; read++) {
    const set = new m.RowSet(COLUMNS, ["k"], 10);
    set.replace(read === 0 ? [] : [{ k: "a", v: read }]);
    for (const [weight, v] of changes) set.apply(weight, { k: "a", v }, 1);
    assert.deepEqual(contents(set), [["a", 3]], `reading ${read}`);
  }
});

test("rows: the new row may come before the old one goes", () => {
  const set = new m.RowSet(COLUMNS, ["k"], 10);
  set.replace([{ k: "a", v: 1 }]);
  set.apply(1, { k: "a", v: 2 }, 1);
  set.apply(-1, { k: "a", v: 1 }, 1);
  assert.deepEqual(contents(set), [["a", 2]]);
});

test("rows: without a key, equal rows are counted", () => {
  const set = new m.RowSet(COLUMNS, [], 10);
  for (let i = 0; i < 3; i++) set.apply(1, { k: "a", v: 1 }, 1);
  set.apply(-1, { k: "a", v: 1 }, 1);
  assert.equal(set.size, 2);
  set.apply(-1, { k: "b", v: 1 }, 1);
  assert.equal(set.size, 2);
});

test("rows: at most `max` are kept, the oldest go", () => {
  const set = new m.RowSet(COLUMNS, ["k"], 3);
  for (let i = 0; i < 10; i++) set.apply(1, { k: `k${i}`, v: i }, 1);
  assert.deepEqual(contents(set).map(([, v]) => v), [7, 8, 9]);
  assert.equal(set.dropped, 7);
});

test("rows: a new reading takes the place of the old one, equal rows stay the same object", () => {
  const set = new m.RowSet(COLUMNS, ["k"], 10);
  set.replace([{ k: "a", v: 1 }, { k: "b", v: 1 }]);
  const [first] = set.all();
  set.replace([{ k: "a", v: 1 }, { k: "c", v: 1 }]);
  assert.deepEqual(contents(set), [["a", 1], ["c", 1]]);
  assert.equal(set.all()[0], first);
});

test("server-sent events: any cut of the bytes gives the same events", () => {
  const text = ': hello\n\nevent: row\nid: 7\ndata: {"a":1}\n\nevent: snapshot_end\r\ndata: {}\r\n'
    + "\r\ndata: one\ndata: two\n\n";
  const wanted = [{ event: "row", data: '{"a":1}' }, { event: "snapshot_end", data: "{}" },
    { event: "message", data: "one\ntwo" }];
  for (let cut = 0; cut <= text.length; cut++) {
    const parser = new m.SseParser();
    assert.deepEqual([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))], wanted);
  }
});

test("server-sent events: an endless event is refused", () => {
  const parser = new m.SseParser();
  const line = `data: ${"x".repeat(1 << 20)}\n`;
  assert.throws(() => {
    for (let i = 0; i < 20; i++) parser.push(line);
  }, /too large/);
});

test("series: time, measures and names are found by type and key", () => {
  const columns = [{ name: "sensor", type: "text" },
    { name: "window_start", type: "timestamp with time zone" },
    { name: "avg", type: "double precision" }, { name: "n", type: "bigint" }];
  const roles = m.rolesOf(columns, ["sensor", "window_start"]);
  assert.deepEqual(roles, { x: 1, measures: [2, 3], series: [0] });
  assert.equal(m.firstMeasure(columns, [3, 2]), 2);
  assert.deepEqual(m.rolesOf([{ name: "n", type: "bigint" }], []),
    { x: -1, measures: [0], series: [] });
  const latest = [columns[0], { name: "last_seen", type: "timestamp with time zone" }, columns[2]];
  assert.deepEqual(m.rolesOf(latest, ["sensor"]), { x: -1, measures: [2], series: [0] });
  assert.deepEqual(m.rolesOf(latest, []), { x: 1, measures: [2], series: [0] });
});

test("series: lines share one time axis, in order, with gaps where a series has no row", () => {
  const row = (...values) => ({ id: String(values), values, changedAt: 0, changed: null });
  const rows = [row("b", "2026-01-01T00:00:10Z", 4), row("a", "2026-01-01T00:00:00Z", 1),
    row("a", "2026-01-01T00:00:10Z", null), row("a", "not a time", 9)];
  const roles = { x: 1, measures: [2], series: [0] };
  const zero = Date.parse("2026-01-01T00:00:00Z") / 1000;
  const data = m.align(rows, roles, 2, ["a", "b"]);
  assert.deepEqual(data[0], [zero, zero + 10]);
  assert.deepEqual(data[1], [1, null]);
  assert.deepEqual([...data[2]], [undefined, 4]);
  assert.equal(m.latest(data, 0), 1);
});

test("series: points are bounded, the newest stay", () => {
  const rows = Array.from({ length: 3000 }, (_, i) => ({
    id: String(i), values: ["a", new Date(i * 1000).toISOString(), i], changedAt: 0, changed: null,
  }));
  const data = m.align(rows, { x: 1, measures: [2], series: [0] }, 2, ["a"]);
  assert.equal(data[0].length, m.POINTS_MAX);
  assert.equal(data[0].at(-1), 2999);
});

test("format: numbers, sizes and spans", () => {
  assert.deepEqual([0, 0.5, 12.34, 999, 1000, 12345, 999_999, 4.56e6].map(m.compact),
    ["0", "0.5", "12.3", "999", "1k", "12.3k", "1M", "4.56M"]);
  assert.deepEqual([0, 999, 131_000, 1.5e9].map(m.bytes), ["0 B", "999 B", "131 KB", "1.5 GB"]);
  assert.deepEqual([5, 1500, 59_900, 65_000, 3 * 3.6e6, 26 * 3.6e6].map(m.duration),
    ["5 ms", "1.5 s", "59 s", "1 min 5 s", "3 h", "1 d 2 h"]);
});

test("format: timestamps are UTC whatever their form", () => {
  const wanted = Date.parse("2013-12-02T21:15:00Z");
  for (const text of ["2013-12-02T21:15:00Z", "2013-12-02 21:15:00+00", "2013-12-02T22:15:00+01:00",
    "2013-12-02 21:15:00"]) assert.equal(m.timeOf(text), wanted, text);
  assert.equal(m.timestamp(wanted + 5, false), "2013-12-02 21:15:00.005");
  assert.equal(m.timestamp(NaN, false), "–");
  assert.equal(m.cell(null, "text", false), "NULL");
});

test("rates: differences over the server's clock, and a restart starts anew", () => {
  const counter = new m.Counter();
  assert.equal(counter.rate(), null);
  counter.add(1, 100);
  counter.add(2, 200);
  counter.add(2, 900);
  counter.add(3, 400);
  assert.equal(counter.rate(), 150);
  assert.deepEqual(counter.rates(), [100, 200]);
  counter.add(4, 5);
  assert.equal(counter.rate(), null);
});

test("sql: names and texts are quoted", () => {
  assert.equal(m.quoteName("avg_temp"), "avg_temp");
  assert.equal(m.quoteName("Table"), '"Table"');
  assert.equal(m.quoteName("order"), '"order"');
  assert.equal(m.quoteName('a"b'), '"a""b"');
  assert.equal(m.quoteText("it's"), "'it''s'");
});

test("sql: lines to paste survive a shell", () => {
  const relation = { name: "o'tool; rm", kind: "table",
    columns: [{ name: "it's", type: "text" }, { name: "n", type: "bigint" }] };
  const at = { http: "http://h:1", kafka: "h:2", pgHost: "h", pgPort: "3" };
  const [curl, kcat, psql] = m.sendSnippets(relation, at).map((snippet) => snippet.text);
  const { execFileSync } = require("node:child_process");
  const words = (line) => execFileSync("sh", ["-c", `printf '%s\\n' ${line}`], { encoding: "utf8" })
    .trimEnd().split("\n");
  assert.deepEqual(words(curl), ["curl", "-d", '{"it\'s":"it\'s-1","n":1}',
    "http://h:1/v1/tables/o%27tool%3B%20rm/rows"]);
  assert.deepEqual(words(kcat.split(" | ")[1]), ["kcat", "-P", "-b", "h:2", "-t", "o'tool; rm"]);
  assert.equal(words(psql).at(-1),
    `INSERT INTO "o'tool; rm" ("it's", n) VALUES ('it''s-1', 1)`);
});

test("sql: an error's position counts characters", () => {
  assert.deepEqual(m.placeOf("SELECT '😀',\n  x", 14),
    { line: 2, column: 2, text: "  x", index: 14 });
});

test("json: whole numbers beyond 2^53 stay exact", () => {
  const { n } = m.parseJson('{"n": 9007199254740993}');
  const wanted = JSON.parse.length > 2 || n === "9007199254740993" ? "9007199254740993" : Number(n);
  assert.equal(n, wanted);
  assert.deepEqual(m.parseJson('{"n": 42}'), { n: 42 });
});

test("api: an error without the API's form keeps its text", () => {
  assert.equal(m.errorOf(502, "bad gateway").message, "bad gateway");
  const error = m.errorOf(400, '{"error":{"message":"no","hint":"do","position":3}}');
  assert.deepEqual([error.message, error.hint, error.position], ["no", "do", 3]);
});

test("graph: every node has a place of its own and edges go forward", () => {
  const pipeline = { nodes: ["a", "b", "c"].map((id) => ({ id })),
    edges: [{ from: "a", to: "b" }, { from: "a", to: "c" }, { from: "a", to: "gone" }] };
  const { nodes, edges } = m.layoutPipeline(pipeline, false);
  assert.equal(new Set([...nodes.values()].map(({ x, y }) => `${x} ${y}`)).size, 3);
  assert.equal(edges.length, 2);
  for (const { points } of edges) assert.ok(points.at(-1).x > points[0].x);
});
