// Rows to chart lines: which column is time, which are measures, which name the series.
import type { Column } from "./api";
import { isNumeric, isTemporal, timeOf } from "./format";
import type { Row } from "./rows";

export const SERIES_DRAWN_MAX = 20;
export const SERIES_AUTO_MAX = 8;
export const SERIES_LISTED_MAX = 500;
export const POINTS_MAX = 1500;

export interface Roles {
  /** Column indexes; x is -1 when no column is a time. */
  x: number;
  measures: number[];
  series: number[];
}

const WINDOW = ["window_start", "window_end"];

export function rolesOf(columns: Column[], key: string[]): Roles {
  const index = (name: string) => columns.findIndex((column) => column.name === name);
  const temporal = columns.map((column, i) => (isTemporal(column.type) ? i : -1))
    .filter((i) => i >= 0);
  const keyed = new Set(key.map(index));
  // With a key, a time outside it is a value like any other: a row has one, a series has not.
  const times = keyed.size > 0 ? temporal.filter((i) => keyed.has(i)) : temporal;
  const x = [...WINDOW.map(index).filter((i) => times.includes(i)), ...times][0] ?? -1;
  const measures = columns.map((column, i) => (isNumeric(column.type) && !keyed.has(i) ? i : -1))
    .filter((i) => i >= 0);
  const named = key.length > 0
    ? [...keyed].filter((i) => i >= 0 && i !== x && !WINDOW.includes(columns[i]!.name))
    : columns.map((column, i) => (/^(text|varchar|character)/.test(column.type) ? i : -1))
      .filter((i) => i >= 0).slice(0, 1);
  return { x, measures, series: named };
}

/** The measure to show first: fractions say more than counts. */
export function firstMeasure(columns: Column[], measures: number[]): number {
  return measures.find((i) => !/^(smallint|integer|bigint|int)/.test(columns[i]!.type))
    ?? measures[0] ?? -1;
}

export function seriesName(row: Row, series: number[]): string {
  return series.map((i) => (row.values[i] === null ? "NULL" : String(row.values[i]))).join(" · ");
}

export interface SeriesInfo {
  name: string;
  points: number;
  latest: number;
}

/** Every series there is, most points first, then by name. */
export function listSeries(rows: Row[], roles: Roles): SeriesInfo[] {
  const found = new Map<string, SeriesInfo>();
  for (const row of rows) {
    const name = seriesName(row, roles.series);
    const info = found.get(name);
    if (info) info.points++;
    else if (found.size < SERIES_LISTED_MAX) found.set(name, { name, points: 1, latest: NaN });
  }
  return [...found.values()].sort((a, b) => b.points - a.points || compareNames(a.name, b.name));
}

const collator = new Intl.Collator("en", { numeric: true });
export const compareNames = (a: string, b: string): number => collator.compare(a, b);

export type Aligned = (number | null | undefined)[][];

/** uPlot's data: seconds, then one array per name of `drawn`. Undefined is a gap to bridge: no row
 * of that series has that time. Null is a value that is NULL: the line breaks there. */
export function align(rows: Row[], roles: Roles, measure: number, drawn: string[]): Aligned {
  const slot = new Map(drawn.map((name, i) => [name, i]));
  const chosen: { time: number; series: number; value: number | null }[] = [];
  for (const row of rows) {
    const series = slot.get(seriesName(row, roles.series));
    const time = timeOf(row.values[roles.x]) / 1000;
    if (series === undefined || !Number.isFinite(time)) continue;
    const raw = row.values[measure];
    const value = raw === null ? null : Number(raw);
    chosen.push({ time, series, value: Number.isFinite(value) ? value : null });
  }
  let times = [...new Set(chosen.map((point) => point.time))].sort((a, b) => a - b);
  if (times.length > POINTS_MAX) times = times.slice(-POINTS_MAX);
  const at = new Map(times.map((time, i) => [time, i]));
  const lines: Aligned = drawn.map(() => new Array<number | null | undefined>(times.length));
  for (const { time, series, value } of chosen) {
    const i = at.get(time);
    if (i !== undefined) lines[series]![i] = value;
  }
  return [times, ...lines];
}

/** The last value of each line, for the legend. */
export function latest(data: Aligned, line: number): number | null {
  const values = data[line + 1];
  if (!values) return null;
  for (let i = values.length - 1; i >= 0; i--) {
    if (values[i] !== undefined && values[i] !== null) return values[i]!;
  }
  return null;
}

export interface Bar {
  name: string;
  value: number;
}

/** For views without a time: the greatest values. */
export function bars(rows: Row[], roles: Roles, measure: number): Bar[] {
  return rows.map((row) => ({
    name: seriesName(row, roles.series) || "total", value: Number(row.values[measure] ?? NaN),
  })).filter((bar) => Number.isFinite(bar.value))
    .sort((a, b) => b.value - a.value || compareNames(a.name, b.name))
    .slice(0, SERIES_DRAWN_MAX);
}
