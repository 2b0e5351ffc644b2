-- The energy used in each ten minutes, by the time of the readings and not by when they arrive.

CREATE TABLE IF NOT EXISTS meter (
    household text        NOT NULL,
    wh        integer     NOT NULL,
    at        timestamptz NOT NULL
) WITH (event_time = 'at', lateness = '1 minute', key = 'household');

CREATE MATERIALIZED VIEW IF NOT EXISTS energy
    WITH (emit = 'final', late_to = 'energy_late') AS
    SELECT household, window_start, sum(wh) AS wh, count(*) AS readings
    FROM tumble(meter, at, INTERVAL '10 minutes')
    GROUP BY household, window_start;

-- Out of order, and one much too late: the last of north, of 12:03, comes when 12:20 is over.
INSERT INTO meter VALUES
    ('north', 10, '2026-01-01 12:01:00Z'),
    ('north', 20, '2026-01-01 12:09:30Z'),
    ('south',  5, '2026-01-01 12:09:00Z'),
    ('north', 30, '2026-01-01 12:10:30Z'),
    ('north', 40, '2026-01-01 12:09:59Z'),
    ('south',  7, '2026-01-01 12:15:00Z'),
    ('south',  9, '2026-01-01 12:21:30Z'),
    ('north', 99, '2026-01-01 12:03:00Z');

-- The windows of 12:00 and 12:10 are complete. That of 12:20 is not, and has no row yet.
SELECT * FROM energy ORDER BY window_start, household;

-- What came too late to count.
SELECT * FROM energy_late;
