// Small parts that every page uses.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ApiError } from "../api";
import { placeOf, type Snippet } from "../sql";

const PATHS: Record<string, string> = {
  ok: "M3.5 8.500l3 3 6-7",
  busy: "M8 3a5 5 0 1 1-4.700 3.300M3 3v3.500h3.500",
  bad: "M4 4l8 8M12 4l-8 8",
  idle: "M5.500 4v8M10.500 4v8",
  warn: "M8 3v6M8 12.200v.300",
  table: "M2.500 3.500h11v9h-11zM2.500 6.500h11M6.500 6.500v6",
  view: "M2.500 12l3.500-4 3 2.500 4.500-6",
  raw: "M3 4h10M3 8h10M3 12h6",
  overview: "M2.500 2.500H7V7H2.500zM9 2.500h4.500V7H9zM2.500 9H7v4.500H2.500zM9 9h4.500v4.500H9z",
  pipeline: "M2 5.500h3.500v5H2zM10.500 2.500H14v4h-3.500zM10.500 9.500H14v4h-3.500zM5.500 8H8"
    + "M8 4.500v7M8 4.500h2.500M8 11.500h2.500",
  sql: "M3 4.500l3.500 3.500-3.500 3.500M8 12h5",
  dead: "M8 2l6.500 11.500h-13zM8 6.500v3.500M8 11.700v.300",
  copy: "M5.500 5.500h7.500v8h-7.500zM3 10.500v-8h7.500",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}

export type Tone = "ok" | "busy" | "bad" | "idle" | "warn";

/** A state as colour, shape and word together. */
export function Status({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`status ${tone}`}><Icon name={tone} />{children}</span>;
}

export function Stat(props: { label: string; children: ComponentChildren; title?: string }) {
  return (
    <div class="stat" title={props.title}>
      <dt>{props.label}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

export function Panel(props: {
  title: string; aside?: ComponentChildren; children: ComponentChildren; class?: string;
}) {
  return (
    <section class={`panel ${props.class ?? ""}`}>
      <header>
        <h2>{props.title}</h2>
        {props.aside ? <div class="aside">{props.aside}</div> : null}
      </header>
      {props.children}
    </section>
  );
}

/** An error in place: what, where (with the statement's line), and what to do. */
export function ErrorBox({ error, sql }: { error: ApiError; sql?: string }) {
  const place = sql !== undefined && error.position ? placeOf(sql, error.position) : null;
  return (
    <div class="error-box" role="alert">
      <p><Icon name="bad" /> <strong>{error.message}</strong></p>
      {place ? (
        <pre class="place">
          <span class="muted">line {place.line}: </span>{place.text}{"\n"}
          {" ".repeat(`line ${place.line}: `.length + place.column - 1)}
          <span class="caret">^</span>
        </pre>
      ) : null}
      {error.hint ? <p class="hint">{error.hint}</p> : null}
      {error.sqlstate ? <p class="muted small">SQLSTATE {error.sqlstate}</p> : null}
    </div>
  );
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Text to paste elsewhere, with a button that copies it. */
export function Code({ text, label }: { text: string; label?: string }) {
  const [copied, setCopied] = useState("");
  const copy = async () => {
    setCopied((await copyText(text)) ? "Copied" : "Select and copy by hand");
    setTimeout(() => setCopied(""), 1500);
  };
  return (
    <div class="code">
      {label ? <span class="code-label">{label}</span> : null}
      <pre tabIndex={0}>{text}</pre>
      <button type="button" class="quiet" onClick={() => void copy()}
        aria-label={`Copy ${label ?? "the text"}`}>
        <Icon name="copy" /><span aria-live="polite">{copied}</span>
      </button>
    </div>
  );
}

export function Snippets({ list }: { list: Snippet[] }) {
  return <div class="snippets">{list.map(({ tool, text }) =>
    <Code key={tool} label={tool} text={text} />)}</div>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><h3>{title}</h3>{children}</div>;
}

/** A rate's last two minutes. The line's scale starts at zero. */
export function Sparkline({ values, label }: { values: number[]; label: string }) {
  const width = 120;
  const height = 28;
  const top = Math.max(...values, 1e-9);
  const step = width / 119;
  const from = width - (values.length - 1) * step;
  const points = values.map((value, i) =>
    `${(from + i * step).toFixed(1)} ${(height - 2 - (value / top) * (height - 4)).toFixed(1)}`);
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img"
      aria-label={label}>
      {line ? <path class="fill" d={`${line}L${width} ${height}L${from.toFixed(1)} ${height}Z`} />
        : null}
      <path class="base" d={`M0 ${height - 1}H${width}`} />
      {line ? <path class="line" d={line} /> : null}
    </svg>
  );
}
