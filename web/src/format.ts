// Values as people read them.

const SI = ["", "k", "M", "G", "T"];

/** 0.123, 12.3, 1,234, 12.3k, 4.56M: at most about five characters. */
export function compact(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size < 1000) return trimmed(value, size >= 100 ? 0 : size >= 10 ? 1 : 2);
  let unit = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 999.5 && unit < SI.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const places = Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return trimmed(scaled, places) + SI[unit];
}

function trimmed(value: number, places: number): string {
  const text = value.toFixed(places);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const count = (value: number): string =>
  Number.isFinite(value) ? grouped.format(value) : "–";

export const rate = (value: number | null): string =>
  value === null ? "–" : `${value > 0 && value < 10 ? compact(value) : compact(Math.round(value))}`;

export function bytes(value: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  let scaled = value;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${trimmed(scaled, unit === 0 || scaled >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** 850 ms, 12 s, 4 min 5 s, 3 h 2 min, 12 d 4 h, 11 y. */
export function duration(ms: number): string {
  const sign = ms < 0 ? "−" : "";
  const s = Math.abs(ms) / 1000;
  if (s < 1) return `${sign}${Math.round(s * 1000)} ms`;
  if (s < 60) return `${sign}${s < 10 ? trimmed(s, 1) : Math.floor(s)} s`;
  const parts: [number, string][] = [[365.25 * 86400, "y"], [86400, "d"], [3600, "h"], [60, "min"],
    [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  const [size, unit] = parts[first]!;
  const whole = Math.floor(s / size);
  const next = parts[first + 1];
  const rest = next && unit !== "y" ? Math.floor((s - whole * size) / next[0]) : 0;
  return `${sign}${whole} ${unit}${rest > 0 ? ` ${rest} ${next![1]}` : ""}`;
}

const TIMES_MAX = 20_000;
const times = new Map<string, number>();

/** Milliseconds since 1970 of the API's timestamps and dates (NaN when it is neither). Sorting and
 * charts ask for the same few thousand again and again, so they are remembered. */
export function timeOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return NaN;
  let time = times.get(value);
  if (time === undefined) {
    if (times.size >= TIMES_MAX) times.clear();
    times.set(value, (time = parseTime(value)));
  }
  return time;
}

function parseTime(value: string): number {
  const iso = value.includes("T") ? value : value.replace(" ", "T");
  const zoned = /(?:Z|[+-]\d\d(?::?\d\d)?)$/.test(iso.slice(10)) ? iso : `${iso}${
    iso.length > 10 ? "Z" : ""}`;
  return Date.parse(zoned.replace(/([+-]\d\d)$/, "$1:00"));
}

const two = (value: number): string => String(value).padStart(2, "0");

/** 2013-12-02 21:15:00, in UTC or the browser's zone; fractions when there are any. */
export function timestamp(ms: number, local: boolean, fraction = true): string {
  if (!Number.isFinite(ms)) return "–";
  const shifted = new Date(local ? ms - new Date(ms).getTimezoneOffset() * 60_000 : ms);
  const iso = shifted.toISOString();
  const millis = fraction && shifted.getUTCMilliseconds() !== 0 ? iso.slice(19, 23) : "";
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}${millis}`;
}

export function clockTime(ms: number, local: boolean): string {
  const date = new Date(ms);
  return local ? `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
    : date.toISOString().slice(11, 19);
}

const CELL_CHARS_MAX = 2000;
const isTime = (type: string): boolean => /^timestamp|^timestamptz/.test(type);

const NUMERIC = /^(smallint|integer|bigint|int[248]?|real|double|float[48]?|numeric|decimal)(\W|$)/;
export const isNumeric = (type: string): boolean => NUMERIC.test(type);

export const isTemporal = (type: string): boolean => isTime(type) || type === "date";

/** One cell's text. `even` gives floats three places, so that a live column stays in line. */
export function cell(value: unknown, type: string, local: boolean, even = false): string {
  if (value === null || value === undefined) return "NULL";
  if (isTime(type)) {
    const ms = timeOf(value);
    return Number.isNaN(ms) ? String(value) : timestamp(ms, local);
  }
  if (even && typeof value === "number" && type.startsWith("double")) {
    const size = Math.abs(value);
    return size === 0 || (size >= 1e-3 && size < 1e9) ? value.toFixed(3) : value.toPrecision(4);
  }
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.length > CELL_CHARS_MAX ? `${text.slice(0, CELL_CHARS_MAX)}…` : text;
}

export const plural = (n: number, noun: string): string =>
  `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
