// A table of rows: sorted, filtered, drawn only where it is seen, with cells marked that just
// changed.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Column } from "../api";
import { cell, count, isNumeric, isTemporal, plural, timeOf } from "../format";
import type { Row } from "../rows";
import { useLocal } from "../store";
import { compareNames } from "../series";

const VIRTUAL_MIN = 200;
const ROW_PX = 30;
const OVERSCAN = 12;
const MARK_MS = 1200;

export interface Sort {
  column: number;
  down: boolean;
}

type Key = number | string | null;

function sortKey(value: unknown, type: string): Key {
  if (value === null) return null;
  if (isNumeric(type)) return Number(value);
  if (isTemporal(type)) return timeOf(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function comparer(type: string): (a: Key, b: Key) => number {
  if (isNumeric(type) || isTemporal(type)) return (a, b) => (a as number) - (b as number);
  return (a, b) => compareNames(a as string, b as string);
}

/** A copy in order; NULL comes last, equal values stay in the order of the rows. */
export function sortRows(rows: Row[], columns: Column[], sort: Sort | null): Row[] {
  if (!sort || !columns[sort.column]) return rows;
  const { column, down } = sort;
  const { type } = columns[column]!;
  const compare = comparer(type);
  const sign = down ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: sortKey(row.values[column] ?? null, type) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
    return sign * compare(a.key, b.key);
  });
  return keyed.map(({ row }) => row);
}

function matching(rows: Row[], columns: Column[], filter: string, local: boolean): Row[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const text = columns.map((column, i) => cell(row.values[i], column.type, local))
      .join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

interface Span {
  first: number;
  end: number;
}

/** Which rows are on screen. */
function useSpan(total: number): [Span, { current: HTMLDivElement | null }, () => void] {
  const box = useRef<HTMLDivElement | null>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const scrolled = () => setTop(Math.floor((box.current?.scrollTop ?? 0) / ROW_PX) * ROW_PX);
  if (total <= VIRTUAL_MIN) return [{ first: 0, end: total }, box, scrolled];
  const first = Math.max(0, Math.min(Math.floor(top / ROW_PX) - OVERSCAN, total - 1));
  const end = Math.min(total, Math.ceil((top + height) / ROW_PX) + OVERSCAN);
  return [{ first: first - (first % 2), end }, box, scrolled];
}

function Head(props: { columns: Column[]; sort: Sort | null; onSort: (sort: Sort) => void }) {
  const { columns, sort, onSort } = props;
  return (
    <thead>
      <tr>
        {columns.map((column, i) => {
          const active = sort?.column === i;
          const state = active ? (sort.down ? "descending" : "ascending") : "none";
          return (
            <th key={i} scope="col" aria-sort={state} class={isNumeric(column.type) ? "num" : ""}>
              <button type="button" title={column.type}
                onClick={() => onSort({ column: i, down: active ? !sort.down : false })}>
                {column.name}
                <span class="arrow" aria-hidden="true">
                  {active ? (sort.down ? "▼" : "▲") : ""}
                </span>
              </button>
            </th>
          );
        })}
      </tr>
    </thead>
  );
}

function cellClass(value: unknown, type: string, marked: boolean): string {
  const kind = value === null ? "null" : isNumeric(type) ? "num" : isTemporal(type) ? "time" : "";
  return marked ? `${kind} mark` : kind;
}

interface Props {
  columns: Column[];
  rows: Row[];
  /** Changes whenever the rows' content does. */
  version: number;
  label: string;
  initialSort?: Sort | null;
  note?: string;
  live?: boolean;
}

/** While cells are marked, draws once more when the marks have aged; no animation runs. */
function useMarks(newest: number): number {
  const [, redraw] = useState(0);
  const now = Date.now();
  useEffect(() => {
    const left = newest + MARK_MS - Date.now();
    if (left <= 0) return;
    const timer = setTimeout(() => redraw((n) => n + 1), left + 20);
    return () => clearTimeout(timer);
  }, [newest]);
  return now;
}

export function DataTable(props: Props) {
  const { columns, rows, version, label, note } = props;
  const local = useLocal();
  const [sort, setSort] = useState<Sort | null>(props.initialSort ?? null);
  const [filter, setFilter] = useState("");
  const shown = useMemo(
    () => sortRows(matching(rows, columns, filter, local), columns, sort),
    [version, columns, filter, sort, local]);
  const [span, box, scrolled] = useSpan(shown.length);
  const newest = props.live ? rows.reduce((at, row) => Math.max(at, row.changedAt), 0) : 0;
  const now = useMarks(newest);
  return (
    <div class="data">
      <div class="data-bar">
        <input type="search" placeholder="Filter rows" aria-label={`Filter ${label}`}
          value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        <span class="muted" role="status">
          {filter ? `${count(shown.length)} of ${plural(rows.length, "row")}`
            : plural(rows.length, "row")}{note ? ` · ${note}` : ""}
        </span>
      </div>
      <div class="data-box" ref={box} onScroll={scrolled} tabIndex={0} role="region"
        aria-label={label}>
        <table aria-rowcount={shown.length + 1}>
          <Head columns={columns} sort={sort} onSort={setSort} />
          <tbody>
            {span.first > 0 ? <tr style={{ height: `${span.first * ROW_PX}px` }} /> : null}
            {shown.slice(span.first, span.end).map((row, i) => (
              <tr key={row.id} class={(span.first + i) % 2 ? "odd" : ""}>
                {columns.map((column, c) => {
                  const value = row.values[c] ?? null;
                  const fresh = row.changedAt > 0 && now - row.changedAt < MARK_MS;
                  // A new row is marked at its first cell, a changed one where it changed.
                  const marked = fresh && (row.changed ? row.changed[c] === true : c === 0);
                  return (
                    <td key={c} class={cellClass(value, column.type, marked)}>
                      {cell(value, column.type, local, props.live)}
                    </td>
                  );
                })}
              </tr>
            ))}
            {span.end < shown.length
              ? <tr style={{ height: `${(shown.length - span.end) * ROW_PX}px` }} /> : null}
          </tbody>
        </table>
        {shown.length === 0 ? (
          <p class="muted nothing">{filter ? "No row matches the filter." : "No rows."}</p>
        ) : null}
      </div>
    </div>
  );
}
