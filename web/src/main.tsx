// The frame of every page: header, navigation, state of the connection.
import { render, type ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { isSystem, type Relation } from "./api";
import { clockTime, count, duration, rate, timeOf, timestamp } from "./format";
import { counter, live, pollNow, startPolling, type Live } from "./live";
import { DeadPage } from "./pages/dead";
import { OverviewPage } from "./pages/overview";
import { PipelinePage } from "./pages/pipeline";
import { SqlPage } from "./pages/sql";
import { TablePage } from "./pages/table";
import { ViewPage } from "./pages/view";
import { link, route, startRouting, type Route } from "./router";
import { useLocal, useStore, zone } from "./store";
import { Empty, Icon, Stat, Status } from "./ui/parts";

const REPLAY_BEHIND_MS = 86_400_000;

const PAGES = [
  { page: "overview", title: "Overview", icon: "overview" },
  { page: "pipeline", title: "Pipeline", icon: "pipeline" },
  { page: "sql", title: "SQL", icon: "sql" },
  { page: "dead", title: "Dead letters", icon: "dead" },
];

function EventTime({ state, local }: { state: Live; local: boolean }) {
  const { eventTime, eventSpeed, pipeline } = state;
  const behind = timeOf(pipeline?.time) - eventTime;
  const replaying = behind > REPLAY_BEHIND_MS && eventSpeed !== null && eventSpeed > 1.5;
  const note = Number.isNaN(behind) ? "" : replaying ? `replay, ${count(eventSpeed)}× speed`
    : behind > 0 ? `${duration(behind)} ago` : `${duration(-behind)} ahead`;
  return (
    <Stat label="event time" title="The newest watermark of any table">
      {timestamp(eventTime, local, false)} <span class="muted small">{note}</span>
    </Stat>
  );
}

function Connection({ state }: { state: Live }) {
  if (state.link.state === "connecting") return <Status tone="busy">connecting</Status>;
  if (state.link.state === "up" && state.pipeline?.ready === false) {
    return <Status tone="busy">recovering</Status>;
  }
  if (state.link.state === "up") return <Status tone="ok">connected</Status>;
  return <Status tone="bad">disconnected</Status>;
}

function Header() {
  const state = useStore(live);
  const local = useLocal();
  const { pipeline } = state;
  return (
    <header class="top">
      <a class="brand" href={link("overview")}><img src="/icon.svg" alt="" width="24" height="24" />
        Tidemill</a>
      <dl class="stats">
        <Stat label="in">{rate(counter("in").rate())} rows/s</Stat>
        <EventTime state={state} local={local} />
        <Stat label="wall time">
          {pipeline ? clockTime(timeOf(pipeline.time), local) : "–"}
        </Stat>
        <Stat label="epoch">{pipeline ? count(pipeline.epoch) : "–"}</Stat>
        <Stat label="up">{pipeline ? duration(Math.floor(pipeline.uptime_s) * 1000) : "–"}</Stat>
      </dl>
      <div class="top-end">
        <span aria-live="polite"><Connection state={state} /></span>
        <button type="button" class="quiet" aria-pressed={local}
          title="How times are shown" onClick={() => zone.set(local ? "utc" : "local")}>
          {local ? "Local time" : "UTC"}
        </button>
      </div>
    </header>
  );
}

/** Shown over the page while the server is away; what was there stays readable below. */
function Away() {
  const { link: connection } = useStore(live);
  const [, tick] = useState(0);
  const down = connection.state === "down";
  useEffect(() => {
    if (!down) return;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [down]);
  if (!down) return null;
  const wait = Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000));
  return (
    <div class="away" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{connection.error?.message}</strong> {connection.error?.hint}
        {" "}What you see is from {duration(Math.max(1000, Date.now() - connection.since))} ago.
        {" "}{wait > 0 ? `Trying again in ${wait} s.` : "Trying again…"}
      </div>
      <button type="button" onClick={() => void pollNow()}>Try now</button>
    </div>
  );
}

function NavLink(props: {
  to: string; active: boolean; icon: string; children: ComponentChildren;
}) {
  return (
    <li>
      <a href={props.to} aria-current={props.active ? "page" : undefined}>
        <Icon name={props.icon} /><span>{props.children}</span>
      </a>
    </li>
  );
}

function Navigation({ at }: { at: Route }) {
  const { relations } = useStore(live);
  const group = (title: string, page: string, icon: string,
                 belongs: (one: Relation) => boolean) => {
    const members = (relations ?? []).filter(belongs);
    if (members.length === 0) return null;
    return (
      <>
        <h2>{title}</h2>
        <ul>
          {members.map(({ name }) => (
            <NavLink key={name} to={link(page, name)} icon={icon}
              active={at.page === page && at.name === name}>{name}</NavLink>
          ))}
        </ul>
      </>
    );
  };
  return (
    <nav aria-label="Pages">
      <ul>
        {PAGES.map(({ page, title, icon }) => (
          <NavLink key={page} to={link(page)} icon={icon} active={at.page === page}>
            {title}
          </NavLink>
        ))}
      </ul>
      {group("Views", "view", "view", (one) => one.kind === "view")}
      {group("Tables", "table", "table", (one) => one.kind === "table" && !isSystem(one))}
      {group("Topics", "table", "raw", (one) => one.kind === "topic" && !isSystem(one))}
      {group("System", "table", "table", isSystem)}
    </nav>
  );
}

function RelationPage({ at, relations }: { at: Route; relations: Relation[] }) {
  const relation = relations.find((other) => other.name === at.name);
  if (!relation) {
    return (
      <Empty title={`There is no ${at.page} "${at.name}"`}>
        <p>It may have been dropped. <a href={link("overview")}>See what there is.</a></p>
      </Empty>
    );
  }
  return relation.kind === "view" ? <ViewPage key={relation.name} relation={relation} />
    : <TablePage key={relation.name} relation={relation} />;
}

function Page({ at }: { at: Route }) {
  const { relations, pipeline } = useStore(live);
  if (!relations || !pipeline) return <p class="muted loading">Connecting to the server…</p>;
  if (at.page === "overview") return <OverviewPage />;
  if (at.page === "pipeline") return <PipelinePage />;
  if (at.page === "sql") return <SqlPage />;
  if (at.page === "dead") return <DeadPage />;
  if (at.page === "view" || at.page === "table") {
    return <RelationPage at={at} relations={relations} />;
  }
  return (
    <Empty title="There is no such page"><p><a href={link("overview")}>Overview</a></p></Empty>
  );
}

function App() {
  const at = useStore(route);
  const title = at.name || PAGES.find(({ page }) => page === at.page)?.title || "Tidemill";
  useEffect(() => {
    document.title = `${title} – Tidemill`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById("main")?.focus();
      }}>Skip to the page</a>
      <Header />
      <div class="frame">
        <Navigation at={at} />
        <main id="main" tabIndex={-1}>
          <h1>{title}</h1>
          <Page at={at} />
        </main>
      </div>
      <Away />
    </>
  );
}

startRouting();
startPolling();
render(<App />, document.getElementById("app")!);
