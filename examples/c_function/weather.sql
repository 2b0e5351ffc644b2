CREATE FUNCTION celsius(fahrenheit float8) RETURNS float8
  AS 'weather.so', 'celsius' LANGUAGE c IMMUTABLE STRICT;
CREATE FUNCTION wind_name(force int) RETURNS text
  AS 'weather.so', 'wind_name' LANGUAGE c IMMUTABLE STRICT;

CREATE TABLE weather (station text, fahrenheit float8, force int);
CREATE MATERIALIZED VIEW winds AS
  SELECT wind_name(force) AS wind, count(*) AS n, max(celsius(fahrenheit)) AS warmest
  FROM weather GROUP BY wind_name(force);

INSERT INTO weather VALUES ('a', 32, 0), ('b', 50, 8), ('c', 212, 8), ('d', NULL, NULL);

SELECT wind, n, warmest FROM winds ORDER BY wind;
