SELECT counts.window_start, counts.window_end, counts.auction, counts.num
FROM (SELECT auction, count(*) AS num, window_start, window_end
      FROM hop(bid, date_time, slide => INTERVAL '2 seconds', size => INTERVAL '10 seconds')
      GROUP BY auction, window_start, window_end) counts
JOIN (SELECT max(num) AS most, window_start, window_end
      FROM (SELECT auction, count(*) AS num, window_start, window_end
            FROM hop(bid, date_time, slide => INTERVAL '2 seconds', size => INTERVAL '10 seconds')
            GROUP BY auction, window_start, window_end) each_auction
      GROUP BY window_start, window_end) hottest
ON counts.window_start = hottest.window_start AND counts.window_end = hottest.window_end
   AND counts.num >= hottest.most
