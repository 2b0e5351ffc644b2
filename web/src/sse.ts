// Push: a parser of server-sent events, and a stream of a view's changes that comes back by itself.
// `fetch` instead of EventSource, because EventSource hides the server's error and its own retries.
import { ApiError, errorOf, parseJson, unreachable, type RowObject } from "./api";

export interface SseEvent {
  event: string;
  data: string;
}

const EVENT_CHARS_MAX = 8 << 20;

/** Bytes of a stream, cut anywhere, to events. */
export class SseParser {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private chars = 0;

  push(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") this.dispatch(events);
      else this.field(line);
    }
    if (this.rest.length + this.chars > EVENT_CHARS_MAX) {
      throw new ApiError(200, "An event of the stream is too large.");
    }
    return events;
  }

  private dispatch(events: SseEvent[]): void {
    if (this.data.length > 0) {
      events.push({ event: this.event || "message", data: this.data.join("\n") });
    }
    this.event = "";
    this.data = [];
    this.chars = 0;
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    if (name === "data") {
      this.data.push(value);
      this.chars += value.length;
    }
  }
}

export interface ChangeHandlers {
  /** The stream is open: every change from now on will arrive. Runs again after each reconnect. */
  opened(): void;
  change(weight: number, row: RowObject): void;
  snapshotEnd(): void;
  /** The stream is down; the next try is in `ms`. */
  down(error: ApiError, ms: number): void;
}

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5_000;
const HIDDEN_MS_MAX = 10_000;

/** Reads one connection's events until it ends. */
async function readChanges(path: string, on: ChangeHandlers, signal: AbortSignal): Promise<void> {
  const headers = { Accept: "text/event-stream" };
  const response = await fetch(path, { headers, signal, cache: "no-store" });
  if (!response.ok || !response.body) throw errorOf(response.status, await response.text());
  on.opened();
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new ApiError(0, "The server ended the stream.");
    for (const { event, data } of parser.push(decoder.decode(value, { stream: true }))) {
      if (event === "row") {
        const { weight, row } = parseJson(data) as { weight: number; row: RowObject };
        on.change(weight, row);
      } else if (event === "snapshot_end") {
        on.snapshotEnd();
      } else if (event === "error") {
        throw errorOf(200, data);
      }
    }
  }
}

/** Follows a view's (or table's) changes until the returned function is called. A browser allows
 * few connections per host, so a tab that nobody sees gives its own back. */
export function followChanges(name: string, snapshot: boolean, on: ChangeHandlers): () => void {
  const path = `/v1/views/${encodeURIComponent(name)}/changes?snapshot=${snapshot}`;
  let abort = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let delay = RETRY_MS_MIN;
  let stopped = false;
  let running = false;
  const opened = () => {
    delay = RETRY_MS_MIN;
    on.opened();
  };

  const run = async (): Promise<void> => {
    if (running || stopped || document.hidden) return;
    running = true;
    abort = new AbortController();
    let failure: ApiError | null = null;
    try {
      await readChanges(path, { ...on, opened }, abort.signal);
    } catch (error) {
      if (!abort.signal.aborted) failure = error instanceof ApiError ? error : unreachable();
    }
    abort.abort();
    running = false;
    if (stopped) return;
    if (failure) {
      on.down(failure, delay);
      timer = setTimeout(() => void run(), delay);
      delay = Math.min(delay * 2, RETRY_MS_MAX);
    } else {
      void run();
    }
  };
  const seen = () => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => abort.abort(), HIDDEN_MS_MAX);
    } else {
      void run();
    }
  };
  document.addEventListener("visibilitychange", seen);
  void run();
  return () => {
    stopped = true;
    document.removeEventListener("visibilitychange", seen);
    clearTimeout(timer);
    clearTimeout(hiding);
    abort.abort();
  };
}
