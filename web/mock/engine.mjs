// A stand-in for the server's engine: tables, tumbling views and the little SQL that the
// dashboard's tests need, kept in memory. It is no second implementation of Tidemill: whatever it
// does not know is an error.
import { createHash } from "node:crypto";

const ROWS_MAX = 20_000;
const UNITS = { ms: 1, s: 1000, sec: 1000, second: 1000, min: 60_000, minute: 60_000, h: 3_600_000,
  hour: 3_600_000 };
const TYPES = { text: "text", float8: "double precision", int4: "integer", int8: "bigint",
  bool: "boolean", timestamptz: "timestamp with time zone", jsonb: "jsonb", numeric: "numeric",
  bigint: "bigint", integer: "integer" };
const DEAD_COLUMNS = [["table_name", "text"], ["topic", "text"], ["partition", "integer"],
  ["offset", "bigint"], ["at", "timestamp with time zone"], ["reason", "text"], ["raw", "text"]]
  .map(([name, type]) => ({ name, type, not_null: false }));

export class SqlError extends Error {
  constructor(status, code, sqlstate, message, extra = {}) {
    super(message);
    this.status = status;
    this.body = { error: { code, sqlstate, message, ...extra } };
  }
}

function milliseconds(text) {
  const found = /^\s*([\d.]+)\s*([a-z]+?)s?\s*$/i.exec(text);
  const unit = found && (UNITS[found[2].toLowerCase()] ?? UNITS[`${found[2].toLowerCase()}s`]);
  if (!unit) throw new SqlError(400, "syntax_error", "42601", `not an interval: "${text}"`);
  return Number(found[1]) * unit;
}

const iso = (ms) => (Number.isFinite(ms) ? new Date(ms).toISOString().replace(".000Z", "Z") : null);

function nearest(name, names) {
  const shared = (other) => [...name].filter((char, i) => other[i] === char).length;
  const best = names.sort((a, b) => shared(b) - shared(a))[0];
  return best && shared(best) >= 3 ? best : null;
}

class Table {
  constructor(name, columns, options, sql) {
    Object.assign(this, { name, columns, sql, kind: "table" });
    this.eventTime = options.event_time ?? null;
    this.lateness = milliseconds(options.lateness ?? "0 s");
    this.partitions = Array.from({ length: Number(options.partitions ?? 1) },
      () => ({ offset: 0, bytes: 0, newest: -Infinity }));
    this.rows = [];
    this.views = [];
    this.listeners = new Set();
  }

  watermark(partition) {
    return this.partitions[partition].newest - this.lateness;
  }

  add(row, bytes) {
    const key = String(row[this.columns[0].name]);
    const partition = createHash("md5").update(key).digest()[0] % this.partitions.length;
    const part = this.partitions[partition];
    part.offset++;
    part.bytes += bytes;
    this.rows.push(row);
    if (this.rows.length > ROWS_MAX) this.rows.shift();
    const before = this.watermark(partition);
    const time = this.eventTime ? Date.parse(row[this.eventTime]) : NaN;
    for (const view of this.views) view.take(row, time, before);
    part.newest = Math.max(part.newest, Number.isNaN(time) ? -Infinity : time);
    for (const send of this.listeners) send(1, row);
  }
}

class View {
  constructor(name, source, plan, sql) {
    Object.assign(this, { name, source, plan, sql, kind: "view" });
    this.columns = plan.items.map(({ name: title, type }) =>
      ({ name: title, type, not_null: false }));
    this.key = plan.items.filter((item) => !item.fn).map((item) => item.name);
    this.groups = new Map();
    this.dirty = new Set();
    this.out = 0;
    this.late = 0;
    this.partition = { offset: 0, bytes: 0 };
    this.listeners = new Set();
    this.status = "live";
  }

  take(row, time, watermark) {
    const { size, items } = this.plan;
    const start = size ? Math.floor(time / size) * size : NaN;
    if (size && start + size <= watermark) {
      this.late++;
      return;
    }
    const key = items.filter((item) => !item.fn).map((item) =>
      item.column === "window_start" ? iso(start)
        : item.column === "window_end" ? iso(start + size) : row[item.column]);
    const id = JSON.stringify(key);
    let group = this.groups.get(id);
    if (!group) {
      group = { key, end: start + size, n: 0, parts: items.map(() => ({ n: 0, sum: 0, min: null,
        max: null })), shown: null };
      this.groups.set(id, group);
    }
    group.n++;
    items.forEach((item, i) => {
      const value = item.fn && item.column !== "*" ? row[item.column] : null;
      if (typeof value !== "number") return;
      const part = group.parts[i];
      part.n++;
      part.sum += value;
      part.min = part.min === null ? value : Math.min(part.min, value);
      part.max = part.max === null ? value : Math.max(part.max, value);
    });
    this.dirty.add(id);
  }

  rowOf(group) {
    let k = 0;
    return Object.fromEntries(this.plan.items.map((item, i) => {
      if (!item.fn) return [item.name, group.key[k++]];
      const part = group.parts[i];
      if (item.fn === "count") return [item.name, item.column === "*" ? group.n : part.n];
      if (item.fn === "avg") return [item.name, part.n ? part.sum / part.n : null];
      return [item.name, part[item.fn]];
    }));
  }

  watermark() {
    const active = this.source.partitions.map((_, i) => this.source.watermark(i));
    return Math.min(...active);
  }

  /** What changed since the last epoch goes out. */
  commit(epoch) {
    const watermark = this.watermark();
    for (const id of this.dirty) {
      const group = this.groups.get(id);
      if (this.plan.final && group.end > watermark) continue;
      this.dirty.delete(id);
      const row = this.rowOf(group);
      if (group.shown) this.emit(-1, group.shown, epoch);
      this.emit(1, row, epoch);
      group.shown = row;
    }
  }

  emit(weight, row, epoch) {
    this.out++;
    this.partition.offset++;
    this.partition.bytes += 90;
    for (const send of this.listeners) send(weight, row, epoch);
  }

  get rows() {
    return [...this.groups.values()].map((group) => group.shown).filter(Boolean);
  }
}

export class Engine {
  constructor() {
    this.relations = new Map();
    this.dead = [];
    this.epoch = 0;
    this.began = performance.now();
  }

  /** One epoch: views show what came since the last one. */
  commit() {
    this.epoch++;
    for (const relation of this.relations.values()) {
      if (relation.kind === "view") relation.commit(this.epoch);
    }
  }

  need(name, sql) {
    const found = this.relations.get(name);
    if (found) return found;
    const close = nearest(name, [...this.relations.keys()]);
    const at = sql ? [...sql.slice(0, sql.indexOf(name))].length + 1 : undefined;
    throw new SqlError(404, "undefined_table", "42P01", `relation "${name}" does not exist`, {
      ...(close && { hint: `Perhaps you meant "${close}".` }), ...(at && { position: at }),
    });
  }

  addRow(table, text) {
    let row;
    try {
      row = JSON.parse(text);
    } catch (error) {
      throw new SqlError(400, "invalid_json", "22P02", `malformed JSON: ${error.message}`);
    }
    for (const column of table.columns) {
      const value = row[column.name] ?? null;
      const number = /double|int|numeric/.test(column.type);
      if (value !== null && number && typeof value !== "number") {
        throw new SqlError(400, "invalid_value", "22P02",
          `column "${column.name}": expected a number, got ${JSON.stringify(value)}`);
      }
      if (value === null && column.not_null) {
        throw new SqlError(400, "not_null_violation", "23502",
          `column "${column.name}" is missing`);
      }
    }
    table.add(row, text.length);
  }

  addDead(tableName, offset, reason, raw) {
    this.dead.push({ table_name: tableName, topic: tableName, partition: 0, offset,
      at: new Date().toISOString(), reason, raw });
  }

  run(sql) {
    const text = sql.trim().replace(/;\s*$/, "");
    if (/;\s*\S/.test(text)) {
      throw new SqlError(400, "syntax_error", "42601", "several statements in one request",
        { hint: "Send one statement at a time." });
    }
    if (/^create\s+table/i.test(text)) return this.createTable(text);
    if (/^create\s+materialized\s+view/i.test(text)) return this.createView(text);
    if (/^drop\s/i.test(text)) return this.drop(text);
    if (/^explain\s/i.test(text)) return this.explain(text);
    if (/^select\s/i.test(text)) return this.select(text, sql);
    const word = /^\S*/.exec(text)[0];
    throw new SqlError(400, "syntax_error", "42601", `syntax error at or near "${word}"`,
      { position: 1 + sql.indexOf(word) });
  }

  createTable(text) {
    const found = /^create\s+table\s+(\w+)\s*\((.*?)\)\s*(?:with\s*\((.*)\))?$/is.exec(text);
    if (!found) throw new SqlError(400, "syntax_error", "42601", "syntax error in CREATE TABLE");
    const columns = found[2].split(",").map((part) => {
      const [name, type, ...rest] = part.trim().split(/\s+/);
      if (!TYPES[type]) {
        throw new SqlError(400, "undefined_object", "42704", `type "${type}" does not exist`,
          { position: text.indexOf(type, text.indexOf(part)) + 1 });
      }
      return { name, type: TYPES[type], not_null: /not\s+null/i.test(rest.join(" ")) };
    });
    const options = Object.fromEntries([...(found[3] ?? "")
      .matchAll(/(\w+)\s*=\s*'?([^',]*)'?/g)].map(([, name, value]) => [name, value]));
    this.relations.set(found[1], new Table(found[1], columns, options, text));
    return { columns: [], rows: [], tag: "CREATE TABLE" };
  }

  createView(text) {
    const found = new RegExp("^create\\s+materialized\\s+view\\s+(\\w+)\\s*(?:with\\s*\\((.*?)\\))?"
      + "\\s+as\\s+select\\s+(.*?)\\s+from\\s+(?:tumble\\(\\s*(\\w+)\\s*,\\s*\\w+\\s*,"
      + "\\s*interval\\s+'([^']+)'\\s*\\)|(\\w+))\\s+group\\s+by.*$", "is").exec(text);
    if (!found) throw new SqlError(400, "syntax_error", "42601", "syntax error in CREATE VIEW");
    const [, name, options, list, windowed, size, plain] = found;
    const source = this.need(windowed ?? plain, text);
    const items = list.split(/,(?![^(]*\))/).map((part) => {
      const item = /^(?:(\w+)\((\*|\w+)\)|(\w+))(?:\s+as\s+(\w+))?$/i.exec(part.trim());
      if (!item) throw new SqlError(400, "syntax_error", "42601", `cannot read "${part.trim()}"`);
      const [, fn, argument, column, alias] = item;
      const base = source.columns.find((other) => other.name === column)?.type;
      const type = fn ? (fn === "count" ? "bigint" : "double precision")
        : base ?? "timestamp with time zone";
      return { fn: fn?.toLowerCase(), column: argument ?? column, type,
        name: alias ?? fn ?? column };
    });
    const plan = { items, size: size ? milliseconds(size) : 0, sizeText: size,
      final: /emit\s*=\s*'final'/i.test(options ?? "") };
    const view = new View(name, source, plan, text);
    source.views.push(view);
    this.relations.set(name, view);
    return { columns: [], rows: [], tag: "CREATE MATERIALIZED VIEW" };
  }

  drop(text) {
    const name = /(\w+)$/.exec(text)[1];
    const relation = this.need(name, text);
    this.relations.delete(name);
    if (relation.kind === "view") {
      relation.source.views = relation.source.views.filter((view) => view !== relation);
    }
    return { columns: [], rows: [], tag: "DROP" };
  }

  explain(text) {
    const plan = ["Sort", "  -> Scan", `     ${text.replace(/^explain\s+/i, "")}`];
    return { columns: [{ name: "QUERY PLAN", type: "text" }], rows: plan.map((line) => [line]),
      tag: "EXPLAIN" };
  }

  select(text, sql) {
    const found = new RegExp("^select\\s+(\\*|count\\(\\*\\))\\s+from\\s+([\\w.]+)"
      + "(?:\\s+where\\s+(\\w+)\\s*=\\s*'([^']*)')?"
      + "(?:\\s+order\\s+by\\s+\"?(\\w+)\"?(\\s+desc)?)?(?:\\s+limit\\s+(\\d+))?$", "i").exec(text);
    if (!found) {
      const word = /^select\s+(\S+)/i.exec(text)?.[1] ?? text;
      throw new SqlError(400, "syntax_error", "42601", `syntax error at or near "${word}"`,
        { position: [...sql.slice(0, sql.indexOf(word))].length + 1,
          hint: "The stand-in reads SELECT * FROM name only." });
    }
    const [, what, name, column, value, order, down, limit] = found;
    const dead = name === "sys.dead_letters";
    const relation = dead ? { columns: DEAD_COLUMNS, rows: this.dead } : this.need(name, sql);
    let rows = relation.rows.filter((row) => !column || String(row[column]) === value);
    if (what !== "*") {
      return { columns: [{ name: "count", type: "bigint" }], rows: [[rows.length]],
        tag: "SELECT 1" };
    }
    rows = ordered(rows, order, Boolean(down)).slice(0, limit ? Number(limit) : undefined);
    return {
      columns: relation.columns.map(({ name: title, type }) => ({ name: title, type })),
      rows: rows.map((row) => relation.columns.map((other) => row[other.name] ?? null)),
      tag: `SELECT ${rows.length}`,
    };
  }

  /* ---- what the system says of itself ---- */

  catalog() {
    const relations = [...this.relations.values()].map((relation) => ({
      name: relation.name, kind: relation.kind, columns: relation.columns, sql: relation.sql,
      ...(relation.kind === "view" && {
        key: relation.key, emit: relation.plan.final ? "final" : "changes",
        source: relation.source.name,
      }),
    }));
    return { relations: [...relations,
      { name: "sys.dead_letters", kind: "system", columns: DEAD_COLUMNS }] };
  }

  topics() {
    return { topics: [...this.relations.values()].map((relation) => ({
      name: relation.name, kind: relation.kind,
      partitions: (relation.partitions ?? [relation.partition]).map((part, partition) => ({
        partition, start_offset: 0, high_watermark: part.offset, end_offset: part.offset,
        bytes: part.bytes, idle: false,
        watermark: relation.kind === "table" ? iso(relation.watermark(partition)) : null,
      })),
    })) };
  }

  pipeline() {
    const nodes = [];
    const edges = [];
    for (const relation of this.relations.values()) {
      if (relation.kind === "table") {
        const rows = relation.partitions.reduce((sum, part) => sum + part.offset, 0);
        const least = Math.min(...relation.partitions.map((_, i) => relation.watermark(i)));
        nodes.push({ id: `table:${relation.name}`, kind: "source", label: relation.name, rows,
          watermark: iso(least), partitions: relation.partitions.length, lag: 0,
          detail: `topic ${relation.name}` });
      } else {
        this.viewNodes(relation, nodes, edges);
      }
    }
    return { epoch: this.epoch, time: new Date().toISOString(),
      uptime_s: (performance.now() - this.began) / 1000, nodes, edges };
  }

  viewNodes(view, nodes, edges) {
    const rows = view.source.partitions.reduce((sum, part) => sum + part.offset, 0);
    const watermark = iso(view.watermark());
    const id = `view:${view.name}`;
    let from = `table:${view.source.name}`;
    const step = (suffix, kind, label) => {
      nodes.push({ id: `${id}/${suffix}`, kind, label, rows, watermark });
      edges.push({ from, to: `${id}/${suffix}` });
      from = `${id}/${suffix}`;
    };
    if (view.plan.size) step(0, "window", `Window: tumble on ts, size ${view.plan.sizeText}`);
    const names = view.plan.items.filter((item) => item.fn)
      .map((item) => `${item.fn}(${item.column})`).join(", ");
    step(1, "aggregate", `Aggregate: ${names} by ${view.key.join(", ")}`);
    nodes.push({ id, kind: "view", label: view.name, rows: view.out, groups: view.groups.size,
      state_bytes: view.groups.size * 64, late_rows: view.late, watermark, status: view.status });
    edges.push({ from, to: id });
  }
}

export function ordered(rows, column, down) {
  if (!column) return rows;
  const compare = (a, b) => (a[column] < b[column] ? -1 : a[column] > b[column] ? 1 : 0);
  return [...rows].sort((a, b) => (down ? compare(b, a) : compare(a, b)));
}
