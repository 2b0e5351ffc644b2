// What the whole page knows of the server: polled, with rates from differences, and the state of
// the connection.
import {
  ApiError, getCatalog, getPipeline, getTopics, unreachable,
  type Pipeline, type Relation, type Topic,
} from "./api";
import { timeOf } from "./format";
import { Store } from "./store";

const POLL_MS = 1000;
const POLL_HIDDEN_MS = 5000;
const CATALOG_MS = 5000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5000;
const SAMPLES_MAX = 120;
const RATE_SPAN_S = 3;
const SPEED_SPAN_S = 10;

/** The last two minutes of one growing counter. */
export class Counter {
  readonly at: number[] = [];
  readonly total: number[] = [];

  add(at: number, total: number): void {
    const last = this.at.length - 1;
    if (last >= 0 && at <= this.at[last]!) return;
    if (last >= 0 && total < this.total[last]!) {
      this.at.length = 0;
      this.total.length = 0;
    }
    this.at.push(at);
    this.total.push(total);
    if (this.at.length > SAMPLES_MAX) {
      this.at.shift();
      this.total.shift();
    }
  }

  /** Per second over the last few seconds; null before there are two samples. */
  rate(spanS = RATE_SPAN_S): number | null {
    const last = this.at.length - 1;
    if (last < 1) return null;
    let first = last - 1;
    while (first > 0 && this.at[last]! - this.at[first]! < spanS) first--;
    return (this.total[last]! - this.total[first]!) / (this.at[last]! - this.at[first]!);
  }

  /** Per second between neighbouring samples, oldest first. */
  rates(): number[] {
    const rates: number[] = [];
    for (let i = 1; i < this.at.length; i++) {
      rates.push((this.total[i]! - this.total[i - 1]!) / (this.at[i]! - this.at[i - 1]!));
    }
    return rates;
  }
}

export interface Link {
  state: "connecting" | "up" | "down";
  error: ApiError | null;
  since: number;
  retryAt: number;
}

export interface Live {
  link: Link;
  pipeline: Pipeline | null;
  topics: Topic[] | null;
  relations: Relation[] | null;
  /** Newest watermark of any source, milliseconds since 1970; NaN before there is one. */
  eventTime: number;
  /** Event time seconds per wall second, null when unknown. */
  eventSpeed: number | null;
}

const start: Live = {
  link: { state: "connecting", error: null, since: Date.now(), retryAt: 0 },
  pipeline: null, topics: null, relations: null, eventTime: NaN, eventSpeed: null,
};

export const live = new Store<Live>(start);

const counters = new Map<string, Counter>();
const eventTimes = new Counter();
let uptimeSeen = 0;
let catalogAt = 0;
let topicNames = "";
let catalogText = "";
let timer: ReturnType<typeof setTimeout> | undefined;
let polling = false;
let retryMs = RETRY_MS_MIN;

export function counter(id: string): Counter {
  return counters.get(id) ?? new Counter();
}

function sample(id: string, at: number, total: number): void {
  let found = counters.get(id);
  if (!found) counters.set(id, (found = new Counter()));
  found.add(at, total);
}

/** Rows that ever came into a topic: its offsets count them. */
export const topicRows = (topic: Topic): number =>
  topic.partitions.reduce((sum, part) => sum + part.high_watermark, 0);

export const topicBytes = (topic: Topic): number =>
  topic.partitions.reduce((sum, part) => sum + part.bytes, 0);

/** The least watermark of the partitions that are not idle, as the engine decides it. */
export function topicWatermark(topic: Topic): number {
  const active = topic.partitions.filter((part) => !part.idle);
  const times = (active.length > 0 ? active : topic.partitions)
    .map((part) => timeOf(part.watermark));
  const least = Math.min(...times);
  return times.some(Number.isNaN) ? NaN : least;
}

function newestEventTime(pipeline: Pipeline, topics: Topic[]): number {
  const times = pipeline.nodes.map((node) => timeOf(node.watermark));
  for (const topic of topics) {
    if (topic.kind === "table") {
      times.push(...topic.partitions.map((part) => timeOf(part.watermark)));
    }
  }
  const known = times.filter((time) => !Number.isNaN(time));
  return known.length > 0 ? Math.max(...known) : NaN;
}

function take(pipeline: Pipeline, topics: Topic[]): void {
  const at = pipeline.uptime_s;
  if (at < uptimeSeen) {
    counters.clear();
    eventTimes.at.length = eventTimes.total.length = 0;
  }
  uptimeSeen = at;
  for (const node of pipeline.nodes) sample(`node/${node.id}`, at, node.rows);
  let rowsIn = 0;
  for (const topic of topics) {
    const rows = topicRows(topic);
    if (topic.kind === "table" || topic.kind === "raw") rowsIn += rows;
    sample(`topic/${topic.name}`, at, rows);
  }
  sample("in", at, rowsIn);
  for (const id of counters.keys()) {
    if (counters.get(id)!.at.at(-1) !== at) counters.delete(id);
  }
  const eventTime = newestEventTime(pipeline, topics);
  if (!Number.isNaN(eventTime)) eventTimes.add(at, eventTime);
  const speed = eventTimes.rate(SPEED_SPAN_S);
  live.update({
    pipeline, topics, eventTime, eventSpeed: speed === null ? null : speed / 1000,
    link: { state: "up", error: null, since: 0, retryAt: 0 },
  });
}

async function poll(): Promise<number> {
  try {
    const [pipeline, topics] = await Promise.all([getPipeline(), getTopics()]);
    const names = topics.map((topic) => topic.name).join("\n");
    if (names !== topicNames || Date.now() - catalogAt > CATALOG_MS || !live.value.relations) {
      topicNames = names;
      const relations = await getCatalog();
      catalogAt = Date.now();
      // The same content stays the same object, so that pages need not start over.
      const text = JSON.stringify(relations);
      if (text !== catalogText) live.update({ relations });
      catalogText = text;
    }
    take(pipeline, topics);
    retryMs = RETRY_MS_MIN;
    return document.hidden ? POLL_HIDDEN_MS : POLL_MS;
  } catch (caught) {
    const error = caught instanceof ApiError ? caught : unreachable();
    const wait = retryMs;
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    const { link } = live.value;
    const since = link.state === "down" ? link.since : Date.now();
    live.update({ link: { state: "down", error, since, retryAt: Date.now() + wait } });
    return wait;
  }
}

/** Polls now; also what "retry now" does. Polling goes on for as long as the page lives. */
export async function pollNow(): Promise<void> {
  if (polling) return;
  polling = true;
  clearTimeout(timer);
  const wait = await poll();
  polling = false;
  timer = setTimeout(() => void pollNow(), wait);
}

/** After a statement that may have changed the catalog. */
export function refreshCatalog(): void {
  catalogAt = 0;
  void pollNow();
}

export function startPolling(): void {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void pollNow();
  });
  void pollNow();
}
