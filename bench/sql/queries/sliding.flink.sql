SELECT sensor, window_start, avg(temp) AS avg_temp, count(*) AS n
FROM TABLE(HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '10' SECOND))
GROUP BY sensor, window_start, window_end
