// A table or topic: newest rows, schema, how to send rows, and what it refused.
import { useEffect, useMemo, useState } from "preact/hooks";
import {
  ApiError, isSystem, runSql, unreachable, type QueryResult, type Relation, type Topic,
} from "../api";
import { bytes, count, rate, timestamp } from "../format";
import { counter, live, topicBytes, topicRows, topicWatermark } from "../live";
import { link } from "../router";
import type { Row } from "../rows";
import {
  addresses, eventTimeColumn, quoteName, quoteText, relationName, sendSnippets,
} from "../sql";
import { useLocal, useStore } from "../store";
import { DataTable } from "../ui/data-table";
import { Code, Empty, ErrorBox, Panel, Snippets, Stat } from "../ui/parts";

const NEWEST_ROWS = 100;
const READ_MS_MIN = 2000;
const DEAD_ROWS = 20;
const SAMPLE_AHEAD_MS = 1000;

export interface Reading {
  result: QueryResult | null;
  rows: Row[];
  version: number;
  error: ApiError | null;
}

const unread: Reading = { result: null, rows: [], version: 0, error: null };

/** Rows of a result as the table shows them; a result's rows have no key, so their place is their
 * name. */
export function resultRows(result: QueryResult): Row[] {
  return result.rows.map((values, i) => ({ id: String(i), values, changedAt: 0, changed: null }));
}

/** Runs a query again and again: every two seconds, less often when it takes long. */
export function useQuery(sql: string): Reading {
  const [reading, setReading] = useState<Reading>(unread);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let version = 1;
    const again = async () => {
      const begin = performance.now();
      try {
        if (!document.hidden) {
          const result = await runSql(sql, abort.signal);
          setReading({ result, rows: resultRows(result), version: version++, error: null });
        }
      } catch (caught) {
        if (abort.signal.aborted) return;
        const error = caught instanceof ApiError ? caught : unreachable();
        // While nobody answers, the page's own notice says so.
        if (error.status !== 0) setReading((last) => ({ ...last, error }));
      }
      if (abort.signal.aborted) return;
      timer = setTimeout(() => void again(),
        Math.max(READ_MS_MIN, 40 * (performance.now() - begin)));
    };
    void again();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [sql]);
  return reading;
}

function newestSql(relation: Relation): string {
  const names = relation.columns.map((column) => column.name);
  const by = eventTimeColumn(relation) ?? ["timestamp", "at", "offset"]
    .find((name) => names.includes(name) && relation.kind !== "table");
  const order = by ? ` ORDER BY ${quoteName(by)} DESC` : "";
  return `SELECT * FROM ${relationName(relation)}${order} LIMIT ${NEWEST_ROWS}`;
}

function Newest({ relation }: { relation: Relation }) {
  const sql = newestSql(relation);
  const { result, rows, version, error } = useQuery(sql);
  const columns = result?.columns ?? relation.columns;
  return (
    <Panel title="Newest rows" aside={<code class="muted small">{sql}</code>}>
      {error ? <ErrorBox error={error} sql={sql} /> : null}
      <DataTable columns={columns} rows={rows} version={version}
        label={`newest rows of ${relation.name}`} />
    </Panel>
  );
}

function Schema({ relation }: { relation: Relation }) {
  const time = eventTimeColumn(relation);
  return (
    <Panel title="Schema">
      <div class="data-box">
        <table>
          <thead>
            <tr><th scope="col">column</th><th scope="col">type</th><th scope="col" /></tr>
          </thead>
          <tbody>
            {relation.columns.map((column) => (
              <tr key={column.name}>
                <td>{column.name}</td>
                <td><code>{column.type}</code></td>
                <td class="muted">
                  {[column.not_null ? "not null" : "", column.name === time ? "event time" : ""]
                    .filter(Boolean).join(", ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {relation.sql ? <Code text={relation.sql} label="SQL" /> : null}
    </Panel>
  );
}

function DeadLetters({ relation }: { relation: Relation }) {
  const sql = `SELECT * FROM sys.dead_letters WHERE table_name = ${quoteText(relation.name)} `
    + `ORDER BY at DESC LIMIT ${DEAD_ROWS}`;
  const { result, rows, version, error } = useQuery(sql);
  return (
    <Panel title="Dead letters" aside={<a href={link("dead")}>all dead letters</a>}>
      {error ? <ErrorBox error={error} sql={sql} /> : null}
      {result && rows.length > 0 ? (
        <DataTable columns={result.columns} rows={rows} version={version}
          label={`dead letters of ${relation.name}`} />
      ) : (
        <p class="muted">{result ? "None: every row so far could be read." : "Reading…"}</p>
      )}
    </Panel>
  );
}

function Partitions({ topic }: { topic: Topic }) {
  const local = useLocal();
  const heads = ["partition", "rows", "from offset", "to offset", "size", "watermark", ""];
  return (
    <Panel title="Partitions">
      <div class="data-box">
        <table>
          <thead><tr>{heads.map((head) => <th scope="col" key={head}>{head}</th>)}</tr></thead>
          <tbody>
            {topic.partitions.map((part) => (
              <tr key={part.partition}>
                <td class="num">{part.partition}</td>
                <td class="num">{count(part.high_watermark - part.start_offset)}</td>
                <td class="num">{count(part.start_offset)}</td>
                <td class="num">{count(part.high_watermark)}</td>
                <td class="num">{bytes(part.bytes)}</td>
                <td class="time">
                  {timestamp(part.watermark ? Date.parse(part.watermark) : NaN, local)}
                </td>
                <td class="muted">{part.idle ? "idle" : ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function TopicFigures({ topic, lag }: { topic: Topic; lag: number | undefined }) {
  const local = useLocal();
  return (
    <dl class="stats">
      <Stat label="rows/s in">{rate(counter(`topic/${topic.name}`).rate())}</Stat>
      <Stat label="rows">{count(topicRows(topic))}</Stat>
      <Stat label="size">{bytes(topicBytes(topic))}</Stat>
      <Stat label="partitions">{count(topic.partitions.length)}</Stat>
      <Stat label="rows waiting">{lag === undefined ? "–" : count(lag)}</Stat>
      <Stat label="watermark">{timestamp(topicWatermark(topic), local, false)}</Stat>
    </dl>
  );
}

/** A time that fits the rows there are: one of now would make everything that a replay still sends
 * late. */
function useSampleTime(topic: Topic | undefined): Date {
  const watermark = topic ? topicWatermark(topic) : NaN;
  const known = Number.isFinite(watermark);
  return useMemo(() => (known ? new Date(watermark + SAMPLE_AHEAD_MS) : new Date()), [known]);
}

export function TablePage({ relation }: { relation: Relation }) {
  const { pipeline, topics } = useStore(live);
  const topic = topics?.find((other) => other.name === relation.name);
  const node = pipeline?.nodes.find((other) => other.id === `table:${relation.name}`);
  const where = addresses(pipeline, location);
  const time = useSampleTime(topic);
  const snippets = useMemo(() => sendSnippets(relation, where, time),
    [relation, time, where.http, where.kafka, where.pgPort]);
  const empty = topic !== undefined && topicRows(topic) === 0;
  const system = isSystem(relation);
  return (
    <>
      {topic ? <TopicFigures topic={topic} lag={node?.lag} /> : null}
      {empty && !system ? (
        <Empty title="No rows yet">
          <p>{topic.kind === "late" ? "Rows that come too late for their view will be kept here."
            : "Send one with any of the lines below."}</p>
        </Empty>
      ) : null}
      {system || topic?.kind === "late" ? null : (
        <Panel title="Send rows"><Snippets list={snippets} /></Panel>
      )}
      <Newest relation={relation} />
      <div class="columns">
        <Schema relation={relation} />
        {topic ? <Partitions topic={topic} /> : null}
      </div>
      {relation.kind === "table" && !system ? <DeadLetters relation={relation} /> : null}
    </>
  );
}
