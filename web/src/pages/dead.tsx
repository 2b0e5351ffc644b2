// Rows that could not be read, newest first, with the reason and the raw bytes.
import { link } from "../router";
import { DataTable } from "../ui/data-table";
import { Empty, ErrorBox, Panel } from "../ui/parts";
import { useQuery } from "./table";

const ROWS_MAX = 500;
const SQL = `SELECT * FROM sys.dead_letters ORDER BY at DESC LIMIT ${ROWS_MAX}`;

export function DeadPage() {
  const { result, rows, version, error } = useQuery(SQL);
  return (
    <>
      {error ? <ErrorBox error={error} sql={SQL} /> : null}
      {result && rows.length === 0 ? (
        <Empty title="No dead letters">
          <p>A row that comes in over Kafka and does not fit its table is kept here instead of being
            lost: which table, topic, partition and offset, why, and its raw bytes. Rows sent over
            HTTP or SQL are refused at once, with the reason in the answer.</p>
          <p>The same rows are a table: <code>SELECT * FROM sys.dead_letters</code> on the
            {" "}<a href={link("sql")}>SQL page</a>.</p>
        </Empty>
      ) : (
        <Panel title="Newest first" aside={<span class="muted small">at most {ROWS_MAX}</span>}>
          <DataTable columns={result?.columns ?? []} rows={rows} version={version}
            label="dead letters" />
        </Panel>
      )}
    </>
  );
}
