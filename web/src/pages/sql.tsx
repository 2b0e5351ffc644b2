// SQL: an editor, what it answers, and what was run before.
import { useRef, useState } from "preact/hooks";
import {
  ApiError, isSystem, runSql, unreachable, type QueryResult, type Relation,
} from "../api";
import { plural } from "../format";
import { live, refreshCatalog } from "../live";
import { placeOf, quoteName, relationName } from "../sql";
import { remembered, useStore } from "../store";
import { FIRST_TABLE, FIRST_VIEW } from "../ui/create-first";
import { DataTable } from "../ui/data-table";
import { ErrorBox, Icon, Panel } from "../ui/parts";
import { resultRows } from "./table";

const HISTORY_MAX = 50;
const HISTORY_CHARS_MAX = 10_000;
const SHOWN_ROWS_MAX = 10_000;

const draft = remembered("tidemill.draft", "");
const past = remembered("tidemill.history", "[]");

function history(): string[] {
  try {
    const list: unknown = JSON.parse(past.value);
    return Array.isArray(list) ? list.filter((entry) => typeof entry === "string") : [];
  } catch {
    return [];
  }
}

function remember(sql: string): void {
  if (sql.length > HISTORY_CHARS_MAX) return;
  const list = [sql, ...history().filter((entry) => entry !== sql)].slice(0, HISTORY_MAX);
  past.set(JSON.stringify(list));
}

interface Answer {
  sql: string;
  result: QueryResult | null;
  error: ApiError | null;
  ms: number;
  version: number;
}

const noAnswer: Answer = { sql: "", result: null, error: null, ms: 0, version: 0 };

function Result({ answer }: { answer: Answer }) {
  const { result, error, sql, ms } = answer;
  if (error) return <ErrorBox error={error} sql={sql} />;
  if (!result) return null;
  const cut = result.rows.length > SHOWN_ROWS_MAX;
  const rows = cut ? { ...result, rows: result.rows.slice(0, SHOWN_ROWS_MAX) } : result;
  return (
    <Panel title="Result" aside={<span class="muted small" role="status">
      {result.tag || plural(result.rows.length, "row")}
      {" · "}{ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms
    </span>}>
      {result.columns.length > 0 ? (
        <DataTable key={answer.version} columns={result.columns} rows={resultRows(rows)}
          version={answer.version} label="result"
          note={cut ? `the first ${SHOWN_ROWS_MAX} are shown; add a LIMIT` : ""} />
      ) : <p><Icon name="ok" /> {result.tag || "Done"}</p>}
    </Panel>
  );
}

function Names({ relations, insert }: { relations: Relation[]; insert: (text: string) => void }) {
  return (
    <Panel title="Names" class="names">
      {relations.length === 0 ? <p class="muted">No tables yet.</p> : null}
      {relations.map((relation) => (
        <details key={relation.name}>
          <summary>
            <Icon name={relation.kind === "view" ? "view" : "table"} />
            {relation.name}
          </summary>
          <div class="name-list">
            <button type="button" class="quiet" onClick={() => insert(relationName(relation))}>
              {relation.name} <span class="muted">{relation.kind}</span>
            </button>
            {relation.columns.map((column) => (
              <button type="button" class="quiet" key={column.name}
                onClick={() => insert(quoteName(column.name))}>
                {column.name} <span class="muted">{column.type}</span>
              </button>
            ))}
          </div>
        </details>
      ))}
    </Panel>
  );
}

function examples(relations: Relation[]): { title: string; sql: string }[] {
  const view = relations.find((relation) => relation.kind === "view");
  const table = relations.find((relation) => relation.kind === "table" && !isSystem(relation));
  const list = [];
  if (view) {
    list.push({ title: "Read a view", sql: `SELECT * FROM ${relationName(view)} LIMIT 100;` });
  }
  if (table) {
    list.push({ title: "Count a table", sql: `SELECT count(*) FROM ${relationName(table)};` });
  }
  list.push({ title: "Make a table", sql: FIRST_TABLE }, { title: "Make a view", sql: FIRST_VIEW });
  return list;
}

function Shelf({ relations, take }: { relations: Relation[]; take: (sql: string) => void }) {
  const list = history();
  return (
    <div class="shelf">
      <div class="chips" role="group" aria-label="Examples">
        <span class="muted small">Examples</span>
        {examples(relations).map(({ title, sql }) => (
          <button type="button" key={title} onClick={() => take(sql)}>{title}</button>
        ))}
      </div>
      {list.length > 0 ? (
        <details>
          <summary>History ({list.length})</summary>
          <ol class="history">
            {list.map((sql) => (
              <li key={sql}>
                <button type="button" class="quiet" onClick={() => take(sql)}>{sql}</button>
              </li>
            ))}
          </ol>
          <button type="button" class="quiet" onClick={() => past.set("[]")}>Forget all</button>
        </details>
      ) : null}
    </div>
  );
}

export function SqlPage() {
  const { relations } = useStore(live);
  const text = useStore(draft);
  useStore(past);
  const editor = useRef<HTMLTextAreaElement | null>(null);
  const running = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState<Answer>(noAnswer);

  const run = async (prefix: string) => {
    const area = editor.current;
    if (!area || running.current) return;
    const { selectionStart: from, selectionEnd: to } = area;
    const offset = to > from ? from : 0;
    const chosen = to > from ? text.slice(from, to) : text;
    if (chosen.trim() === "") return;
    const sql = prefix + chosen;
    running.current = new AbortController();
    setBusy(true);
    const begin = performance.now();
    const done = (result: QueryResult | null, error: ApiError | null) => setAnswer((last) => ({
      sql, result, error, ms: performance.now() - begin, version: last.version + 1,
    }));
    try {
      const result = await runSql(sql, running.current.signal);
      remember(chosen);
      done(result, null);
      if (!/^\s*(select|explain|with|show)\b/i.test(sql)) refreshCatalog();
    } catch (caught) {
      const error = caught instanceof ApiError ? caught : unreachable();
      done(null, error);
      if (error.position) {
        const at = offset + placeOf(sql, error.position).index - prefix.length;
        area.focus();
        area.setSelectionRange(Math.max(at, 0), Math.max(at, 0));
      }
    }
    running.current = null;
    setBusy(false);
  };
  const take = (sql: string) => {
    draft.set(sql);
    editor.current?.focus();
  };
  const insert = (name: string) => {
    const area = editor.current;
    if (!area) return;
    const { selectionStart: from, selectionEnd: to } = area;
    draft.set(text.slice(0, from) + name + text.slice(to));
    area.focus();
    requestAnimationFrame(() => area.setSelectionRange(from + name.length, from + name.length));
  };
  const keyed = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void run("");
  };
  const known = (relations ?? []).filter((relation) => relation.kind !== "topic");
  return (
    <div class="sql-page">
      <div>
        <Panel title="Statement" aside={<span class="muted small">
          Ctrl+Enter runs it, or what is selected</span>}>
          <textarea ref={editor} class="editor" spellcheck={false} autocomplete="off"
            autocapitalize="off" aria-label="SQL statement" rows={8} value={text}
            placeholder="SELECT * FROM …" onKeyDown={keyed}
            onInput={(event) => draft.set(event.currentTarget.value)} />
          <div class="actions">
            <button type="button" class="primary" disabled={busy} onClick={() => void run("")}>
              Run
            </button>
            <button type="button" disabled={busy} onClick={() => void run("EXPLAIN ")}>
              EXPLAIN
            </button>
            {busy ? (
              <button type="button" onClick={() => running.current?.abort()}>Stop</button>
            ) : null}
          </div>
          <Shelf relations={known} take={take} />
        </Panel>
        <Result answer={answer} />
      </div>
      <Names relations={known} insert={insert} />
    </div>
  );
}
