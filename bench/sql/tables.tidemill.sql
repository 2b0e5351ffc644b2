CREATE TABLE person (id int8, name text, email_address text, credit_card text, city text,
  state text, date_time timestamptz NOT NULL, extra text)
  WITH (event_time = 'date_time', lateness = '1 s', partitions = 2);
CREATE TABLE auction (id int8, item_name text, description text, initial_bid int8, reserve int8,
  date_time timestamptz NOT NULL, expires timestamptz, seller int8, category int8, extra text)
  WITH (event_time = 'date_time', lateness = '1 s', partitions = 2);
CREATE TABLE bid (auction int8, bidder int8, price int8, channel text, url text,
  date_time timestamptz NOT NULL, extra text)
  WITH (event_time = 'date_time', lateness = '1 s', partitions = 2);
CREATE TABLE readings (sensor int8, temp float8, ts timestamptz NOT NULL)
  WITH (event_time = 'ts', lateness = '1 s', partitions = 2);
