SELECT sensor, date_trunc('second', ts) - INTERVAL (i) SECOND AS window_start,
       avg(temp) AS avg_temp, count(*) AS n
FROM readings, range(10) slides(i)
GROUP BY sensor, window_start
