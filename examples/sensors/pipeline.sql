-- The pipeline of `tidemill demo`: real sensor readings in, six continuously updated views out.
--
-- Every statement can be pasted into psql. Each view starts with the readings that are there
-- already and then follows the new ones, so the order of statements and of data does not matter.


-- Where readings arrive: by HTTP, Kafka or INSERT. The table is also the Kafka topic "readings";
-- its records are JSON objects such as
--   {"sensor": "machine_temperature", "value": 73.97, "ts": "2013-12-02T21:15:00Z"}
CREATE TABLE IF NOT EXISTS readings (
    sensor text        NOT NULL,
    value  float8      NOT NULL,
    ts     timestamptz NOT NULL
) WITH (
    event_time   = 'ts',          -- time is what the readings say, not when they arrive
    lateness     = '30 minutes',  -- windows wait this long for stragglers (in event time)
    idle_timeout = '5 s',         -- a silent partition holds the others back no longer than this
    key          = 'sensor',      -- one sensor's readings stay in one partition, in order
    partitions   = 2              -- so that two threads can share the work
);


-- What each sensor says now. Without a window a view holds one row per group and updates it with
-- every reading ("emit = changes", the default).
CREATE MATERIALIZED VIEW IF NOT EXISTS sensor_now AS
    SELECT sensor,
           count(*)   AS readings,
           max(ts)    AS last_seen,
           avg(value) AS average,
           min(value) AS lowest,
           max(value) AS highest
    FROM readings
    GROUP BY sensor;


-- One row per sensor and hour, given out once, when the hour is complete ("emit = final").
-- Complete means: the readings have moved past the end of the hour by the table's lateness.
CREATE MATERIALIZED VIEW IF NOT EXISTS sensor_hourly WITH (emit = 'final') AS
    SELECT sensor, window_start,
           avg(value) AS average,
           min(value) AS lowest,
           max(value) AS highest,
           count(*)   AS readings
    FROM tumble(readings, ts, INTERVAL '1 hour')
    GROUP BY sensor, window_start;


-- The same for every quarter of an hour. The clock of machine_temperature steps back 55 minutes on
-- 2014-01-07: some readings come after their quarter of an hour is complete. They are not lost and
-- do not change a result that was given out; they are kept in the table late_readings.
CREATE MATERIALIZED VIEW IF NOT EXISTS sensor_quarter_hourly
    WITH (emit = 'final', late_to = 'late_readings') AS
    SELECT sensor, window_start,
           avg(value) AS average,
           count(*)   AS readings
    FROM tumble(readings, ts, INTERVAL '15 minutes')
    GROUP BY sensor, window_start;


-- A moving average: a window of six hours that moves on by one hour, so each reading counts in six
-- windows. With "emit = changes" the windows that are still open can be watched as they fill.
CREATE MATERIALIZED VIEW IF NOT EXISTS sensor_sliding AS
    SELECT sensor, window_start, window_end,
           avg(value) AS average
    FROM hop(readings, ts, slide => INTERVAL '1 hour', size => INTERVAL '6 hours')
    GROUP BY sensor, window_start, window_end;


-- How often it is warm: each reading becomes 1 above 77 degrees Fahrenheit (25 Celsius) and 0
-- otherwise; the average of these is the share of warm readings.
CREATE MATERIALIZED VIEW IF NOT EXISTS hot_share AS
    SELECT sensor,
           avg(CASE WHEN value > 77 THEN 1 ELSE 0 END) AS share
    FROM readings
    WHERE sensor LIKE '%\_temperature'
    GROUP BY sensor;


-- Readings far out of the machine's normal range. A view without GROUP BY passes rows on one by
-- one; its topic "alerts" is what a pager would listen to.
CREATE MATERIALIZED VIEW IF NOT EXISTS alerts AS
    SELECT ts, sensor, value,
           CASE WHEN value > 100 THEN 'too hot' ELSE 'too cold' END AS problem
    FROM readings
    WHERE sensor = 'machine_temperature' AND value NOT BETWEEN 45 AND 105;
