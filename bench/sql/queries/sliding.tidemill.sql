SELECT sensor, window_start, avg(temp) AS avg_temp, count(*) AS n
FROM hop(readings, ts, slide => INTERVAL '1 s', size => INTERVAL '10 s')
GROUP BY sensor, window_start
