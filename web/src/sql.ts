// SQL text: quoting, ready-to-paste lines, and the place of an error.
import { isSystem, type Column, type Pipeline, type Relation } from "./api";

const RESERVED = new Set((
  "all analyse analyze and any array as asc asymmetric both case cast check collate column "
  + "constraint create current_date current_role current_time current_timestamp current_user "
  + "default deferrable desc distinct do else end except false fetch for foreign from grant "
  + "group having in initially intersect into lateral leading limit localtime localtimestamp "
  + "not null offset on only or order placing primary references returning select "
  + "session_user some symmetric table then to trailing true union unique user using variadic "
  + "when where window with partition"
).split(" "));

export function quoteName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !RESERVED.has(name) ? name
    : `"${name.replaceAll('"', '""')}"`;
}

export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** A relation's name as SQL needs it; sys.* names carry their schema. */
export function relationName(relation: Relation): string {
  return isSystem(relation) ? relation.name.split(".").map(quoteName).join(".")
    : quoteName(relation.name);
}

/** The event-time column that a table's CREATE text names. */
export function eventTimeColumn(relation: Relation): string | null {
  const found = /\bevent_time\s*=\s*'((?:[^']|'')*)'/i.exec(relation.sql ?? "");
  return found ? found[1]!.replaceAll("''", "'") : null;
}

/** In double quotes when that needs no escapes, as SQL has quotes of its own. */
const shellText = (text: string): string =>
  text.includes("'") && !/["$`\\!]/.test(text) ? `"${text}"`
    : `'${text.replaceAll("'", "'\\''")}'`;

function sampleValue(column: Column, now: Date): unknown {
  if (/^(int|bigint|smallint)/.test(column.type)) return 1;
  if (/^(double|float|real|numeric|decimal)/.test(column.type)) return 21.5;
  if (column.type.startsWith("bool")) return true;
  if (column.type.startsWith("timestamp")) return now.toISOString();
  if (column.type === "date") return now.toISOString().slice(0, 10);
  if (column.type === "interval") return "10 seconds";
  if (column.type.startsWith("json")) return { any: "value" };
  return `${column.name}-1`;
}

/** A row that the table would take. */
export function sampleRow(columns: Column[], now = new Date()): Record<string, unknown> {
  return Object.fromEntries(columns.map((column) => [column.name, sampleValue(column, now)]));
}

function sqlLiteral(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return quoteText(typeof value === "string" ? value : JSON.stringify(value));
}

export interface Address {
  http: string;
  kafka: string;
  pgHost: string;
  pgPort: string;
}

/** Where the servers listen: what the server says, else the default ports of the page's host. */
export function addresses(pipeline: Pipeline | null, here: Location): Address {
  const host = here.hostname || "localhost";
  const port = (address: string | undefined, fallback: string): string =>
    /:(\d+)$/.exec(address ?? "")?.[1] ?? fallback;
  return {
    http: here.origin,
    kafka: `${host}:${port(pipeline?.listeners?.kafka, "9092")}`,
    pgHost: host.replace(/^\[|\]$/g, ""),
    pgPort: port(pipeline?.listeners?.pg, "5433"),
  };
}

export interface Snippet {
  tool: string;
  text: string;
}

/** How to send rows to a table. */
export function sendSnippets(relation: Relation, at: Address, now = new Date()): Snippet[] {
  const raw = relation.kind === "topic";
  const row = raw ? { any: "value" } : sampleRow(relation.columns, now);
  const json = JSON.stringify(row);
  const path = `/v1/tables/${urlWord(relation.name)}/rows`;
  const names = Object.keys(row).map(quoteName).join(", ");
  const values = Object.values(row).map(sqlLiteral).join(", ");
  const insert = `INSERT INTO ${relationName(relation)} (${names}) VALUES (${values})`;
  const snippets = [
    { tool: "curl", text: `curl -d ${shellText(json)} ${at.http}${path}` },
    {
      tool: "kcat",
      text: `echo ${shellText(json)} | kcat -P -b ${at.kafka} -t ${shellWord(relation.name)}`,
    },
    { tool: "psql", text: `psql -h ${at.pgHost} -p ${at.pgPort} -c ${shellText(insert)}` },
  ];
  return raw ? snippets.slice(1, 2) : snippets;
}

const urlWord = (word: string): string => encodeURIComponent(word).replaceAll("'", "%27");
const shellWord = (word: string): string => /^[\w.-]+$/.test(word) ? word : shellText(word);

/** How to read a view from elsewhere. */
export function readSnippets(relation: Relation, order: string | null, at: Address): Snippet[] {
  const path = `${at.http}/v1/views/${urlWord(relation.name)}`;
  const by = order ? ` ORDER BY ${quoteName(order)} DESC` : "";
  const select = `SELECT * FROM ${relationName(relation)}${by} LIMIT 20`;
  return [
    { tool: "psql", text: `psql -h ${at.pgHost} -p ${at.pgPort} -c ${shellText(select)}` },
    { tool: "curl", text: `curl ${shellText(`${path}?limit=20`)}` },
    { tool: "push", text: `curl -N ${shellText(`${path}/changes`)}` },
    { tool: "kcat", text: `kcat -C -b ${at.kafka} -t ${shellWord(relation.name)}` },
  ];
}

export interface Place {
  line: number;
  column: number;
  text: string;
  /** Offset of the place in the statement, in UTF-16 units, for the editor's selection. */
  index: number;
}

/** Where an error's position (characters, from 1, as PostgreSQL counts) is in the statement. */
export function placeOf(sql: string, position: number): Place {
  let index = 0;
  for (let seen = 1; seen < position && index < sql.length; seen++) {
    index += (sql.codePointAt(index) ?? 0) > 0xffff ? 2 : 1;
  }
  const before = sql.slice(0, index);
  const line = before.split("\n").length;
  const begin = before.lastIndexOf("\n") + 1;
  return { line, column: index - begin + 1, text: sql.split("\n")[line - 1] ?? "", index };
}
