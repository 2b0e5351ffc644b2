SELECT auction, bidder, price, date_time, rank_number FROM (
  SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time) AS rank_number
  FROM bid) bids
WHERE rank_number <= 10
