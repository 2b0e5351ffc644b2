-- Queries by the sections of PostgreSQL's page on SELECT. Each is asked once, and is a view, at
-- several prefixes of the changes of test_select_oracle.py. One a line; `once:` stands before those
-- that are no view in PostgreSQL (two columns of one name) or here (constants).
-- section: select list
once: SELECT
once: SELECT 1 AS one, 'x' AS x, NULL AS n
SELECT id, n + 1 AS m, upper(g) AS u FROM a
SELECT a.*, a.n * 2 AS d FROM a
SELECT a.id AS "Id", (a.n) AS "N n" FROM a
SELECT (SELECT max(n) FROM a) AS m, id FROM b
SELECT CASE WHEN n > 5 THEN 'big' WHEN n IS NULL THEN 'none' ELSE 'small' END AS c, id FROM a
SELECT id, coalesce(g, 'none') AS g, nullif(n, 10) AS n FROM a
SELECT id, n IS DISTINCT FROM 10 AS d, g IS NOT DISTINCT FROM NULL AS e FROM a
SELECT id, n BETWEEN 5 AND 20 AS b, n NOT BETWEEN SYMMETRIC 20 AND 5 AS s FROM a
SELECT id, g LIKE 'x%' AS l, g ~ '^[xy]' AS r FROM a
SELECT id, EXISTS (SELECT 1 FROM b WHERE b.aid = a.id) AS e FROM a
SELECT id, n IN (1, 10, NULL) AS i, n = ANY (ARRAY[1, 20]) AS y, n <> ALL (ARRAY[1, 20]) AS z FROM a
SELECT id, (n, g) = (10, 'x') AS r, (n, id) < (10, 3) AS l FROM a
SELECT id, (n, g) IS DISTINCT FROM (10, 'x') AS r FROM a
SELECT id, ARRAY[n, id] AS r, cardinality(ARRAY[n]) AS c FROM a
SELECT id, extract(year FROM at) AS y, date_trunc('day', at) AS d FROM a
SELECT id, at + interval '1 day' AS later, at - timestamptz '2026-01-01 00:00:00+00' AS since FROM a
SELECT id, p::int AS i, p::text AS t, round(p, 1) AS r FROM a
SELECT b.id, b.w, (SELECT g FROM a WHERE a.id = b.aid) AS g FROM b
SELECT id, f FROM a WHERE f <> 0
-- section: FROM
SELECT x.id FROM a AS x
SELECT x.k, x.m FROM a AS x (k, l, m)
once: SELECT * FROM a, b WHERE a.id = b.aid
SELECT a.id, b.id AS bid FROM a CROSS JOIN b
SELECT a.id, b.id AS bid FROM a JOIN b ON a.id = b.aid
SELECT a.id, b.id AS bid FROM a LEFT JOIN b ON a.id = b.aid
SELECT a.id, b.id AS bid FROM a RIGHT JOIN b ON a.id = b.aid
SELECT a.id, b.id AS bid FROM a FULL JOIN b ON a.id = b.aid
SELECT a.id, b.id AS bid FROM a LEFT JOIN b ON a.id = b.aid AND b.w > a.n
SELECT a.id, b.id AS bid FROM a LEFT JOIN b ON a.n < b.w
SELECT a.id, b.id AS bid FROM a LEFT JOIN b ON a.id = b.aid WHERE b.id IS NULL
SELECT * FROM a NATURAL JOIN c
SELECT * FROM a NATURAL LEFT JOIN c
SELECT * FROM a NATURAL RIGHT JOIN c
SELECT * FROM a NATURAL FULL JOIN c
once: SELECT * FROM a JOIN c USING (g)
SELECT g, a.n, c.n AS cn FROM a LEFT JOIN c USING (g)
SELECT g, a.n, c.n AS cn FROM a RIGHT JOIN c USING (g)
SELECT g, a.n, c.n AS cn FROM a FULL JOIN c USING (g)
SELECT * FROM a FULL JOIN c USING (g, n)
SELECT g, j.g AS jg FROM a JOIN c USING (g) AS j
SELECT g, count(*) AS k FROM a FULL JOIN c USING (g) GROUP BY g
SELECT a.id, b.id AS bid, c.g FROM a JOIN b ON a.id = b.aid LEFT JOIN c ON c.g = a.g
SELECT a.id, x.bid FROM a LEFT JOIN (b JOIN c ON b.w = c.n) AS x (bid) ON a.id = x.bid
SELECT a.id, b.id AS bid FROM (a LEFT JOIN b ON a.id = b.aid) JOIN c ON c.g = a.g
SELECT x.id, y.id AS other FROM a x JOIN a y ON x.g = y.g AND x.id < y.id
SELECT * FROM (SELECT g, count(*) AS k FROM a GROUP BY g) AS s WHERE k > 1
once: SELECT * FROM (VALUES (1, 'x'), (2, 'y')) AS v (n, g) JOIN a ON a.g = v.g
SELECT a.id, t.k FROM a, LATERAL (SELECT count(*) AS k FROM b WHERE b.aid = a.id) AS t
SELECT a.id, t.w FROM a LEFT JOIN LATERAL (SELECT w FROM b WHERE b.aid = a.id ORDER BY w DESC NULLS LAST, id LIMIT 1) AS t ON true
SELECT a.id, t.w FROM a CROSS JOIN LATERAL (SELECT w FROM b WHERE b.w > a.n ORDER BY w, id LIMIT 2) AS t
SELECT a.id, t.x FROM a, LATERAL (SELECT a.n + b.w AS x FROM b WHERE b.aid = a.id) AS t WHERE t.x > 5
SELECT a.id, u.e FROM a, unnest(ARRAY[a.n, a.id]) AS u (e)
SELECT a.id, u.e, u.o FROM a, unnest(ARRAY['p', a.g]) WITH ORDINALITY AS u (e, o)
SELECT a.id, s FROM a, generate_series(1, a.n % 4) AS s
SELECT a.id, s.v FROM a LEFT JOIN LATERAL generate_series(1, a.n % 3) AS s (v) ON s.v > 1
once: SELECT x, y FROM ROWS FROM (generate_series(1, 3), generate_series(5, 6)) AS r (x, y)
SELECT a.id, e.value FROM a, jsonb_array_elements(to_jsonb(ARRAY[a.n])) AS e
-- section: WHERE
SELECT id FROM a WHERE n > 5
SELECT id FROM a WHERE n > 5 AND g = 'x' OR g IS NULL
SELECT id FROM a WHERE NOT (n > 5)
SELECT id FROM a WHERE (n > 5) IS NOT TRUE
SELECT id FROM a WHERE (n > 5) IS UNKNOWN
SELECT id FROM a WHERE g IN ('x', 'y')
SELECT id FROM a WHERE g NOT IN ('x', 'y')
SELECT id FROM a WHERE id IN (SELECT aid FROM b)
SELECT id FROM a WHERE id NOT IN (SELECT aid FROM b)
SELECT id FROM a WHERE id NOT IN (SELECT aid FROM b WHERE aid IS NOT NULL)
SELECT id FROM a WHERE EXISTS (SELECT FROM b WHERE b.aid = a.id AND b.w > 3)
SELECT id FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.aid = a.id)
SELECT id FROM a WHERE n > (SELECT avg(n) FROM a)
SELECT id FROM a WHERE n >= ALL (SELECT w FROM b WHERE w IS NOT NULL)
SELECT id FROM a WHERE n < ANY (SELECT w FROM b)
SELECT id FROM a WHERE n = SOME (SELECT w FROM b WHERE b.aid = a.id)
SELECT id FROM a WHERE (g, n) IN (SELECT g, n FROM c)
SELECT id FROM a WHERE (g, n) NOT IN (SELECT g, n FROM c)
SELECT id FROM a WHERE (g, n) IN (('x', 10), ('y', 20))
SELECT id FROM a WHERE (n, id) >= (10, 2)
SELECT id FROM a WHERE ROW (g, n) IS NOT NULL
SELECT id FROM a x WHERE n = (SELECT max(n) FROM a y WHERE y.g = x.g)
SELECT id FROM a x WHERE (SELECT count(*) FROM a y WHERE y.n > x.n) < 3
SELECT id FROM a WHERE n IS NOT DISTINCT FROM (SELECT min(w) FROM b)
SELECT id FROM a WHERE CASE WHEN n = 0 THEN false ELSE 100 / n > 5 END
SELECT id FROM a WHERE g = 'x' AND (SELECT true FROM b WHERE b.id = a.id)
-- section: GROUP BY
SELECT g, count(*) AS k FROM a GROUP BY g
SELECT g, count(n) AS k, sum(n) AS s, avg(n) AS v, min(n) AS lo, max(n) AS hi FROM a GROUP BY g
SELECT count(*) AS k, sum(n) AS s FROM a
SELECT sum(n) AS s FROM a WHERE false
SELECT g FROM a GROUP BY g
SELECT upper(g) AS u, count(*) AS k FROM a GROUP BY 1
SELECT upper(g) AS u, count(*) AS k FROM a GROUP BY u
SELECT n % 3 AS r, g, count(*) AS k FROM a GROUP BY n % 3, g
SELECT g, count(DISTINCT n) AS d, sum(DISTINCT n) AS s FROM a GROUP BY g
SELECT g, count(*) FILTER (WHERE n > 5) AS big, sum(n) FILTER (WHERE id > 2) AS s FROM a GROUP BY g
SELECT g, string_agg(id::text, ',' ORDER BY id DESC) AS l FROM a GROUP BY g
SELECT g, array_agg(n ORDER BY n NULLS FIRST, id) AS l FROM a GROUP BY g
SELECT g, array_agg(DISTINCT n ORDER BY n) AS l FROM a GROUP BY g
SELECT g, bool_and(n > 5) AS e, bool_or(n > 5) AS o, every(id > 0) AS v FROM a GROUP BY g
SELECT g, percentile_cont(0.5) WITHIN GROUP (ORDER BY n) AS m, percentile_disc(0.5) WITHIN GROUP (ORDER BY n) AS d FROM a GROUP BY g
SELECT mode() WITHIN GROUP (ORDER BY g) AS m FROM a
SELECT g, percentile_disc(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY n) AS q FROM a GROUP BY g
SELECT g, var_pop(n) AS v, stddev_samp(n) AS s FROM a GROUP BY g
SELECT g, jsonb_agg(n ORDER BY id) AS j FROM a GROUP BY g
SELECT g, bit_and(n) AS x, bit_or(n) AS y FROM a GROUP BY g
SELECT g, n, count(*) AS k FROM a GROUP BY GROUPING SETS ((g, n), (g), ())
SELECT g, n, count(*) AS k, GROUPING(g, n) AS w FROM a GROUP BY ROLLUP (g, n)
SELECT g, n, sum(id) AS s FROM a GROUP BY CUBE (g, n)
SELECT g, id, n, count(*) AS k FROM a GROUP BY g, ROLLUP (id, n)
SELECT p, q, count(*) AS k, GROUPING(p) AS x, GROUPING(q) AS y FROM (SELECT n + 1, n + 1 FROM a) AS s (p, q) GROUP BY ROLLUP (p, q)
SELECT p, q, count(*) AS k FROM (SELECT g, g FROM a) AS s (p, q) GROUP BY CUBE (p, q)
SELECT p, q, count(*) AS k FROM (SELECT 1, 1 FROM a) AS s (p, q) GROUP BY GROUPING SETS ((p), (q), (p, q))
WITH s AS (SELECT n AS p, n AS q, id FROM a) SELECT p, q, sum(id) AS i FROM s GROUP BY ROLLUP (q, p)
SELECT g, count(*) AS k FROM a GROUP BY DISTINCT ROLLUP (g), ROLLUP (g)
SELECT a.g, sum(b.w) AS s FROM a JOIN b ON a.id = b.aid GROUP BY a.g
SELECT (SELECT max(w) FROM b WHERE b.aid = a.id) AS m, count(*) AS k FROM a GROUP BY 1
SELECT g, (SELECT count(*) FROM b WHERE b.w > sum(a.n)) AS k FROM a GROUP BY g
SELECT date_trunc('day', at) AS d, count(*) AS k FROM a GROUP BY d
SELECT p, count(*) AS k FROM a GROUP BY p
SELECT f, count(*) AS k FROM a GROUP BY f
SELECT ARRAY[f, f + 1] AS l, count(*) AS k FROM a WHERE f IS NOT NULL GROUP BY 1
-- section: HAVING
SELECT g, count(*) AS k FROM a GROUP BY g HAVING count(*) > 1
SELECT g FROM a GROUP BY g HAVING sum(n) > 10 AND g IS NOT NULL
SELECT count(*) AS k FROM a HAVING count(*) > 2
SELECT g FROM a GROUP BY g HAVING max(n) > (SELECT avg(w) FROM b)
SELECT g, sum(n) AS s FROM a GROUP BY g HAVING EXISTS (SELECT FROM c WHERE c.g = a.g)
SELECT g FROM a GROUP BY g HAVING count(*) IN (SELECT count(*) FROM c GROUP BY g)
SELECT 1 AS x FROM a HAVING true
-- section: WINDOW
SELECT id, row_number() OVER (ORDER BY n NULLS FIRST, id) AS r FROM a
SELECT id, rank() OVER (PARTITION BY g ORDER BY n) AS r, dense_rank() OVER (PARTITION BY g ORDER BY n) AS d FROM a
SELECT id, percent_rank() OVER (ORDER BY n) AS p, cume_dist() OVER (ORDER BY n) AS c FROM a
SELECT id, ntile(3) OVER (ORDER BY id) AS t FROM a
SELECT id, lag(n) OVER w AS l, lead(n, 2, -1) OVER w AS m FROM a WINDOW w AS (ORDER BY id)
SELECT id, first_value(n) OVER w AS f, last_value(n) OVER w AS l, nth_value(n, 2) OVER w AS s FROM a WINDOW w AS (PARTITION BY g ORDER BY id)
SELECT id, sum(n) OVER w AS s, count(*) OVER w AS k FROM a WINDOW w AS (ORDER BY id)
SELECT id, sum(n) OVER (ORDER BY n) AS s FROM a
SELECT id, sum(n) OVER () AS s, avg(n) OVER (PARTITION BY g) AS v FROM a
SELECT id, sum(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM a
SELECT id, sum(n) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS s FROM a
SELECT id, sum(n) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS s FROM a
SELECT id, count(*) OVER (ORDER BY n RANGE BETWEEN 5 PRECEDING AND 5 FOLLOWING) AS k FROM a
SELECT id, count(*) OVER (ORDER BY n DESC RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) AS k FROM a
SELECT id, count(*) OVER (ORDER BY at RANGE BETWEEN interval '1 day' PRECEDING AND interval '12 hours' FOLLOWING) AS k FROM a
SELECT id, sum(n) OVER (ORDER BY p RANGE BETWEEN 0.5 PRECEDING AND 0.25 FOLLOWING) AS s FROM a
SELECT id, count(*) OVER (ORDER BY f RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM a
SELECT id, count(*) OVER (ORDER BY n GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) AS k FROM a
SELECT id, sum(id) OVER (ORDER BY n GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES) AS k FROM a
SELECT id, sum(id) OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW) AS k FROM (SELECT id, id AS n FROM a) s
SELECT id, sum(id) OVER (ORDER BY n RANGE UNBOUNDED PRECEDING EXCLUDE GROUP) AS k FROM a
SELECT id, sum(id) OVER (ORDER BY n GROUPS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE NO OTHERS) AS k FROM a
SELECT id, sum(n) FILTER (WHERE n > 5) OVER (ORDER BY id) AS s FROM a
SELECT id, sum(n) OVER (w ROWS 1 PRECEDING) AS s FROM a WINDOW w AS (ORDER BY id)
SELECT id, sum(n) OVER (w ORDER BY id) AS s FROM a WINDOW w AS (PARTITION BY g)
SELECT id, count(*) OVER v AS s FROM a WINDOW w AS (PARTITION BY g), v AS (w ORDER BY id)
SELECT id, string_agg(g, ',') OVER (ORDER BY id) AS s FROM a
SELECT id, array_agg(n) OVER (ORDER BY id ROWS 1 PRECEDING) AS s FROM a
SELECT g, sum(n) AS s, rank() OVER (ORDER BY sum(n) NULLS LAST, g) AS r FROM a GROUP BY g
SELECT g, count(*) AS k, sum(count(*)) OVER (ORDER BY g) AS s FROM a GROUP BY g
SELECT * FROM (SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY n DESC NULLS LAST, id) AS r FROM a) AS s WHERE r <= 2
SELECT * FROM (SELECT id, g, rank() OVER (PARTITION BY g ORDER BY n) AS r FROM a) AS s WHERE r = 1
SELECT id, n - lag(n, 1, 0) OVER (ORDER BY id) AS d FROM a WHERE n IS NOT NULL
SELECT id, max(n) OVER (PARTITION BY g ORDER BY id) - n AS d FROM a
SELECT id, sum(n) OVER (PARTITION BY g, n % 2 ORDER BY id) AS d FROM a
-- section: DISTINCT
SELECT DISTINCT g FROM a
SELECT DISTINCT g, n FROM a
SELECT DISTINCT n % 2 AS r FROM a
SELECT DISTINCT ON (g) g, id, n FROM a ORDER BY g, n DESC NULLS LAST, id
SELECT DISTINCT ON (g, n % 2) g, n, id FROM a ORDER BY g, n % 2, id
SELECT DISTINCT count(*) AS k FROM a GROUP BY g
SELECT DISTINCT sum(n) OVER (PARTITION BY g) AS s FROM a
SELECT ALL g FROM a
SELECT count(*) AS k FROM (SELECT DISTINCT g, n FROM a) AS s
-- section: UNION, INTERSECT, EXCEPT
SELECT g FROM a UNION SELECT g FROM c
SELECT g FROM a UNION ALL SELECT g FROM c
SELECT g FROM a INTERSECT SELECT g FROM c
SELECT g FROM a INTERSECT ALL SELECT g FROM c
SELECT g FROM a EXCEPT SELECT g FROM c
SELECT g FROM a EXCEPT ALL SELECT g FROM c
SELECT g, n FROM a UNION SELECT g, n FROM c EXCEPT SELECT 'x', 10
(SELECT g FROM a UNION SELECT g FROM c) INTERSECT (SELECT 'x' UNION SELECT 'z')
SELECT id AS x FROM a UNION SELECT w FROM b UNION SELECT n FROM c
SELECT n FROM a UNION SELECT p FROM a
SELECT NULL AS v UNION SELECT g FROM a
(SELECT id FROM a ORDER BY n DESC NULLS LAST, id LIMIT 2) UNION ALL (SELECT id FROM b ORDER BY id LIMIT 2)
SELECT g, count(*) AS k FROM (SELECT g FROM a UNION ALL SELECT g FROM c) AS s GROUP BY g
once: VALUES (1, 'a'), (2, 'b')
VALUES (1), (2) UNION ALL SELECT n FROM a
SELECT id FROM a WHERE id IN (SELECT aid FROM b INTERSECT SELECT n FROM c)
-- section: ORDER BY, LIMIT
SELECT id, n FROM a ORDER BY n DESC NULLS LAST, id LIMIT 3
SELECT id FROM a ORDER BY n NULLS FIRST, id OFFSET 2
SELECT id FROM a ORDER BY n NULLS FIRST, id LIMIT 2 OFFSET 1
SELECT id, n FROM a ORDER BY n FETCH FIRST 2 ROWS WITH TIES
SELECT id FROM a ORDER BY id FETCH NEXT ROW ONLY
SELECT g, sum(n) AS s FROM a GROUP BY g ORDER BY s DESC NULLS LAST, g LIMIT 1
SELECT * FROM (SELECT id FROM a ORDER BY id DESC LIMIT 2) AS s
SELECT id FROM a ORDER BY (SELECT count(*) FROM b WHERE b.aid = a.id) DESC, id LIMIT 2
SELECT id FROM a LIMIT ALL
SELECT id FROM a LIMIT 0
SELECT sum(n) AS s FROM (SELECT n FROM a ORDER BY n DESC NULLS LAST, id LIMIT 2) AS t
-- section: WITH
WITH s AS (SELECT g, sum(n) AS s FROM a GROUP BY g) SELECT * FROM s WHERE s > 5
WITH s AS (SELECT g, sum(n) AS s FROM a GROUP BY g), t AS (SELECT max(s) AS m FROM s) SELECT s.g FROM s, t WHERE s.s = t.m
WITH s AS (SELECT id, g FROM a) SELECT x.id, y.id AS other FROM s x JOIN s y USING (g) WHERE x.id < y.id
WITH s (k) AS (SELECT id FROM a), t AS (SELECT k FROM s UNION ALL SELECT k + 100 FROM s) SELECT count(*) AS n FROM t
WITH a AS (SELECT id, n FROM a WHERE n > 5) SELECT * FROM a
WITH s AS MATERIALIZED (SELECT g FROM a) SELECT g, count(*) AS k FROM s GROUP BY g
WITH s AS NOT MATERIALIZED (SELECT g, n FROM a) SELECT g FROM s WHERE n > 5
SELECT id FROM a WHERE id IN (WITH s AS (SELECT aid FROM b WHERE w > 3) SELECT aid FROM s)
SELECT * FROM (WITH s AS (SELECT g, count(*) AS k FROM a GROUP BY g) SELECT k, count(*) AS m FROM s GROUP BY k) AS t
WITH s AS (WITH t AS (SELECT id, n FROM a) SELECT id FROM t WHERE n > 3) SELECT count(*) AS k FROM s
SELECT id, (WITH s AS (SELECT w FROM b WHERE b.aid = a.id) SELECT max(w) FROM s) AS m FROM a
-- section: subqueries
SELECT id FROM a WHERE n = (SELECT min(n) FROM a x WHERE x.g = a.g AND EXISTS (SELECT FROM b WHERE b.aid = x.id))
SELECT id, (SELECT count(*) FROM b WHERE b.aid = a.id AND b.w > (SELECT avg(w) FROM b y WHERE y.aid = a.id)) AS k FROM a
SELECT id, (SELECT string_agg(b.id::text, ',' ORDER BY b.id) FROM b WHERE b.aid = a.id) AS l FROM a
SELECT id, coalesce((SELECT sum(w) FROM b WHERE b.aid = a.id), 0) + n AS s FROM a
SELECT g, sum((SELECT count(*) FROM b WHERE b.aid = a.id)) AS s FROM a GROUP BY g
SELECT g, count(*) FILTER (WHERE EXISTS (SELECT FROM b WHERE b.aid = a.id)) AS s FROM a GROUP BY g
SELECT id, sum((SELECT max(w) FROM b WHERE b.aid = a.id)) OVER (ORDER BY id) AS s FROM a
SELECT id FROM a WHERE (SELECT g FROM c WHERE c.n = a.n ORDER BY g LIMIT 1) = g
SELECT a.id FROM a JOIN b ON b.id = (SELECT max(id) FROM b y WHERE y.aid = a.id)
SELECT id, CASE WHEN EXISTS (SELECT FROM b WHERE aid = a.id) THEN (SELECT min(w) FROM b WHERE aid = a.id) ELSE n END AS v FROM a
SELECT id, n > ALL (SELECT w FROM b WHERE b.aid = a.id) AS l, n = ANY (SELECT w FROM b WHERE b.aid = a.id) AS y FROM a
SELECT id, NOT (n IN (SELECT w FROM b)) AS o FROM a
SELECT x.g, x.k FROM (SELECT g, count(*) AS k FROM a GROUP BY g) x WHERE x.k = (SELECT max(k) FROM (SELECT count(*) AS k FROM a GROUP BY g) y)
