// What to do with an empty server.
import { link } from "../router";
import { Code } from "./parts";

export const FIRST_TABLE = `CREATE TABLE sensors (sensor text, temp float8, ts timestamptz NOT NULL)
  WITH (event_time = 'ts', lateness = '5 s', key = 'sensor');`;

export const FIRST_VIEW = `CREATE MATERIALIZED VIEW avg_temp AS
  SELECT sensor, window_start, avg(temp) AS avg, count(*) AS n
  FROM tumble(sensors, ts, INTERVAL '10 s') GROUP BY sensor, window_start;`;

export function CreateFirst() {
  return (
    <div class="create-first">
      <p>1. Make a table: a typed stream of events.</p>
      <Code text={FIRST_TABLE} label="SQL" />
      <p>2. Make a view of it: a query that is kept up to date.</p>
      <Code text={FIRST_VIEW} label="SQL" />
      <p>Run them one by one on the <a href={link("sql")}>SQL page</a>, or see real sensor readings
        flow with:</p>
      <Code text="make demo" label="shell" />
    </div>
  );
}
