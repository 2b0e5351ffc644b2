CREATE TABLE person (id BIGINT, name STRING, email_address STRING, credit_card STRING,
  city STRING, state STRING, date_time TIMESTAMP(3), extra STRING,
  WATERMARK FOR date_time AS date_time - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = 'file://FOLDER/person', 'format' = 'json',
        'json.timestamp-format.standard' = 'SQL');
CREATE TABLE auction (id BIGINT, item_name STRING, description STRING, initial_bid BIGINT,
  reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT,
  extra STRING, WATERMARK FOR date_time AS date_time - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = 'file://FOLDER/auction', 'format' = 'json',
        'json.timestamp-format.standard' = 'SQL');
CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  date_time TIMESTAMP(3), extra STRING, WATERMARK FOR date_time AS date_time - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = 'file://FOLDER/bid', 'format' = 'json',
        'json.timestamp-format.standard' = 'SQL');
CREATE TABLE readings (sensor BIGINT, temp DOUBLE, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = 'file://FOLDER/readings', 'format' = 'json',
        'json.timestamp-format.standard' = 'SQL');
CREATE TABLE start_of_a_job (x BIGINT)
  WITH ('connector' = 'filesystem', 'path' = 'file://FOLDER/start', 'format' = 'json');
