SELECT bidder, count(*) AS bid_count, window_start AS session_start, window_end AS session_end
FROM session(bid, date_time, gap => INTERVAL '10 seconds', partition_by => 'bidder')
GROUP BY bidder, window_start, window_end
