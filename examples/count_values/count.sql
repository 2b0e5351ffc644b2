-- Counts how often each value came: every message becomes the pair (value, 1), and the ones of
-- equal values are added up. The topic needs no table: it can be queried by its name.

CREATE MATERIALIZED VIEW IF NOT EXISTS value_counts AS
    SELECT value, sum(one) AS count
    FROM (SELECT value, 1 AS one FROM my_topic) AS pairs
    GROUP BY value;

SELECT * FROM value_counts ORDER BY count DESC, value;
