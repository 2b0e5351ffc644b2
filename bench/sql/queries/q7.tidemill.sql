SELECT b.auction, b.price, b.bidder, b.date_time, highest.window_end
FROM bid b
JOIN (SELECT max(price) AS price, window_start, window_end
      FROM tumble(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, window_end) highest
ON b.price = highest.price
WHERE b.date_time >= highest.window_start AND b.date_time < highest.window_end
