// A view: live chart, live table, its state, and how to read it from elsewhere.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, unreachable, viewRows, type Relation } from "../api";
import { bytes, compact, count, duration, rate, timeOf, timestamp } from "../format";
import { counter, live } from "../live";
import { RowSet, type Row } from "../rows";
import {
  SERIES_AUTO_MAX, SERIES_DRAWN_MAX, align, bars, compareNames, firstMeasure, latest, listSeries,
  rolesOf, type Aligned, type Roles, type SeriesInfo,
} from "../series";
import { addresses, readSnippets } from "../sql";
import { followChanges } from "../sse";
import { useLocal, useStore } from "../store";
import { Chart, lineStyle, useDark } from "../ui/chart";
import { DataTable } from "../ui/data-table";
import { Code, Empty, ErrorBox, Panel, Snippets, Stat } from "../ui/parts";
import { nodeStatus } from "../ui/node-status";

const ROWS_MAX = 5000;
const DRAW_MS = 250;
const DRAW_MANY_MS = 500;
const MANY_ROWS = 1500;
const PANELS_MAX = 4;

interface Feed {
  rows: Row[];
  version: number;
  dropped: number;
  /** False until the first reading is there. */
  ready: boolean;
  /** The first reading had as many rows as it may have: there may be more. */
  cut: boolean;
  error: ApiError | null;
}

const nothing: Feed = { rows: [], version: 0, dropped: 0, ready: false, cut: false, error: null };

/** A reading of the rows joined to the stream of changes. With a key, the newest rows are read
 * once the stream says where it starts, and changes that came meanwhile are applied over them
 * (see rows.ts). Without one, the stream's own snapshot is the reading, because counted rows must
 * not be taken twice. */
class Follower {
  private readonly set: RowSet;
  private pending: [number, Record<string, unknown>][] | null = [];
  private readonly stop: () => void;
  private readonly abort = new AbortController();
  private ready = false;
  private cut = false;
  private error: ApiError | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly relation: Relation, private readonly order: string | null,
              private readonly draw: (feed: Feed) => void) {
    this.set = new RowSet(relation.columns, relation.key ?? [], ROWS_MAX);
    const keyed = this.set.hasKey;
    this.stop = followChanges(relation.name, !keyed, {
      opened: () => {
        this.pending = [];
      },
      change: (weight, row) => this.change(weight, row),
      snapshotEnd: () => {
        if (keyed) void this.read();
        else this.join([]);
      },
      down: (error) => {
        this.error = error;
        this.schedule();
      },
    });
  }

  close(): void {
    this.stop();
    this.abort.abort();
    clearTimeout(this.timer);
  }

  private async read(): Promise<void> {
    try {
      const rows = await viewRows(this.relation.name, ROWS_MAX, this.order, this.abort.signal);
      this.cut = rows.length >= ROWS_MAX;
      this.join(this.order ? rows.reverse() : rows);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.error = error instanceof ApiError ? error : unreachable();
      this.schedule();
    }
  }

  private join(rows: Record<string, unknown>[]): void {
    this.set.replace(rows);
    const now = this.ready && this.set.hasKey ? Date.now() : 0;
    for (const [weight, row] of this.pending ?? []) this.set.apply(weight, row, now);
    this.pending = null;
    this.ready = true;
    this.error = null;
    this.schedule(0);
  }

  private change(weight: number, row: Record<string, unknown>): void {
    if (this.pending) {
      this.pending.push([weight, row]);
      // The newest are kept; what a bounded set would drop anyway need not wait for it.
      if (this.pending.length > 4 * ROWS_MAX) this.pending.splice(0, 2 * ROWS_MAX);
    } else {
      this.set.apply(weight, row, Date.now());
      this.schedule();
    }
  }

  private schedule(ms = this.set.size > MANY_ROWS ? DRAW_MANY_MS : DRAW_MS): void {
    if (this.timer && ms > 0) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.draw({
        rows: this.set.all(), version: this.set.version, dropped: this.set.dropped,
        ready: this.ready, cut: this.cut, error: this.error,
      });
    }, ms);
  }
}

export function useFeed(relation: Relation, order: string | null): Feed {
  const [feed, setFeed] = useState<Feed>(nothing);
  const id = JSON.stringify([relation.name, relation.sql, relation.columns, relation.key, order]);
  useEffect(() => {
    setFeed(nothing);
    const follower = new Follower(relation, order, setFeed);
    return () => follower.close();
  }, [id]);
  return feed;
}

/** Which series are drawn: what the user chose, else the first ones, which then stay. */
function useChosen(series: SeriesInfo[]): [string[], (name: string) => void] {
  const [chosen, setChosen] = useState<string[] | null>(null);
  const auto = useRef<string[]>([]);
  const known = new Set(series.map((info) => info.name));
  auto.current = auto.current.filter((name) => known.has(name));
  for (const { name } of series) {
    if (auto.current.length >= SERIES_AUTO_MAX) break;
    if (!auto.current.includes(name)) auto.current.push(name);
  }
  auto.current.sort(compareNames);
  const drawn = chosen ? chosen.filter((name) => known.has(name)) : auto.current;
  const toggle = (name: string) => {
    if (drawn.includes(name)) setChosen(drawn.filter((other) => other !== name));
    else if (drawn.length < SERIES_DRAWN_MAX) setChosen([...drawn, name]);
  };
  return [drawn, toggle];
}

function Legend(props: {
  series: SeriesInfo[]; drawn: string[]; toggle: (name: string) => void;
  value: (name: string) => string; dark: boolean; when: string;
}) {
  const { series, drawn, toggle, value, dark, when } = props;
  const [search, setSearch] = useState("");
  const wanted = search.trim().toLowerCase();
  const listed = series.filter(({ name }) => name.toLowerCase().includes(wanted))
    .sort((a, b) => compareNames(a.name, b.name));
  const full = drawn.length >= SERIES_DRAWN_MAX;
  return (
    <div class="legend">
      <div class="legend-head">
        {series.length > SERIES_AUTO_MAX ? (
          <input type="search" placeholder={`Search ${count(series.length)} series`}
            aria-label="Search series" value={search}
            onInput={(event) => setSearch(event.currentTarget.value)} />
        ) : <span class="muted small">Series</span>}
        <span class="muted small when">{when}</span>
      </div>
      <ul>
        {listed.slice(0, 200).map(({ name }) => {
          const at = drawn.indexOf(name);
          const style = at >= 0 ? lineStyle(at, dark) : null;
          return (
            <li key={name}>
              <label class={at < 0 ? "off" : ""}>
                <input type="checkbox" checked={at >= 0} disabled={at < 0 && full}
                  onChange={() => toggle(name)} />
                <svg class="swatch" viewBox="0 0 18 8" aria-hidden="true">
                  <path d="M0 4H18" stroke={style?.color ?? "currentColor"}
                    stroke-dasharray={style?.dash ? "5 3" : undefined} />
                </svg>
                <span class="name" title={name}>{name || "value"}</span>
                <span class="value">{at >= 0 ? value(name) : ""}</span>
              </label>
            </li>
          );
        })}
      </ul>
      {full ? <p class="muted small">At most {SERIES_DRAWN_MAX} are drawn.</p> : null}
    </div>
  );
}

interface Drawing {
  rows: Row[];
  version: number;
  relation: Relation;
  roles: Roles;
}

interface Measured extends Drawing {
  measures: number[];
}

function TimeCharts({ rows, version, relation, roles, measures }: Measured) {
  const dark = useDark();
  const local = useLocal();
  const [hover, setHover] = useState<number | null>(null);
  const [zoomed, setZoomed] = useState(false);
  const series = useMemo(() => listSeries(rows, roles), [version, relation]);
  const [drawn, toggle] = useChosen(series);
  const names = drawn.join("\n");
  const data = useMemo(
    () => measures.map((measure) => align(rows, roles, measure, drawn)),
    [version, relation, names, measures.join()]);
  const first: Aligned = data[0] ?? [[]];
  const times = first[0]!;
  const at = hover !== null && hover < times.length ? hover : null;
  const time = at !== null ? times[at] : undefined;
  const value = (name: string) => {
    const line = drawn.indexOf(name);
    const shown = at !== null ? first[line + 1]?.[at] : latest(first, line);
    return shown === null || shown === undefined ? "–" : compact(shown);
  };
  return (
    <div class="charts">
      <div class="plots">
        {measures.map((measure, i) => (
          <figure key={measure}>
            <figcaption>
              {relation.columns[measure]!.name}
              {i === 0 && zoomed ? <span class="muted small"> double-click to see all</span> : null}
            </figcaption>
            <Chart data={data[i]!} names={drawn} styles={drawn.map((_, n) => n)} dark={dark}
              local={local} dots={(relation.key ?? []).length === 0}
              onHover={setHover} onZoom={setZoomed}
              label={`${relation.columns[measure]!.name} over ${
                relation.columns[roles.x]!.name}: ${drawn.length} series, ${
                times.length} points in time. The table below has the same values.`} />
          </figure>
        ))}
      </div>
      <Legend series={series} drawn={drawn} toggle={toggle} value={value} dark={dark}
        when={time !== undefined && time !== null ? timestamp(time * 1000, local) : "latest"} />
    </div>
  );
}

function BarChart({ rows, version, relation, roles, measures }: Measured) {
  const measure = measures[0]!;
  const list = useMemo(() => bars(rows, roles, measure), [version, relation, measure]);
  const top = Math.max(...list.map((bar) => Math.abs(bar.value)), 1e-9);
  return (
    <div class="bars" role="img" aria-label={`${relation.columns[measure]!.name}, greatest values`}>
      {list.map((bar, i) => (
        <div class="bar" key={`${bar.name}/${i}`}>
          <span class="name" title={bar.name}>{bar.name}</span>
          <span class="track">
            <span style={{ width: `${(Math.abs(bar.value) / top) * 100}%` }} />
          </span>
          <span class="value">{compact(bar.value)}</span>
        </div>
      ))}
    </div>
  );
}

function ChartPanel(props: Drawing) {
  const { relation, roles } = props;
  const [picked, setPicked] = useState<number[] | null>(null);
  const fallback = firstMeasure(relation.columns, roles.measures);
  const measures = picked ?? (fallback >= 0 ? [fallback] : []);
  if (fallback < 0) return null;
  const toggle = (measure: number) => {
    const next = measures.includes(measure) ? measures.filter((m) => m !== measure)
      : [...measures, measure].slice(-PANELS_MAX).sort((a, b) => a - b);
    if (next.length > 0) setPicked(roles.x < 0 ? [measure] : next);
  };
  const chips = (
    <div class="chips" role="group" aria-label="Measures">
      {roles.measures.map((measure) => (
        <button type="button" key={measure} aria-pressed={measures.includes(measure)}
          onClick={() => toggle(measure)}>{relation.columns[measure]!.name}</button>
      ))}
    </div>
  );
  return (
    <Panel title="Chart" aside={roles.measures.length > 1 ? chips : null}>
      {props.rows.length === 0 ? (
        <div class="chart-empty"><p class="muted">
          The chart starts with the first row.
          {relation.emit === "final"
            ? " With emit = 'final' a window's row comes when the watermark has passed its end."
            : ""}
        </p></div>
      ) : roles.x >= 0 ? <TimeCharts {...props} measures={measures} />
        : <BarChart {...props} measures={measures} />}
    </Panel>
  );
}

function Figures({ relation }: { relation: Relation }) {
  const { pipeline, eventTime } = useStore(live);
  const local = useLocal();
  const node = pipeline?.nodes.find((other) => other.id === `view:${relation.name}`);
  if (!node) return <dl class="stats" aria-hidden="true"><Stat label="rows/s">–</Stat></dl>;
  const watermark = timeOf(node.watermark);
  const behind = eventTime - watermark;
  return (
    <>
      {node.error ? <ErrorBox error={new ApiError(200, node.error)} /> : null}
      <dl class="stats">
        <Stat label="status">{nodeStatus(node)}</Stat>
        <Stat label="rows/s out">{rate(counter(`node/${node.id}`).rate())}</Stat>
        <Stat label="groups">{node.groups === undefined ? "–" : count(node.groups)}</Stat>
        <Stat label="late rows">{node.late_rows === undefined ? "–" : count(node.late_rows)}</Stat>
        <Stat label="state">
          {node.state_bytes === undefined ? "–" : bytes(node.state_bytes)}
        </Stat>
        <Stat label="watermark" title="No row older than this is expected any more">
          {timestamp(watermark, local, false)}
          {behind > 0 ? <span class="muted small"> {duration(behind)} behind</span> : null}
        </Stat>
      </dl>
    </>
  );
}

export function ViewPage({ relation }: { relation: Relation }) {
  const { pipeline } = useStore(live);
  const key = relation.key ?? [];
  const roles = useMemo(() => rolesOf(relation.columns, key), [relation.sql, relation.columns]);
  const time = roles.x >= 0 ? relation.columns[roles.x]!.name : null;
  const feed = useFeed(relation, time ? `-${time}` : null);
  // While nobody answers, the page's own notice says so.
  const away = feed.error?.status === 0;
  const note = [
    feed.cut || feed.dropped > 0 ? `the newest ${count(ROWS_MAX)} are kept here; SQL sees all` : "",
    away ? "reconnecting" : "",
  ].filter(Boolean).join(" · ");
  return (
    <>
      <Figures relation={relation} />
      {feed.error && !away ? <ErrorBox error={feed.error} /> : null}
      {!feed.ready && !feed.error ? <p class="muted loading">Reading rows…</p> : null}
      <ChartPanel key={relation.name} rows={feed.rows} version={feed.version} relation={relation}
        roles={roles} />
      <Panel title="Rows">
        <DataTable key={relation.name} columns={relation.columns} rows={feed.rows}
          version={feed.version} label={`rows of ${relation.name}`} note={note} live
          initialSort={roles.x >= 0 ? { column: roles.x, down: true } : null} />
      </Panel>
      <Panel title="Read it from elsewhere">
        <Snippets list={readSnippets(relation, time, addresses(pipeline, location))} />
      </Panel>
      <Panel title="Definition">
        {relation.sql ? <Code text={relation.sql} label="SQL" />
          : <Empty title="The server does not say." />}
      </Panel>
    </>
  );
}
