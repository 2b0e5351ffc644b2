SELECT auction, bidder, price, channel, date_time FROM (
  SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS place
  FROM bid) bids
WHERE place <= 1
