// One query by DuckDB over the readings, once: prints "done WALL_SECONDS CPU_SECONDS", then
// "rows COUNT SUM" of its count column `n`.
//
// usage: node duckdb.mjs MODULE_FOLDER READINGS_FOLDER THREADS QUERY.sql
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, folder, threads, file] = process.argv.slice(2);
const { DuckDBInstance } = createRequire(join(modules, "here.js"))("@duckdb/node-api");
const instance = await DuckDBInstance.create(":memory:", { threads });
const connection = await instance.connect();
await connection.run(`SET TimeZone = 'UTC'`);
await connection.run(`CREATE VIEW readings AS SELECT * FROM read_json('${folder}/*.json',
  format = 'newline_delimited', columns = {sensor: 'BIGINT', temp: 'DOUBLE', ts: 'TIMESTAMP'})`);
const query = readFileSync(file, "utf8");
const started = performance.now();
const before = process.cpuUsage();
await connection.run(`CREATE TABLE result AS ${query}`);
const used = process.cpuUsage(before);
console.log("done", (performance.now() - started) / 1000, (used.user + used.system) / 1e6);
const sums = await connection.runAndReadAll(
  `SELECT count(*)::VARCHAR, sum(n)::VARCHAR FROM result`);
console.log("rows", ...sums.getRows()[0]);
