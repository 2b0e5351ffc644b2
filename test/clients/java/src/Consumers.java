import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.WakeupException;

/** Cases of the consumer without and with groups (the classic group protocol). */
final class Consumers {
    private static final String ASSIGNOR = "partition.assignment.strategy="
                                           + "org.apache.kafka.clients.consumer.";
    private static final String NEW_PROTOCOL = "group.protocol=consumer"; // KIP-848
    private final Cluster kafka;

    Consumers(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        cases.add("consumer.seek-and-position", this::seek);
        cases.add("consumer.pause-resume", this::pause);
        cases.add("consumer.offsets-for-times", this::times);
        cases.add("consumer.reset-none", this::resetNone);
        cases.add("consumer.out-of-range", this::outOfRange);
        cases.add("consumer.max-poll-records", this::maxPoll);
        cases.add("consumer.wakeup", this::wakeup);
        cases.add("consumer.pattern", this::pattern);
        cases.add("consumer.list-topics", this::listTopics);
        cases.add("consumer.commit", () -> commit("group.protocol=classic"));
        cases.add("consumer.auto-commit", this::autoCommit);
        cases.add("consumer.read-committed", this::readCommitted);
        cases.add("consumer.waits-for-data", this::waits);
        for (String name : new String[] {"RangeAssignor", "RoundRobinAssignor", "StickyAssignor",
                                         "CooperativeStickyAssignor"})
            cases.add("group." + name, () -> group(ASSIGNOR + name, "heartbeat.interval.ms=300"));
        for (String name : new String[] {"uniform", "range"})
            cases.add("group.consumer-protocol." + name,
                      () -> group("group.remote.assignor=" + name, NEW_PROTOCOL));
        cases.add("group.static-member", () -> staticMember("session.timeout.ms=30000"));
        cases.add("group.consumer-protocol.static-member", () -> staticMember(NEW_PROTOCOL));
        cases.add("group.consumer-protocol.commit", () -> commit(NEW_PROTOCOL));
        cases.add("group.grows-with-topic-list", this::changedSubscription);
    }

    private void seek() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 100);
        TopicPartition part = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            consumer.assign(List.of(part));
            consumer.seek(part, 40);
            Cases.equal(40L, consumer.position(part), "position after seek");
            Cases.equal("40", Cluster.poll(consumer, 60).get(0).value(), "first value");
            consumer.seekToBeginning(List.of(part));
            Cases.equal(0L, consumer.position(part), "beginning");
            consumer.seekToEnd(List.of(part));
            Cases.equal(100L, consumer.position(part), "end");
            Cases.equal(Map.of(part, 0L), consumer.beginningOffsets(List.of(part)), "beginnings");
            Cases.equal(Map.of(part, 100L), consumer.endOffsets(List.of(part)), "ends");
            consumer.seek(part, 90);
            Cases.equal(10, Cluster.poll(consumer, 10).size(), "the last ten");
            Cases.equal(0L, consumer.currentLag(part).orElse(-1), "lag");
        }
    }

    private void pause() throws Exception {
        String topic = kafka.topic(2);
        kafka.fill(topic, 200);
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            consumer.assign(List.of(zero, one));
            consumer.seekToBeginning(List.of(zero, one));
            consumer.pause(List.of(zero));
            long ones = consumer.endOffsets(List.of(one)).get(one);
            for (ConsumerRecord<String, String> r : Cluster.poll(consumer, (int) ones))
                Cases.equal(1, r.partition(), "partition while 0 is paused");
            consumer.resume(List.of(zero));
            Cluster.poll(consumer, 200 - (int) ones);
        }
    }

    private void times() throws Exception {
        String topic = kafka.topic(1);
        try (KafkaProducer<String, String> producer = kafka.producer()) {
            for (int i = 0; i < 10; i++)
                producer.send(new ProducerRecord<>(topic, 0, 1000L * (i + 1), "k", "" + i)).get();
        }
        TopicPartition part = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(part, 4500L)).get(part);
            Cases.equal(4L, found.offset(), "offset of the first record at or after 4500");
            Cases.equal(5000L, found.timestamp(), "its timestamp");
            Cases.equal(null, consumer.offsetsForTimes(Map.of(part, 99999L)).get(part), "later");
        }
    }

    private void resetNone() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 5);
        try (KafkaConsumer<String, String> consumer = kafka.consumer(
                 "auto.offset.reset=none", "group.id=" + Cluster.fresh("g"))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            Cases.fails(NoOffsetForPartitionException.class,
                        () -> consumer.poll(Duration.ofSeconds(10)));
        }
    }

    private void outOfRange() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 5);
        TopicPartition part = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = kafka.consumer("auto.offset.reset=none")) {
            consumer.assign(List.of(part));
            consumer.seek(part, 1000);
            Cases.fails(OffsetOutOfRangeException.class, () -> {
                for (int i = 0; i < 50; i++)
                    consumer.poll(Duration.ofMillis(200));
            });
        }
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            consumer.assign(List.of(part));
            consumer.seek(part, 1000);
            Cases.equal(Cluster.numbers(5), Cluster.values(Cluster.poll(consumer, 5)), "reset");
        }
    }

    private void maxPoll() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 100);
        try (KafkaConsumer<String, String> consumer = kafka.consumer("max.poll.records=7")) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seekToBeginning(consumer.assignment());
            int n = 0;
            while (n < 100) {
                int got = consumer.poll(Duration.ofSeconds(10)).count();
                Cases.check(got > 0 && got <= 7, "records of one poll: " + got);
                n += got;
            }
        }
    }

    private void wakeup() throws Exception {
        String topic = kafka.topic(1);
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(300);
                } catch (InterruptedException e) {
                    return;
                }
                consumer.wakeup();
            });
            thread.start();
            Cases.fails(WakeupException.class, () -> consumer.poll(Duration.ofSeconds(20)));
            thread.join();
        }
    }

    private void pattern() throws Exception {
        String prefix = Cluster.fresh("pat");
        kafka.fill(prefix + ".a", 5);
        kafka.fill(prefix + ".b", 5);
        try (KafkaConsumer<String, String> consumer = kafka.consumer(
                 "group.id=" + Cluster.fresh("g"), "metadata.max.age.ms=500")) {
            consumer.subscribe(Pattern.compile(Pattern.quote(prefix) + "\\.[a-c]"));
            Cluster.poll(consumer, 10);
            consumer.commitSync();
            kafka.fill(prefix + ".c", 5);
            Cluster.poll(consumer, 5);
        }
    }

    private void listTopics() throws Exception {
        String topic = kafka.topic(3);
        try (KafkaConsumer<String, String> consumer = kafka.consumer()) {
            Cases.equal(3, consumer.listTopics().get(topic).size(), "partitions in the list");
            Cases.equal(3, consumer.partitionsFor(topic).size(), "partitions");
        }
    }

    private void commit(String protocol) throws Exception {
        String topic = kafka.topic(2);
        kafka.fill(topic, 100);
        String group = "group.id=" + Cluster.fresh("g");
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        try (KafkaConsumer<String, String> consumer = kafka.consumer(group, protocol)) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 100);
            consumer.commitSync(Map.of(zero, new OffsetAndMetadata(7, "note")));
            AtomicInteger done = new AtomicInteger();
            consumer.commitAsync(Map.of(one, new OffsetAndMetadata(3)), (offsets, error) -> {
                Cases.equal(null, error, "error of commitAsync");
                done.incrementAndGet();
            });
            Cases.eventually("the callback", 20, () -> {
                consumer.poll(Duration.ofMillis(50));
                return done.get() == 1;
            });
            Map<TopicPartition, OffsetAndMetadata> found = consumer.committed(Set.of(zero, one));
            Cases.equal(7L, found.get(zero).offset(), "committed");
            Cases.equal("note", found.get(zero).metadata(), "metadata");
            Cases.equal(3L, found.get(one).offset(), "committed asynchronously");
        }
        try (KafkaConsumer<String, String> consumer = kafka.consumer(group, protocol)) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 100 - 7 - 3);
            consumer.commitSync();
        }
        try (KafkaConsumer<String, String> consumer = kafka.consumer(group, protocol)) {
            Cases.equal(100L, consumer.committed(Set.of(zero, one)).values().stream().mapToLong(
                                  OffsetAndMetadata::offset).sum(), "sum of what is committed");
        }
    }

    private void autoCommit() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 50);
        String group = "group.id=" + Cluster.fresh("g");
        try (KafkaConsumer<String, String> consumer =
                 kafka.consumer(group, "enable.auto.commit=true")) {
            consumer.subscribe(List.of(topic));
            Cluster.poll(consumer, 50);
        }
        try (KafkaConsumer<String, String> consumer = kafka.consumer(group)) {
            TopicPartition part = new TopicPartition(topic, 0);
            Cases.equal(50L, consumer.committed(Set.of(part)).get(part).offset(), "committed");
        }
    }

    private void readCommitted() throws Exception {
        String topic = kafka.topic(3);
        kafka.fill(topic, 300);
        Cases.equal(Cluster.numbers(300),
                    Cluster.sorted(Cluster.values(
                        kafka.readAll(topic, "isolation.level=read_committed"))), "values");
    }

    /** A poll that finds nothing waits at the server and is answered by the record that comes. */
    private void waits() throws Exception {
        String topic = kafka.topic(1);
        try (KafkaProducer<String, String> producer = kafka.producer()) {
            KafkaConsumer<String, String> consumer =
                kafka.consumer("fetch.max.wait.ms=60000", "request.timeout.ms=90000");
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.poll(Duration.ofMillis(500));
            producer.send(new ProducerRecord<>(topic, "k", "late")).get();
            Cases.equal("late", Cluster.poll(consumer, 1).get(0).value(), "value");
            consumer.close(Duration.ZERO); // the next fetch is under way for a minute
        }
    }

    /** A member on its own thread that polls until told to stop. */
    static final class Member implements AutoCloseable, ConsumerRebalanceListener {
        final Set<String> values = java.util.concurrent.ConcurrentHashMap.newKeySet();
        final AtomicInteger assignments = new AtomicInteger();
        volatile Set<TopicPartition> owned = Set.of();
        private volatile boolean stop;
        private volatile Throwable error;
        private final Thread thread;

        Member(KafkaConsumer<String, String> consumer, Collection<String> topics) {
            thread = new Thread(() -> {
                try (consumer) {
                    consumer.subscribe(topics, this);
                    while (!stop) {
                        consumer.poll(Duration.ofMillis(100)).forEach(r -> values.add(r.value()));
                        owned = Set.copyOf(consumer.assignment());
                        consumer.commitAsync();
                    }
                    while (!committed(consumer))
                        consumer.poll(Duration.ofMillis(100)).forEach(r -> values.add(r.value()));
                } catch (Throwable e) {
                    error = e;
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        /** False while another member's leaving has the group rebalance: poll goes on with it. */
        private static boolean committed(KafkaConsumer<String, String> consumer) {
            try {
                consumer.commitSync();
                return true;
            } catch (RebalanceInProgressException e) {
                return false;
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> parts) {
            assignments.incrementAndGet();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> parts) {
        }

        int owned() {
            Cases.check(error == null, "a member failed: " + error);
            return owned.size();
        }

        @Override
        public void close() throws Exception {
            stop = true;
            thread.join(TimeUnit.SECONDS.toMillis(20));
            Cases.check(!thread.isAlive(), "a member does not stop");
            Cases.check(error == null, "a member failed: " + error);
        }
    }

    /** One member has six partitions, shares them with two others, takes over when they leave. */
    private void group(String... settings) throws Exception {
        String topic = kafka.topic(6);
        kafka.fill(topic, 300);
        String[] all = java.util.Arrays.copyOf(settings, settings.length + 1);
        all[settings.length] = "group.id=" + Cluster.fresh("g");
        sharedBy(kafka, topic, all);
    }

    static void sharedBy(Cluster kafka, String topic, String... settings) throws Exception {
        List<String> topics = List.of(topic);
        Set<String> all = new HashSet<>();
        try (Member a = new Member(kafka.consumer(settings), topics)) {
            Cases.eventually("all 6 for one member", 20, () -> a.owned() == 6);
            try (Member b = new Member(kafka.consumer(settings), topics);
                 Member c = new Member(kafka.consumer(settings), topics)) {
                Cases.eventually("2 partitions for each of three", 30,
                                 () -> a.owned() == 2 && b.owned() == 2 && c.owned() == 2);
                Set<TopicPartition> union = new HashSet<>(a.owned);
                union.addAll(b.owned);
                union.addAll(c.owned);
                Cases.equal(6, union.size(), "different partitions");
                kafka.fill(topic, 600);
                Cases.eventually("every value at one of them", 20, () -> {
                    for (Member m : List.of(a, b, c))
                        all.addAll(m.values);
                    return all.size() == 600;
                });
            }
            Cases.eventually("all 6 for the one that stays", 30, () -> a.owned() == 6);
        }
    }

    /** A static member that comes back within its session gets its partitions; no rebalance. */
    private void staticMember(String setting) throws Exception {
        String topic = kafka.topic(4), group = "group.id=" + Cluster.fresh("g");
        try (Member a = new Member(kafka.consumer(group, setting, "group.instance.id=a"),
                                   List.of(topic))) {
            Set<TopicPartition> before;
            int assignments;
            try (Member b = new Member(kafka.consumer(group, setting, "group.instance.id=b"),
                                       List.of(topic))) {
                Cases.eventually("2 and 2", 20, () -> a.owned() == 2 && b.owned() == 2);
                before = b.owned;
                assignments = a.assignments.get();
            }
            try (Member b = new Member(kafka.consumer(group, setting, "group.instance.id=b"),
                                       List.of(topic))) {
                Cases.eventually("2 again", 20, () -> b.owned() == 2);
                Cases.equal(before, b.owned, "partitions of the member that came back");
            }
            Cases.equal(assignments, a.assignments.get(), "assignments of the other member");
        }
    }

    private void changedSubscription() throws Exception {
        String one = kafka.topic(2), two = kafka.topic(2);
        kafka.fill(one, 10);
        kafka.fill(two, 10);
        try (KafkaConsumer<String, String> consumer =
                 kafka.consumer("group.id=" + Cluster.fresh("g"))) {
            consumer.subscribe(List.of(one));
            Cluster.poll(consumer, 10);
            consumer.commitSync();
            consumer.subscribe(List.of(one, two));
            List<ConsumerRecord<String, String>> got = new ArrayList<>(Cluster.poll(consumer, 10));
            for (ConsumerRecord<String, String> r : got)
                Cases.equal(two, r.topic(), "topic");
            consumer.unsubscribe();
            Cases.equal(Set.of(), consumer.assignment(), "assignment");
        }
    }
}
