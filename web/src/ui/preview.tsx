// The newest part of a view as a small line chart on one canvas: no axes, no events, drawn only
// when the data changed.
import { useEffect, useRef, useState } from "preact/hooks";
import { viewRows, type Relation } from "../api";
import { RowSet } from "../rows";
import {
  SERIES_AUTO_MAX, align, bars, compareNames, firstMeasure, listSeries, rolesOf, type Aligned,
} from "../series";
import { compact, duration } from "../format";
import { lineStyle, useDark } from "./chart";

const ROWS_MAX = 800;
const READ_MS_MIN = 2000;
const HEIGHT_PX = 96;

interface Picture {
  data: Aligned;
  names: string[];
  bars: { name: string; value: number }[];
  measure: string;
  dots: boolean;
}

async function read(relation: Relation, signal: AbortSignal): Promise<Picture | null> {
  const roles = rolesOf(relation.columns, relation.key ?? []);
  const measure = firstMeasure(relation.columns, roles.measures);
  if (measure < 0) return null;
  const order = roles.x >= 0 ? relation.columns[roles.x]!.name : relation.columns[measure]!.name;
  const objects = await viewRows(relation.name, ROWS_MAX, `-${order}`, signal);
  const set = new RowSet(relation.columns, relation.key ?? [], ROWS_MAX);
  set.replace(objects.reverse());
  const rows = set.all();
  const names = listSeries(rows, roles).slice(0, SERIES_AUTO_MAX).map((info) => info.name)
    .sort(compareNames);
  return {
    names, measure: relation.columns[measure]!.name, dots: !set.hasKey,
    data: roles.x >= 0 ? align(rows, roles, measure, names) : [[]],
    bars: roles.x >= 0 ? [] : bars(rows, roles, measure).slice(0, 4),
  };
}

function draw(canvas: HTMLCanvasElement, { data, names, dots }: Picture, dark: boolean): void {
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(HEIGHT_PX * scale);
  const pen = canvas.getContext("2d");
  const [times, ...lines] = data;
  const known = lines.flat().filter((value): value is number => typeof value === "number");
  if (!pen || !times || times.length === 0 || known.length === 0) return;
  const low = Math.min(...known);
  const high = Math.max(...known);
  const first = times[0]!;
  const span = times[times.length - 1]! - first || 1;
  pen.scale(scale, scale);
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  lines.forEach((line, i) => {
    const { color, dash } = lineStyle(i, dark);
    pen.strokeStyle = pen.fillStyle = color;
    pen.setLineDash(dash ?? []);
    pen.beginPath();
    let points = 0;
    let x = 0;
    let y = 0;
    for (let k = 0; k < times.length; k++) {
      const value = line[k];
      if (typeof value !== "number") continue;
      x = 3 + ((times[k]! - first) / span) * (width - 6);
      y = HEIGHT_PX - 5 - ((value - low) / (high - low || 1)) * (HEIGHT_PX - 10);
      if (dots) pen.fillRect(x - 1.5, y - 1.5, 3, 3);
      else if (points === 0) pen.moveTo(x, y);
      else pen.lineTo(x, y);
      points++;
    }
    pen.stroke();
    if (points === 1) pen.fillRect(x - 1.5, y - 1.5, 3, 3);
  });
  canvas.setAttribute("aria-label", `${names.length} series, ${compact(low)} to ${compact(high)}`);
}

/** Reads again after two seconds, or later when a reading costs the server more than a few
 * milliseconds. */
function useReadings(relation: Relation): Picture | null {
  const [picture, setPicture] = useState<Picture | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const again = async () => {
      const begin = performance.now();
      try {
        if (!document.hidden) setPicture(await read(relation, abort.signal));
      } catch { /* the page's own connection state says what is wrong */ }
      if (abort.signal.aborted) return;
      const cost = performance.now() - begin;
      timer = setTimeout(() => void again(), Math.max(READ_MS_MIN, 40 * cost));
    };
    void again();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [relation]);
  return picture;
}

export function Preview({ relation }: { relation: Relation }) {
  const picture = useReadings(relation);
  const dark = useDark();
  const canvas = useRef<HTMLCanvasElement | null>(null);
  useEffect(() => {
    if (canvas.current && picture) draw(canvas.current, picture, dark);
  }, [picture, dark]);
  const times = picture?.data[0] ?? [];
  const span = times.length > 1 ? (times[times.length - 1]! - times[0]!) * 1000 : 0;
  const top = Math.max(...(picture?.bars ?? []).map((bar) => Math.abs(bar.value)), 1e-9);
  return (
    <div class="preview" style={{ height: `${HEIGHT_PX + 20}px` }}>
      <p class="muted small">
        {picture ? picture.measure : " "}{span > 0 ? ` · last ${duration(span)}` : ""}
        {picture && times.length + picture.bars.length === 0 ? " · no rows yet" : ""}
      </p>
      {picture && picture.bars.length > 0 ? (
        <div class="bars">{picture.bars.map((bar) => (
          <div class="bar" key={bar.name}>
            <span class="name">{bar.name}</span>
            <span class="track"><span style={{ width: `${(Math.abs(bar.value) / top) * 100}%` }} />
            </span>
            <span class="value">{compact(bar.value)}</span>
          </div>
        ))}</div>
      ) : <canvas ref={canvas} role="img" style={{ height: `${HEIGHT_PX}px` }} />}
    </div>
  );
}
