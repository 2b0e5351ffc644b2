SELECT seller, id, avg(price) OVER (PARTITION BY seller ORDER BY bid_date_time, id
                                    ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg_price FROM (
  SELECT a.id, a.seller, b.price, b.date_time AS bid_date_time,
         row_number() OVER (PARTITION BY a.id, a.seller ORDER BY b.price DESC, b.date_time) AS place
  FROM auction a, bid b
  WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) bids
WHERE place <= 1
