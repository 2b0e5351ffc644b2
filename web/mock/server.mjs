// A stand-in for `tidemill serve` to work on the dashboard and to test it without the program:
//   node mock/server.mjs [--port N] [--empty] [--watch]
// --empty starts without the simulated sensors; --watch rebuilds the dashboard when a source
// changes.
import { createServer } from "node:http";
import { createReadStream, existsSync, watch } from "node:fs";
import { execFile } from "node:child_process";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { Engine, SqlError, ordered } from "./engine.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "dist");
const BODY_BYTES_MAX = 16 << 20;
const TICK_MS = 100;
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8" };
const CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/** Twelve sensors, two of which fail now and then, 600 times as fast as the clock. */
function simulate(engine) {
  engine.run("CREATE TABLE sensors\n"
    + "  (sensor text, temp float8, humidity float8, ts timestamptz NOT NULL)\n"
    + "  WITH (event_time = 'ts', lateness = '5 s', key = 'sensor', partitions = 2)");
  engine.run("CREATE MATERIALIZED VIEW avg_temp AS\n"
    + "  SELECT sensor, window_start, avg(temp) AS avg, max(temp) AS max, count(*) AS n\n"
    + "  FROM tumble(sensors, ts, INTERVAL '5 min') GROUP BY sensor, window_start");
  engine.run("CREATE MATERIALIZED VIEW humidity_hourly WITH (emit = 'final') AS\n"
    + "  SELECT sensor, window_start, avg(humidity) AS avg, count(*) AS n\n"
    + "  FROM tumble(sensors, ts, INTERVAL '1 h') GROUP BY sensor, window_start");
  engine.run("CREATE MATERIALIZED VIEW per_sensor AS\n"
    + "  SELECT sensor, count(*) AS n, max(temp) AS max FROM sensors GROUP BY sensor");
  let seed = 7;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  const table = engine.relations.get("sensors");
  let time = Date.parse("2013-12-02T21:15:00Z");
  const tick = () => {
    time += TICK_MS * 600;
    for (let i = 0; i < 12; i++) {
      const hours = time / 3_600_000;
      const swing = Math.sin((hours / 24 + i / 12) * 2 * Math.PI);
      const failing = i % 6 === 1 && hours % 9 < 0.7;
      const row = { sensor: `s-${i + 1}`, ts: new Date(time - random() * 4000).toISOString(),
        temp: round(20 + i * 0.7 + 4 * swing + random() - (failing ? 9 : 0)),
        humidity: round(55 - 12 * swing + 3 * random()) };
      table.add(row, 90);
    }
    if (random() < 0.01) {
      const row = { sensor: "s-1", temp: 20, humidity: 50, ts: new Date(time - 9e6).toISOString() };
      table.add(row, 90);
    }
    if (random() < 0.01) {
      engine.addDead("sensors", table.partitions[0].offset,
        'column "temp": expected a number, got string "n/a"', '{"sensor":"s-3","temp":"n/a"}');
    }
  };
  for (let i = 0; i < 400; i++) tick();
  return tick;
}

const round = (value) => Math.round(value * 100) / 100;

async function bodyOf(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new SqlError(413, "too_large", "54000", "the body is too large");
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function sendJson(response, status, value) {
  response.writeHead(status, { "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff" });
  response.end(JSON.stringify(value));
}

function sendFile(response, path) {
  const file = join(dist, normalize(path === "/" ? "/index.html" : path));
  if (!file.startsWith(dist) || !existsSync(file)) {
    throw new SqlError(404, "not_found", "42704", `nothing at ${path}`);
  }
  response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff" });
  createReadStream(file).pipe(response);
}

function pushChanges(engine, relation, query, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const event = (name, value) =>
    response.write(`event: ${name}\ndata: ${JSON.stringify(value)}\n\n`);
  const send = (weight, row, epoch = engine.epoch) => event("row", { weight, epoch, row });
  if (query.get("snapshot") !== "false") for (const row of relation.rows) send(1, row);
  event("snapshot_end", { epoch: engine.epoch });
  relation.listeners.add(send);
  response.on("close", () => relation.listeners.delete(send));
}

async function answer(engine, request, response) {
  const url = new URL(request.url, "http://localhost");
  const parts = url.pathname.split("/").slice(1).map(decodeURIComponent);
  const route = `${request.method} /${parts.slice(0, 2).join("/")}`;
  if (route === "GET /v1/pipeline") return sendJson(response, 200, engine.pipeline());
  if (route === "GET /v1/topics") return sendJson(response, 200, engine.topics());
  if (route === "GET /v1/catalog") return sendJson(response, 200, engine.catalog());
  if (route === "POST /v1/query") {
    return sendJson(response, 200, engine.run(JSON.parse(await bodyOf(request)).sql));
  }
  if (route === "POST /v1/tables" && parts[3] === "rows") {
    const table = engine.need(parts[2]);
    const body = (await bodyOf(request)).trim();
    const rows = body.startsWith("[") ? JSON.parse(body).map((row) => JSON.stringify(row))
      : body.split("\n").filter((line) => line.trim());
    for (const row of rows) engine.addRow(table, row);
    return sendJson(response, 200, { rows: rows.length });
  }
  if (route === "GET /v1/views") {
    const relation = engine.need(parts[2]);
    if (parts[3] === "changes") return pushChanges(engine, relation, url.searchParams, response);
    const order = url.searchParams.get("order") ?? "";
    const rows = ordered(relation.rows, order.replace(/^-/, ""), order.startsWith("-"));
    return sendJson(response, 200, rows.slice(0, Number(url.searchParams.get("limit") ?? 1000)));
  }
  return sendFile(response, url.pathname);
}

/** Starts the stand-in. `engine` and `close()` are for tests. */
export async function startMock({ port = 0, demo = true, engine = new Engine() } = {}) {
  const tick = demo ? simulate(engine) : () => {};
  const server = createServer((request, response) => {
    answer(engine, request, response).catch((error) => {
      const known = error instanceof SqlError ? error
        : new SqlError(400, "invalid_request", "22023", error.message);
      if (response.headersSent) response.destroy();
      else sendJson(response, known.status, known.body);
    });
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const timer = setInterval(() => {
    tick();
    engine.commit();
  }, TICK_MS);
  engine.commit();
  return {
    engine,
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => {
      clearInterval(timer);
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

function rebuildOnChange() {
  let timer;
  const build = () => execFile("node", [join(here, "..", "build.mjs")], (error, out, message) => {
    process.stdout.write(error ? message : out);
  });
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(build, 100);
  };
  for (const folder of ["src", "src/ui", "src/pages"]) watch(join(here, "..", folder), changed);
  build();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = process.argv.indexOf("--port");
  const port = option > 0 ? Number(process.argv[option + 1]) : 3000;
  if (process.argv.includes("--watch")) rebuildOnChange();
  const { url } = await startMock({ port, demo: !process.argv.includes("--empty") });
  console.log(`mock at ${url}`);
}
