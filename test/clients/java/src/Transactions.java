import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;

/** Cases of the transactional producer and of what a consumer sees of it. */
final class Transactions {
    private static final String COMMITTED = "isolation.level=read_committed";
    private final Cluster kafka;

    Transactions(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        cases.add("transaction.commit", this::commit);
        cases.add("transaction.abort", this::abort);
        cases.add("transaction.open-is-not-seen", this::open);
        cases.add("transaction.many", this::many);
        cases.add("transaction.fenced", this::fenced);
        cases.add("transaction.close-aborts", this::closeAborts);
        cases.add("transaction.times-out", this::timesOut);
        cases.add("transaction.offsets", this::offsets);
        cases.add("transaction.copy-exactly-once", this::copy);
        cases.add("transaction.admin", this::admin);
    }

    private KafkaProducer<String, String> producer(String id, String... more) {
        String[] settings = java.util.Arrays.copyOf(more, more.length + 1);
        settings[more.length] = "transactional.id=" + id;
        KafkaProducer<String, String> producer = kafka.producer(settings);
        producer.initTransactions();
        return producer;
    }

    private static void send(KafkaProducer<String, String> producer, String topic, int from, int to)
        throws Exception {
        for (int i = from; i < to; i++)
            producer.send(new ProducerRecord<>(topic, "k" + i, "" + i));
        producer.flush();
    }

    private List<String> committed(String topic) {
        return Cluster.sorted(Cluster.values(kafka.readAll(topic, COMMITTED)));
    }

    private void commit() throws Exception {
        String topic = kafka.topic(3), other = kafka.topic(1);
        try (KafkaProducer<String, String> producer = producer(Cluster.fresh("tx"))) {
            producer.beginTransaction();
            send(producer, topic, 0, 100);
            send(producer, other, 0, 10);
            producer.commitTransaction();
            producer.beginTransaction();
            send(producer, topic, 100, 200);
            producer.commitTransaction();
        }
        Cases.equal(Cluster.numbers(200), committed(topic), "values");
        Cases.equal(Cluster.numbers(10), committed(other), "values of the other topic");
    }

    private void abort() throws Exception {
        String topic = kafka.topic(2);
        try (KafkaProducer<String, String> producer = producer(Cluster.fresh("tx"))) {
            producer.beginTransaction();
            send(producer, topic, 1000, 1100);
            producer.abortTransaction();
            producer.beginTransaction();
            send(producer, topic, 0, 100);
            producer.commitTransaction();
        }
        Cases.equal(Cluster.numbers(100), committed(topic), "what read_committed sees");
        Cases.equal(200, kafka.readAll(topic).size(), "what read_uncommitted sees");
    }

    /** Records behind an open transaction wait for it, also those of others. */
    private void open() throws Exception {
        String topic = kafka.topic(1);
        TopicPartition part = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = producer(Cluster.fresh("tx"));
             KafkaConsumer<String, String> consumer = kafka.consumer(COMMITTED)) {
            kafka.fill(topic, 5);
            producer.beginTransaction();
            send(producer, topic, 1000, 1010);
            kafka.fill(topic, 5);
            consumer.assign(List.of(part));
            consumer.seekToBeginning(List.of(part));
            Cases.equal(Cluster.numbers(5), Cluster.values(Cluster.poll(consumer, 5)), "before");
            Cases.equal(5L, consumer.endOffsets(List.of(part)).get(part), "last stable offset");
            Cases.check(consumer.poll(Duration.ofMillis(500)).isEmpty(), "what is open was seen");
            producer.abortTransaction();
            Cases.equal(Cluster.numbers(5), Cluster.values(Cluster.poll(consumer, 5)), "after");
        }
    }

    /** Committed and aborted ones in turn, over several partitions and producers. */
    private void many() throws Exception {
        String topic = kafka.topic(4);
        try (KafkaProducer<String, String> a = producer(Cluster.fresh("tx"), "linger.ms=0");
             KafkaProducer<String, String> b = producer(Cluster.fresh("tx"), "linger.ms=0")) {
            for (int i = 0; i < 100; i++) {
                a.beginTransaction();
                b.beginTransaction();
                send(a, topic, i % 2 == 0 ? i * 10 : 100000, i % 2 == 0 ? i * 10 + 10 : 100010);
                send(b, topic, i % 2 == 1 ? i * 10 : 100000, i % 2 == 1 ? i * 10 + 10 : 100010);
                if (i % 2 == 0) {
                    a.commitTransaction();
                    b.abortTransaction();
                } else {
                    a.abortTransaction();
                    b.commitTransaction();
                }
            }
        }
        Cases.equal(Cluster.numbers(1000), committed(topic), "values");
    }

    /** A second producer with the same id ends the first one's transaction, and the first one. */
    private void fenced() throws Exception {
        String topic = kafka.topic(1), id = Cluster.fresh("tx");
        KafkaProducer<String, String> old = producer(id);
        old.beginTransaction();
        send(old, topic, 1000, 1010);
        try (KafkaProducer<String, String> now = producer(id)) {
            now.beginTransaction();
            send(now, topic, 0, 10);
            now.commitTransaction();
            try {
                Cases.fails(ProducerFencedException.class, () -> {
                    old.send(new ProducerRecord<>(topic, "k", "9999")).get();
                    old.commitTransaction();
                });
            } catch (Cases.Wrong e) {
                // The partition may say it first, in other words.
                Cases.fails(InvalidProducerEpochException.class, old::commitTransaction);
            }
        }
        old.close(Duration.ZERO);
        Cases.equal(Cluster.numbers(10), committed(topic), "values");
    }

    private void closeAborts() throws Exception {
        String topic = kafka.topic(1), id = Cluster.fresh("tx");
        KafkaProducer<String, String> gone = producer(id);
        gone.beginTransaction();
        send(gone, topic, 1000, 1010);
        gone.close(Duration.ZERO);
        producer(id).close(); // its initTransactions ends what was open
        kafka.fill(topic, 10);
        Cases.equal(Cluster.numbers(10), committed(topic), "values");
    }

    private void timesOut() throws Exception {
        String topic = kafka.topic(1);
        KafkaProducer<String, String> slow = producer(Cluster.fresh("tx"),
                                                      "transaction.timeout.ms=1000");
        slow.beginTransaction();
        send(slow, topic, 1000, 1010);
        kafka.fill(topic, 10);
        Cases.eventually("what comes after the transaction that timed out", 40,
                         () -> committed(topic).equals(Cluster.numbers(10)));
        slow.close(Duration.ZERO);
    }

    /** Offsets are committed with the transaction, and not without it. */
    private void offsets() throws Exception {
        String topic = kafka.topic(1), group = Cluster.fresh("g");
        TopicPartition part = new TopicPartition(topic, 0);
        kafka.fill(topic, 10);
        try (KafkaProducer<String, String> producer = producer(Cluster.fresh("tx"));
             KafkaConsumer<String, String> consumer = kafka.consumer("group.id=" + group)) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 10);
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(part, new OffsetAndMetadata(7)),
                                              consumer.groupMetadata());
            producer.abortTransaction();
            Cases.equal(null, consumer.committed(Set.of(part)).get(part), "after the abort");
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(part, new OffsetAndMetadata(8)),
                                              consumer.groupMetadata());
            producer.commitTransaction();
            Cases.equal(8L, consumer.committed(Set.of(part)).get(part).offset(), "committed");
        }
    }

    /** Reads, writes and commits in one; every third batch is aborted and read again. */
    private void copy() throws Exception {
        String from = kafka.topic(3), to = kafka.topic(3), group = "group.id=" + Cluster.fresh("g");
        kafka.fill(from, 2000);
        int done = 0, round = 0;
        try (KafkaProducer<String, String> producer = producer(Cluster.fresh("tx"));
             KafkaConsumer<String, String> consumer =
                 kafka.consumer(group, COMMITTED, "max.poll.records=100")) {
            consumer.subscribe(List.of(from));
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(50);
            while (done < 2000) {
                Cases.check(System.nanoTime() < end, "copied only " + done);
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty())
                    continue;
                Map<TopicPartition, OffsetAndMetadata> starts = new HashMap<>();
                Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
                producer.beginTransaction();
                for (ConsumerRecord<String, String> r : records) {
                    TopicPartition part = new TopicPartition(r.topic(), r.partition());
                    producer.send(new ProducerRecord<>(to, r.key(), r.value()));
                    starts.putIfAbsent(part, new OffsetAndMetadata(r.offset()));
                    ends.put(part, new OffsetAndMetadata(r.offset() + 1));
                }
                producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
                if (++round % 3 == 0) {
                    producer.abortTransaction();
                    starts.forEach(consumer::seek);
                } else {
                    producer.commitTransaction();
                    done += records.count();
                }
            }
        }
        Cases.equal(Cluster.numbers(2000), committed(to), "values");
    }

    private void admin() throws Exception {
        String topic = kafka.topic(1), id = Cluster.fresh("tx");
        TopicPartition part = new TopicPartition(topic, 0);
        try (Admin admin = kafka.admin(); KafkaProducer<String, String> producer = producer(id)) {
            producer.beginTransaction();
            send(producer, topic, 0, 10);
            Cases.check(Admins.get(admin.listTransactions(new ListTransactionsOptions()).all())
                            .stream().anyMatch(t -> t.transactionalId().equals(id)), "not listed");
            TransactionDescription found =
                Admins.get(admin.describeTransactions(List.of(id)).description(id));
            Cases.equal("Ongoing", found.state().toString(), "state");
            Cases.equal(Set.of(part), found.topicPartitions(), "partitions");
            Cases.equal(1, Admins.get(admin.describeProducers(List.of(part)).partitionResult(part))
                               .activeProducers().size(), "producers of the partition");
            Admins.get(admin.fenceProducers(List.of(id)).all());
            Cases.fails(ProducerFencedException.class, producer::commitTransaction);
        }
        Cases.equal(List.of(), committed(topic), "values");
    }
}
