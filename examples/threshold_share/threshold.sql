-- How often is it warmer than 25 degrees? Each reading becomes 1 or 0; their average is the share.

CREATE TABLE IF NOT EXISTS temperatures (
    sensor text   NOT NULL,
    temp   float8 NOT NULL
) WITH (key = 'sensor');

CREATE MATERIALIZED VIEW IF NOT EXISTS warm_share AS
    SELECT sensor,
           avg(CASE WHEN temp > 25 THEN 1 ELSE 0 END) AS share,
           count(*) AS readings
    FROM temperatures
    GROUP BY sensor;

INSERT INTO temperatures VALUES
    ('kitchen', 21.5), ('kitchen', 24.0), ('kitchen', 26.5), ('kitchen', 25.0),
    ('attic',   31.0), ('attic',   27.5), ('attic',   24.5),
    ('cellar',  14.0), ('cellar',  14.5);

SELECT * FROM warm_share ORDER BY sensor;
