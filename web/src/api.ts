// The HTTP API as docs/http-api.md has it: types, and calls that fail with an ApiError.

export interface Column {
  name: string;
  type: string;
  not_null?: boolean;
}

export interface Relation {
  name: string;
  kind: "table" | "view" | "query" | "publication" | "topic" | "system";
  columns: Column[];
  sql?: string | null;
  key?: string[] | null;
  emit?: string | null;
  source?: string | null;
}

/** True for what the system says of itself; its names start with a schema of their own. */
export const isSystem = (relation: Relation): boolean =>
  relation.kind === "system" || relation.name.startsWith("sys.");

export interface Partition {
  partition: number;
  start_offset: number;
  high_watermark: number;
  end_offset: number;
  bytes: number;
  watermark: string | null;
  idle: boolean;
}

export interface Topic {
  name: string;
  kind: "table" | "view" | "raw" | "late" | "internal" | string;
  partitions: Partition[];
}

export interface PipelineNode {
  id: string;
  kind: string;
  label: string;
  rows: number;
  watermark?: string | null;
  partitions?: number;
  lag?: number;
  detail?: string;
  groups?: number;
  state_bytes?: number;
  late_rows?: number;
  dead_letters?: number;
  status?: string;
  error?: string | null;
}

export interface Pipeline {
  epoch: number;
  time: string;
  uptime_s: number;
  /** False while views are rebuilt after a start. */
  ready?: boolean;
  nodes: PipelineNode[];
  edges: { from: string; to: string }[];
  listeners?: { http?: string; kafka?: string; pg?: string };
}

export interface QueryResult {
  columns: Column[];
  rows: unknown[][];
  tag: string;
}

export type RowObject = Record<string, unknown>;

/** What the server says of an error, or `status` 0 when it says nothing at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint?: string | undefined,
    readonly code?: string | undefined,
    readonly sqlstate?: string | undefined,
    readonly position?: number | undefined,
    readonly line?: number | undefined,
    readonly column?: number | undefined,
  ) {
    super(message);
  }

  /** True when the server is away or not ready, so that trying again may help. */
  get retriable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const RESPONSE_BYTES_MAX = 64 << 20;
const CALL_MS_MAX = 10_000;
const QUERY_MS_MAX = 300_000;

/** JSON.parse that keeps integers beyond 2^53 exact, as text, where the browser can tell. */
export function parseJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const revive = (_key: string, value: unknown, context?: { source?: string }): unknown => {
    const exact = typeof value !== "number" || !Number.isInteger(value)
      || Number.isSafeInteger(value);
    return exact ? value : (context?.source ?? value);
  };
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

async function boundedText(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.length;
    if (bytes > RESPONSE_BYTES_MAX) {
      void reader.cancel();
      throw new ApiError(200, `The result is larger than ${RESPONSE_BYTES_MAX >> 20} MB.`,
        "Add a LIMIT, or aggregate in the query.");
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
  parts.push(decoder.decode());
  return parts.join("");
}

interface ErrorBody {
  code?: string;
  sqlstate?: string;
  message: string;
  hint?: string;
  line?: number;
  column?: number;
  position?: number;
}

/** The error that a response with a status other than 2xx stands for. */
export function errorOf(status: number, body: string): ApiError {
  try {
    const { error } = JSON.parse(body) as { error: ErrorBody };
    return new ApiError(status, error.message, error.hint, error.code, error.sqlstate,
      error.position, error.line, error.column);
  } catch {
    const text = body.trim().slice(0, 500);
    return new ApiError(status, text || `The server answered with status ${status}.`);
  }
}

export const unreachable = (): ApiError => new ApiError(0, "Tidemill does not answer.",
  "Is tidemill serve (or make demo) still running?");

async function call(path: string, options: RequestInit, msMax: number,
                    outer?: AbortSignal): Promise<unknown> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), msMax);
  const forward = () => abort.abort();
  outer?.addEventListener("abort", forward);
  try {
    const response = await fetch(path, { ...options, signal: abort.signal, cache: "no-store" });
    const text = await boundedText(response);
    if (!response.ok) throw errorOf(response.status, text);
    const answer = text === "" ? null : parseJson(text);
    // A long answer is under way when a late error comes: it then ends with the error.
    if (answer && typeof answer === "object" && "error" in answer) throw errorOf(200, text);
    return answer;
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (outer?.aborted) throw new ApiError(-1, "Stopped.");
    if (abort.signal.aborted) {
      throw new ApiError(0, `No answer within ${msMax / 1000} seconds.`);
    }
    if (error instanceof SyntaxError) {
      throw new ApiError(200, `The answer of ${path} is not JSON: ${error.message}`);
    }
    throw unreachable();
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", forward);
  }
}

const get = (path: string, signal?: AbortSignal) => call(path, {}, CALL_MS_MAX, signal);

export const getPipeline = async () => (await get("/v1/pipeline")) as Pipeline;
export const getTopics = async () =>
  ((await get("/v1/topics")) as { topics: Topic[] }).topics;
export const getCatalog = async () =>
  ((await get("/v1/catalog")) as { relations: Relation[] }).relations;

/** Runs one statement. */
export async function runSql(sql: string, signal?: AbortSignal): Promise<QueryResult> {
  const body = JSON.stringify({ sql });
  const headers = { "Content-Type": "application/json" };
  const result = await call("/v1/query", { method: "POST", headers, body }, QUERY_MS_MAX, signal);
  const { columns, rows, tag } = (result ?? {}) as Partial<QueryResult>;
  return { columns: columns ?? [], rows: rows ?? [], tag: tag ?? "" };
}

/** Rows of a view, at most `limit`, ordered by `order` ("column" or "-column"). */
export async function viewRows(name: string, limit: number, order: string | null,
                               signal?: AbortSignal): Promise<RowObject[]> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (order) query.set("order", order);
  return (await get(`/v1/views/${encodeURIComponent(name)}?${query}`, signal)) as RowObject[];
}
