// uPlot as a component: fixed height, follows its width, the colour scheme and new data.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { compact } from "../format";
import type { Aligned } from "../series";

const HEIGHT_PX = 260;
const DARK = ["#5bb8f5", "#ffb454", "#6fd08c", "#e58fd0", "#f5e05b", "#8f9bff", "#ff8a7a",
  "#4fd6cf", "#c3a6ff", "#b8c26a"];
const LIGHT = ["#0b6e99", "#c25e00", "#2b8a3e", "#b0368b", "#8a7400", "#4a52c9", "#c0322b",
  "#0f8a86", "#7b4fc9", "#66701a"];

const darkScheme = () => matchMedia("(prefers-color-scheme: dark)");

/** Ten hues; the second ten are dashed, so that colour is never alone with more than ten lines. */
export function lineStyle(index: number, dark: boolean): { color: string; dash?: number[] } {
  const color = (dark ? DARK : LIGHT)[index % 10]!;
  return index >= 10 ? { color, dash: [6, 4] } : { color };
}

export function useDark(): boolean {
  const [dark, setDark] = useState(() => darkScheme().matches);
  useEffect(() => {
    const query = darkScheme();
    const changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

const variable = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** uPlot formats dates with the local getters; in UTC mode they get a date that reads as UTC. */
function plotDate(seconds: number, local: boolean): Date {
  const date = new Date(seconds * 1000);
  return local ? date : new Date(date.getTime() + date.getTimezoneOffset() * 60_000);
}

const two = "{HH}:{mm}";
const TIME_STEPS: uPlot.Axis.Values = [
  [31_536_000, "{YYYY}", null, null, null, null, null, null, 1],
  [2_419_200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86_400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, two, "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, `${two}:{ss}`, "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [0.001, `:{ss}.{fff}`, "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null,
    `\n${two}`, null, 1],
];

interface Props {
  data: Aligned;
  names: string[];
  /** Palette place of each name. */
  styles: number[];
  dark: boolean;
  local: boolean;
  /** Dots instead of lines: for rows that are events, between which nothing is known. */
  dots: boolean;
  label: string;
  /** The index of the time under the pointer, or null. */
  onHover?: (index: number | null) => void;
  onZoom?: (zoomed: boolean) => void;
}

function options(props: Props, width: number, on: {
  hover: (index: number | null) => void; zoom: (zoomed: boolean) => void;
}): uPlot.Options {
  const grid = { stroke: variable("--grid"), width: 1 };
  const axis = { stroke: variable("--muted"), grid, ticks: grid, font: "12px system-ui" };
  return {
    width,
    height: HEIGHT_PX,
    tzDate: (seconds) => plotDate(seconds, props.local),
    legend: { show: false },
    padding: [12, 32, 0, 0],
    cursor: { sync: { key: "charts" }, points: { size: 7 }, drag: { x: true, y: false } },
    scales: { y: { range: (_plot, low, high) => yRange(low, high) } },
    axes: [
      { ...axis, values: TIME_STEPS, space: 90 },
      { ...axis, size: 58, values: (_plot, ticks) => ticks.map((tick) => compact(tick)) },
    ],
    series: [{}, ...props.names.map((name, i) => {
      const { color, dash } = lineStyle(props.styles[i]!, props.dark);
      return {
        label: name, stroke: color, width: 1.75, points: { show: props.dots || fewPoints },
        ...(props.dots && { paths: () => null }), ...(dash && { dash }),
      };
    })],
    hooks: {
      setCursor: [(plot) => on.hover(plot.cursor.idx ?? null)],
      setSelect: [(plot) => on.zoom(plot.select.width > 0)],
    },
  };
}

/** Dots while the line is short: one point makes no line. */
function fewPoints(plot: uPlot, series: number): boolean {
  let known = 0;
  for (const value of plot.data[series] ?? []) {
    if (value !== undefined && value !== null && ++known > 24) return false;
  }
  return true;
}

function yRange(low: number, high: number): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
}

export function Chart(props: Props) {
  const { data, names, styles, dark, local, dots, label } = props;
  const box = useRef<HTMLDivElement | null>(null);
  const plot = useRef<uPlot | null>(null);
  const zoomed = useRef(false);
  const hover = useRef(props.onHover);
  const zoom = useRef(props.onZoom);
  hover.current = props.onHover;
  zoom.current = props.onZoom;
  const shape = JSON.stringify([names, styles, dark, local, dots]);

  useEffect(() => {
    const element = box.current!;
    const setZoom = (on: boolean) => {
      zoomed.current = on;
      zoom.current?.(on);
    };
    const made = new uPlot(options(props, element.clientWidth, {
      hover: (index) => hover.current?.(index), zoom: setZoom,
    }), data as uPlot.AlignedData, element);
    plot.current = made;
    setZoom(false);
    const reset = () => setZoom(false);
    made.over.addEventListener("dblclick", reset);
    const observer = new ResizeObserver(() => {
      if (element.clientWidth !== made.width) {
        made.setSize({ width: element.clientWidth, height: HEIGHT_PX });
      }
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    // A chosen range stays where it is; else the axes follow the data.
    plot.current?.setData(data as uPlot.AlignedData, !zoomed.current);
    if (zoomed.current) plot.current?.redraw();
  }, [data]);

  return <div class="chart" ref={box} role="img" aria-label={label}
    style={{ height: `${HEIGHT_PX}px` }} data-points={data[0]?.length ?? 0} />;
}
