// The running pipeline as a graph: what flows where, how fast, and how far each operator has come.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, type Pipeline, type PipelineNode, type Relation } from "../api";
import { bytes, count, duration, rate, timeOf, timestamp } from "../format";
import {
  NODE_HEIGHT, NODE_WIDTH, edgePath, edgeWidth, layoutPipeline, type Point,
} from "../graph";
import { counter, live } from "../live";
import { link } from "../router";
import { useLocal, useStore } from "../store";
import { nodeStatus, nodeTone } from "../ui/node-status";
import { Code, Empty, ErrorBox, Icon, Panel, Stat } from "../ui/parts";
import { CreateFirst } from "../ui/create-first";

const NARROW_PX = 720;
const LABEL_CHARS_MAX = 18;
const STEP_CHARS_MAX = 25;
const BEHIND_SHOWN_MS = 1000;
/** A wide graph shrinks this far; then it scrolls. */
const SCALE_MIN = 0.75;

const nodeRate = (node: PipelineNode): number | null => counter(`node/${node.id}`).rate();

const cut = (text: string, max: number): string =>
  text.length > max ? `${text.slice(0, max - 1)}…` : text;

/** What an operator does, without its kind in front: that stands above it already. */
const stepLabel = (node: PipelineNode): string =>
  node.label.toLowerCase().startsWith(`${node.kind}:`)
    ? node.label.slice(node.kind.length + 1).trim() : node.label;

/** A text on two lines, broken between words where it can be. */
export function twoLines(text: string, max: number): [string, string] {
  if (text.length <= max) return [text, ""];
  const space = text.lastIndexOf(" ", max);
  const end = space > 0 ? space : max;
  return [text.slice(0, end), cut(text.slice(end).trim(), max)];
}

function Label({ node }: { node: PipelineNode }) {
  if (node.kind === "source" || node.kind === "view") {
    return <text class="label" x="14" y="42">{cut(node.label, LABEL_CHARS_MAX)}</text>;
  }
  const [first, second] = twoLines(stepLabel(node), STEP_CHARS_MAX);
  return (
    <text class="step" x="14" y="37">
      {first}{second ? <tspan x="14" dy="15">{second}</tspan> : null}
    </text>
  );
}

/** The relation that a node belongs to: "table:sensors", "view:avg_temp", "view:avg_temp/0". */
export function relationOf(node: PipelineNode, relations: Relation[] | null): Relation | undefined {
  const name = node.id.replace(/^[a-z]+:/, "");
  const parent = name.replace(/\/\d+$/, "");
  return relations?.find((relation) => relation.name === name)
    ?? relations?.find((relation) => relation.name === parent);
}

/** How far behind the newest event time a watermark is. */
function behind(node: PipelineNode, newest: number): string {
  const watermark = timeOf(node.watermark);
  if (Number.isNaN(watermark)) return "no watermark yet";
  const ms = newest - watermark;
  return ms > 0 ? `${duration(ms)} behind` : "at the newest time";
}

function Node(props: {
  node: PipelineNode; at: Point; newest: number; local: boolean; chosen: boolean;
  choose: () => void;
}) {
  const { node, at, newest, local, chosen, choose } = props;
  const [tone, word] = nodeTone(node);
  const perSecond = nodeRate(node);
  const watermark = timeOf(node.watermark);
  const late = behind(node, newest);
  const keyed = (event: KeyboardEvent) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  };
  return (
    <g class={`node ${tone} ${node.kind} ${chosen ? "chosen" : ""}`} role="button" tabindex={0}
      transform={`translate(${at.x - NODE_WIDTH / 2} ${at.y - NODE_HEIGHT / 2})`}
      aria-pressed={chosen} onClick={choose} onKeyDown={keyed}
      aria-label={`${node.kind} ${node.label}: ${word}, ${rate(perSecond)} rows/s, ${late}`}>
      <title>{`${node.label}\n${late}`}</title>
      <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx="8" />
      <text class="kind" x="14" y="19">{node.kind}</text>
      <g transform={`translate(${NODE_WIDTH - 28} 8)`} class="tone" aria-hidden="true">
        <Icon name={tone} />
      </g>
      {tone === "ok" ? null
        : <text class="word" x={NODE_WIDTH - 34} y="19" text-anchor="end">{word}</text>}
      <Label node={node} />
      <text class="rate" x="14" y="67">{rate(perSecond)} rows/s</text>
      <text class="time" x="14" y="82">
        {Number.isNaN(watermark) ? "no watermark yet" : timestamp(watermark, local, false)}
      </text>
      {newest - watermark >= BEHIND_SHOWN_MS ? (
        <text class="time" x={NODE_WIDTH - 12} y="82" text-anchor="end">
          −{duration(newest - watermark)}
        </text>
      ) : null}
    </g>
  );
}

function Details(props: {
  node: PipelineNode; relation: Relation | undefined; newest: number; close: () => void;
}) {
  const { node, relation, newest, close } = props;
  const local = useLocal();
  const page = relation?.kind === "view" ? "view" : "table";
  const button = (
    <button type="button" class="quiet" onClick={close} aria-label="Close details">
      <Icon name="bad" />
    </button>
  );
  return (
    <Panel title={`${node.kind} ${stepLabel(node)}`} aside={button} class="details">
      {node.error ? <ErrorBox error={new ApiError(200, node.error)} /> : null}
      <dl class="stats">
        <Stat label="status">{nodeStatus(node)}</Stat>
        <Stat label="rows/s">{rate(nodeRate(node))}</Stat>
        <Stat label="rows since start">{count(node.rows)}</Stat>
        {node.lag === undefined ? null : <Stat label="rows waiting">{count(node.lag)}</Stat>}
        {node.partitions === undefined ? null
          : <Stat label="partitions">{count(node.partitions)}</Stat>}
        {node.groups === undefined ? null : <Stat label="groups">{count(node.groups)}</Stat>}
        {node.late_rows === undefined ? null
          : <Stat label="late rows">{count(node.late_rows)}</Stat>}
        {node.state_bytes === undefined ? null
          : <Stat label="state">{bytes(node.state_bytes)}</Stat>}
        <Stat label="watermark">
          {timestamp(timeOf(node.watermark), local)}
          <span class="muted small"> {behind(node, newest)}</span>
        </Stat>
      </dl>
      {node.detail ? <Code text={node.detail} label="does" /> : null}
      {relation ? (
        <>
          {relation.sql ? <Code text={relation.sql} label="SQL" /> : null}
          <p><a href={link(page, relation.name)}>Open {relation.name}</a></p>
        </>
      ) : null}
    </Panel>
  );
}

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => innerWidth < NARROW_PX);
  useEffect(() => {
    const resized = () => setNarrow(innerWidth < NARROW_PX);
    window.addEventListener("resize", resized);
    return () => window.removeEventListener("resize", resized);
  }, []);
  return narrow;
}

function Picture(props: {
  pipeline: Pipeline; newest: number; chosen: string | null; choose: (id: string) => void;
}) {
  const { pipeline, newest, chosen, choose } = props;
  const local = useLocal();
  const narrow = useNarrow();
  const shape = JSON.stringify([pipeline.nodes.map((node) => node.id), pipeline.edges, narrow]);
  const place = useMemo(() => layoutPipeline(pipeline, narrow), [shape]);
  const box = useRef<HTMLDivElement | null>(null);
  const byId = new Map(pipeline.nodes.map((node) => [node.id, node]));
  return (
    <div class="graph" ref={box} tabIndex={0} role="region" aria-label="Pipeline graph">
      <svg viewBox={`0 0 ${place.width} ${place.height}`} style={{
        width: "100%", maxWidth: `${place.width}px`, minWidth: `${place.width * SCALE_MIN}px`,
      }}>
        {place.edges.map(({ from, to, points }) => {
          const source = byId.get(from);
          return (
            <path key={`${from} ${to}`} class="edge" d={edgePath(points, narrow)}
              stroke-width={edgeWidth(source ? nodeRate(source) : null)} />
          );
        })}
        {pipeline.nodes.map((node) => {
          const at = place.nodes.get(node.id);
          return at ? (
            <Node key={node.id} node={node} at={at} newest={newest} local={local}
              chosen={chosen === node.id} choose={() => choose(node.id)} />
          ) : null;
        })}
      </svg>
    </div>
  );
}

export function PipelinePage() {
  const { pipeline, relations, eventTime } = useStore(live);
  const [chosen, setChosen] = useState<string | null>(null);
  if (!pipeline) return null;
  if (pipeline.nodes.length === 0) {
    return (
      <Empty title="Nothing runs yet">
        <p>A materialized view starts a pipeline from its table. Each operator will be a node here,
          with its rows per second and watermark.</p>
        <CreateFirst />
      </Empty>
    );
  }
  const node = pipeline.nodes.find((other) => other.id === chosen);
  return (
    <>
      <Panel title="Operators" aside={<span class="muted small">
        Lines are thicker by rows/s. Select a node for details.</span>}>
        <Picture pipeline={pipeline} newest={eventTime} chosen={chosen}
          choose={(id) => setChosen(id === chosen ? null : id)} />
      </Panel>
      {node ? (
        <Details node={node} relation={relationOf(node, relations)} newest={eventTime}
          close={() => setChosen(null)} />
      ) : null}
    </>
  );
}
