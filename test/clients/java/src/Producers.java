import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Cases of the producer; each reads back what it sent. */
final class Producers {
    private static final int RECORDS = 2000;
    private final Cluster kafka;

    Producers(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"})
            cases.add("producer.idempotent." + codec, () -> roundTrip(codec));
        for (String acks : new String[] {"0", "1", "all"})
            cases.add("producer.acks." + acks, () -> acks(acks));
        cases.add("producer.nulls-and-headers", this::nullsAndHeaders);
        cases.add("producer.large-records", this::largeRecords);
        cases.add("producer.too-large", this::tooLarge);
        cases.add("producer.makes-topic", this::makesTopic);
        cases.add("producer.internal-topic-refused", this::internalTopic);
        cases.add("producer.many-in-flight", this::manyInFlight);
    }

    /** Order, keys, values, headers, timestamps and offsets survive, in every compression. */
    private void roundTrip(String codec) throws Exception {
        String topic = kafka.topic(1);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer =
                 kafka.producer("compression.type=" + codec, "linger.ms=5",
                                "enable.idempotence=true", "acks=all")) {
            for (int i = 0; i < RECORDS; i++) {
                ProducerRecord<String, String> r = new ProducerRecord<>(
                    topic, 0, 1_700_000_000_000L + i, "key" + i % 7,
                    "value " + i + " ".repeat(i % 90));
                r.headers().add("n", ("" + i).getBytes(StandardCharsets.UTF_8));
                sent.add(producer.send(r));
            }
            for (int i = 0; i < RECORDS; i++)
                Cases.equal((long) i, sent.get(i).get(20, TimeUnit.SECONDS).offset(), "offset");
        }
        List<ConsumerRecord<String, String>> got = kafka.readAll(topic);
        Cases.equal(RECORDS, got.size(), "records");
        for (int i = 0; i < RECORDS; i++) {
            ConsumerRecord<String, String> r = got.get(i);
            Cases.equal((long) i, r.offset(), "offset");
            Cases.equal("key" + i % 7, r.key(), "key");
            Cases.equal("value " + i + " ".repeat(i % 90), r.value(), "value");
            Cases.equal(1_700_000_000_000L + i, r.timestamp(), "timestamp");
            Cases.equal("" + i, new String(r.headers().lastHeader("n").value(),
                                           StandardCharsets.UTF_8), "header");
        }
    }

    private void acks(String acks) throws Exception {
        String topic = kafka.topic(2);
        try (KafkaProducer<String, String> producer =
                 kafka.producer("acks=" + acks, "enable.idempotence=false")) {
            for (int i = 0; i < 100; i++)
                producer.send(new ProducerRecord<>(topic, "k" + i, "" + i));
            producer.flush();
        }
        Cases.eventually("all 100 records", 20, () -> kafka.readAll(topic).size() == 100);
        Cases.equal(Cluster.numbers(100),
                    Cluster.sorted(Cluster.values(kafka.readAll(topic))), "values");
    }

    private void nullsAndHeaders() throws Exception {
        String topic = kafka.topic(1);
        try (KafkaProducer<String, String> producer = kafka.producer()) {
            producer.send(new ProducerRecord<>(topic, 0, "tombstone", null)).get();
            producer.send(new ProducerRecord<>(topic, 0, null, "")).get();
            producer.send(new ProducerRecord<>(topic, 0, "", "same name",
                                               List.of(new RecordHeader("h", new byte[] {0, -1}),
                                                       new RecordHeader("h", null)))).get();
        }
        List<ConsumerRecord<String, String>> got = kafka.readAll(topic);
        Cases.equal(3, got.size(), "records");
        Cases.equal(null, got.get(0).value(), "tombstone");
        Cases.equal(null, got.get(1).key(), "null key");
        Cases.equal("", got.get(1).value(), "empty value");
        List<byte[]> headers = new ArrayList<>();
        got.get(2).headers().headers("h").forEach(h -> headers.add(h.value()));
        Cases.equal(2, headers.size(), "headers of one name");
        Cases.check(java.util.Arrays.equals(new byte[] {0, -1}, headers.get(0)), "header bytes");
        Cases.check(headers.get(1) == null, "null header");
    }

    private void largeRecords() throws Exception {
        String topic = kafka.topic(1, "max.message.bytes=12000000");
        String large = "x".repeat(9_000_000) + "end";
        try (KafkaProducer<String, String> producer =
                 kafka.producer("max.request.size=12000000", "buffer.memory=64000000")) {
            for (int i = 0; i < 3; i++)
                producer.send(new ProducerRecord<>(topic, "k" + i, large)).get();
        }
        // Smaller than the record: the first record of a fetch comes whole all the same.
        List<ConsumerRecord<String, String>> got =
            kafka.readAll(topic, "max.partition.fetch.bytes=1000", "fetch.max.bytes=1000");
        Cases.equal(3, got.size(), "records");
        for (ConsumerRecord<String, String> r : got)
            Cases.check(large.equals(r.value()), "the large value is not what was sent");
    }

    private void tooLarge() throws Exception {
        String topic = kafka.topic(1, "max.message.bytes=100000");
        try (KafkaProducer<String, String> producer = kafka.producer()) {
            Cases.fails(RecordTooLargeException.class, () -> producer.send(
                new ProducerRecord<>(topic, "k", "x".repeat(200_000))).get(20, TimeUnit.SECONDS));
            producer.send(new ProducerRecord<>(topic, "k", "small")).get(20, TimeUnit.SECONDS);
        }
        Cases.equal(List.of("small"), Cluster.values(kafka.readAll(topic)), "values");
    }

    private void makesTopic() throws Exception {
        String topic = Cluster.fresh("auto");
        kafka.fill(topic, 10);
        Cases.equal(10, kafka.readAll(topic).size(), "records");
    }

    private void internalTopic() throws Exception {
        try (KafkaProducer<String, String> producer = kafka.producer("retries=0")) {
            Cases.fails(ApiException.class, () -> producer.send(
                new ProducerRecord<>("sys.catalog", "k", "v")).get(20, TimeUnit.SECONDS));
        }
    }

    /** Small batches, five requests at a time: none lost, none twice, each partition in order. */
    private void manyInFlight() throws Exception {
        String topic = kafka.topic(6);
        int n = 20000;
        try (KafkaProducer<String, String> producer = kafka.producer(
                 "batch.size=200", "linger.ms=0", "max.in.flight.requests.per.connection=5")) {
            for (int i = 0; i < n; i++)
                producer.send(new ProducerRecord<>(topic, "k" + i % 100, "" + i));
            producer.flush();
        }
        List<ConsumerRecord<String, String>> got = kafka.readAll(topic);
        Cases.equal(Cluster.numbers(n), Cluster.sorted(Cluster.values(got)), "values");
        int[] last = {-1, -1, -1, -1, -1, -1};
        Set<Integer> used = new HashSet<>();
        for (ConsumerRecord<String, String> r : got) {
            int value = Integer.parseInt(r.value());
            Cases.check(value > last[r.partition()], "partition " + r.partition() + ": order");
            last[r.partition()] = value;
            used.add(r.partition());
        }
        Cases.equal(6, used.size(), "partitions used");
    }
}
