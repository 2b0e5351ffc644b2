// Everything at a glance: a card for each view, table and topic.
import type { PipelineNode, Relation, Topic } from "../api";
import { bytes, count, duration, plural, rate, timeOf, timestamp } from "../format";
import { counter, live, topicBytes, topicRows, topicWatermark } from "../live";
import { link } from "../router";
import { rolesOf } from "../series";
import { useLocal, useStore } from "../store";
import { CreateFirst } from "../ui/create-first";
import { nodeStatus } from "../ui/node-status";
import { Empty, Icon, Sparkline, Stat, Status } from "../ui/parts";
import { Preview } from "../ui/preview";

const PREVIEWS_MAX = 6;

function Rate({ id, unit }: { id: string; unit: string }) {
  const history = counter(id);
  return (
    <div class="rate-line">
      <p class="big"><strong>{rate(history.rate())}</strong> <span class="muted">{unit}</span></p>
      <Sparkline values={history.rates()} label={`${unit} of the last two minutes`} />
    </div>
  );
}

function Watermark({ time, newest }: { time: number; newest: number }) {
  const local = useLocal();
  const late = newest - time;
  return (
    <Stat label="watermark" title="No row older than this is expected any more">
      {timestamp(time, local, false)}
      {late > 0 ? <span class="muted small"> {duration(late)} behind</span> : null}
    </Stat>
  );
}

function ViewCard(props: {
  relation: Relation; node: PipelineNode | undefined; newest: number; preview: boolean;
}) {
  const { relation, node, newest, preview } = props;
  return (
    <a class="card view" href={link("view", relation.name)}>
      <header>
        <Icon name="view" /><h3>{relation.name}</h3>
        {node ? nodeStatus(node) : null}
      </header>
      {preview ? <Preview relation={relation} /> : null}
      {node ? <Rate id={`node/${node.id}`} unit="rows/s out" /> : null}
      {node?.error ? <p class="bad small">{node.error}</p> : null}
      <dl class="stats">
        <Stat label="groups">{node?.groups === undefined ? "–" : count(node.groups)}</Stat>
        <Stat label="late rows">{node?.late_rows === undefined ? "–" : count(node.late_rows)}</Stat>
        <Watermark time={timeOf(node?.watermark)} newest={newest} />
      </dl>
    </a>
  );
}

function TopicCard(props: { topic: Topic; node: PipelineNode | undefined; newest: number }) {
  const { topic, node, newest } = props;
  const idle = topic.partitions.length > 0 && topic.partitions.every((part) => part.idle);
  return (
    <a class="card" href={link("table", topic.name)}>
      <header>
        <Icon name={topic.kind === "table" ? "table" : "raw"} /><h3>{topic.name}</h3>
        {idle ? <Status tone="idle">idle</Status> : <span class="tag">{topic.kind}</span>}
      </header>
      <Rate id={`topic/${topic.name}`} unit="rows/s in" />
      <dl class="stats">
        <Stat label="rows">{count(topicRows(topic))}</Stat>
        <Stat label="size">{bytes(topicBytes(topic))}</Stat>
        <Stat label="partitions">{count(topic.partitions.length)}</Stat>
        <Stat label="rows waiting" title="Rows in the log that no view has seen yet">
          {node?.lag === undefined ? "–" : count(node.lag)}
        </Stat>
        {node?.dead_letters ? <Stat label="dead letters">{count(node.dead_letters)}</Stat> : null}
        <Watermark time={topicWatermark(topic)} newest={newest} />
      </dl>
    </a>
  );
}

/** What has a history comes first, then what has one value a key, then mere selections. */
function rank(relation: Relation): number {
  const key = relation.key ?? [];
  if (key.length === 0) return 2;
  return rolesOf(relation.columns, key).x >= 0 ? 0 : 1;
}

export function OverviewPage() {
  const { pipeline, topics, relations, eventTime } = useStore(live);
  if (!pipeline || !topics || !relations) return null;
  const node = (id: string) => pipeline.nodes.find((other) => other.id === id);
  const views = relations.filter((relation) => relation.kind === "view")
    .sort((a, b) => rank(a) - rank(b));
  const inputs = topics.filter((topic) => topic.kind === "table" || topic.kind === "raw");
  const late = topics.filter((topic) => topic.kind === "late");
  if (views.length === 0 && inputs.length === 0) {
    return <Empty title="No tables yet"><CreateFirst /></Empty>;
  }
  return (
    <>
      <h2 class="section">Views <span class="muted">{plural(views.length, "live query")
        .replace("querys", "queries")}</span></h2>
      {views.length > 0 ? (
        <div class="cards wide">
          {views.map((relation, i) => (
            <ViewCard key={relation.name} relation={relation} newest={eventTime}
              node={node(`view:${relation.name}`)} preview={i < PREVIEWS_MAX} />
          ))}
        </div>
      ) : (
        <Empty title="No views yet">
          <p>A view is a query that is kept up to date while rows come in.
            Make one on the <a href={link("sql")}>SQL page</a>.</p>
        </Empty>
      )}
      <h2 class="section">Tables and topics</h2>
      <div class="cards">
        {[...inputs, ...late].map((topic) => (
          <TopicCard key={topic.name} topic={topic} newest={eventTime}
            node={node(`table:${topic.name}`)} />
        ))}
      </div>
    </>
  );
}
