import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;

/** Groups whose members change their protocol one by one, while a producer writes. Every record is
 * committed by one member, and by one only.
 *
 * usage: java Migration BOOTSTRAP [PART-OF-A-CASE'S-NAME] */
final class Migration {
    private static final int PARTITIONS = 4, MEMBERS = 2, CASE_SECONDS_MAX = 120;
    private static final String NEW = "group.protocol=consumer";
    private final Cluster kafka;

    private Migration(Cluster kafka) {
        this.kafka = kafka;
    }

    public static void main(String[] args) throws Exception {
        System.out.println("client kafka-clients " + Main.version() + " migration");
        Migration m = new Migration(new Cluster(args[0]));
        Cases cases = new Cases(CASE_SECONDS_MAX);
        for (String assignor : new String[] {"RangeAssignor", "CooperativeStickyAssignor"}) {
            cases.add("migration.upgrade." + assignor, () -> m.rolling(classic(assignor), NEW));
            cases.add("migration.downgrade." + assignor, () -> m.rolling(NEW, classic(assignor)));
        }
        cases.add("migration.static-members", m::staticMembers);
        cases.add("migration.joins-and-leaves", m::joinsAndLeaves);
        System.exit(cases.run(args.length > 1 ? args[1] : "") == 0 ? 0 : 1);
    }

    private static String classic(String assignor) {
        return "partition.assignment.strategy=org.apache.kafka.clients.consumer." + assignor
            + "\nheartbeat.interval.ms=300";
    }

    /** What the members of a group have committed, all together. */
    private static final class Ledger {
        final Map<String, Integer> times = new ConcurrentHashMap<>();

        void add(Collection<String> values) {
            values.forEach(v -> times.merge(v, 1, Integer::sum));
        }
    }

    /** Commits what it polled before it polls again or gives a partition back; what it could not
     * commit and gave back is somebody else's. */
    private static final class Member implements AutoCloseable, ConsumerRebalanceListener {
        private final KafkaConsumer<String, String> consumer;
        private final Ledger ledger;
        private final Map<TopicPartition, List<String>> polled = new HashMap<>();
        private final Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        private final Thread thread;
        private volatile boolean stop;
        private volatile Throwable error;
        volatile int owned;

        Member(KafkaConsumer<String, String> consumer, String topic, Ledger ledger) {
            this.consumer = consumer;
            this.ledger = ledger;
            thread = new Thread(() -> {
                try (consumer) {
                    consumer.subscribe(List.of(topic), this);
                    while (!stop)
                        turn();
                } catch (Throwable e) {
                    e.printStackTrace();
                    error = e;
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        private void turn() {
            consumer.poll(Duration.ofMillis(50)).forEach(r -> {
                TopicPartition part = new TopicPartition(r.topic(), r.partition());
                polled.computeIfAbsent(part, p -> new ArrayList<>()).add(r.value());
                next.put(part, new OffsetAndMetadata(r.offset() + 1));
            });
            owned = consumer.assignment().size();
            commit();
        }

        private void commit() {
            if (next.isEmpty())
                return;
            try {
                consumer.commitSync(next);
            } catch (RebalanceInProgressException | RetriableException e) {
                return; // with the next one, unless the partition is given back first
            } catch (org.apache.kafka.clients.consumer.CommitFailedException e) {
                return;
            }
            polled.values().forEach(ledger::add);
            polled.clear();
            next.clear();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> parts) {
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> parts) {
            commit();
            onPartitionsLost(parts);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> parts) {
            polled.keySet().removeAll(parts);
            next.keySet().removeAll(parts);
        }

        int owned() {
            Cases.check(error == null, "a member failed: " + error);
            return owned;
        }

        @Override
        public void close() throws Exception {
            stop = true;
            thread.join(TimeUnit.SECONDS.toMillis(20));
            Cases.check(!thread.isAlive(), "a member does not stop");
            Cases.check(error == null, "a member failed: " + error);
        }
    }

    /** A group with its topic, and a producer that writes to it until the end. */
    private final class Group implements AutoCloseable {
        final String topic = kafka.topic(PARTITIONS), id = Cluster.fresh("g");
        final Ledger ledger = new Ledger();
        final List<Member> members = new ArrayList<>();
        private final AtomicInteger written = new AtomicInteger();
        private volatile boolean stop;
        private final Thread producing = new Thread(this::produce);

        Group() throws Exception {
            producing.setDaemon(true);
            producing.start();
        }

        private void produce() {
            try (KafkaProducer<String, String> producer = kafka.producer()) {
                while (!stop) {
                    String value = "" + written.getAndIncrement();
                    producer.send(new ProducerRecord<>(topic, "k" + value, value));
                    Thread.sleep(2);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }

        Member member(String settings, String... more) {
            List<String> all = new ArrayList<>(Arrays.asList(settings.split("\n")));
            all.addAll(List.of(more));
            all.add("group.id=" + id);
            all.add("session.timeout.ms=30000");
            if (settings.equals(NEW))
                all.remove("session.timeout.ms=30000"); // the server's to say
            return new Member(kafka.consumer(all.toArray(new String[0])), topic, ledger);
        }

        void settled() throws Exception {
            int share = PARTITIONS / members.size();
            Cases.eventually("even shares", 45, () -> {
                for (Member m : members)
                    if (m.owned() != share)
                        return false;
                return true;
            });
        }

        void is(String type) throws Exception {
            try (Admin admin = kafka.admin()) {
                String found = admin.listConsumerGroups().all().get(20, TimeUnit.SECONDS).stream()
                    .filter(g -> g.groupId().equals(id))
                    .map(g -> g.type().get().toString()).findFirst().orElse("none");
                Cases.equal(type, found.toLowerCase(java.util.Locale.ROOT), "type of the group");
            }
        }

        /** Everything that was written has been committed, once. */
        @Override
        public void close() throws Exception {
            stop = true;
            producing.join(TimeUnit.SECONDS.toMillis(20));
            try {
                Cases.eventually("all " + written.get() + " records", 30,
                                 () -> ledger.times.size() == written.get());
                ledger.times.forEach((value, n) -> Cases.equal(1, n, "commits of " + value));
            } finally {
                for (Member m : members)
                    m.close();
            }
        }
    }

    /** One member after the other is replaced by one with other settings. */
    private void rolling(String from, String to) throws Exception {
        try (Group g = new Group()) {
            for (int i = 0; i < MEMBERS; i++)
                g.members.add(g.member(from));
            g.settled();
            g.is(from.equals(NEW) ? "consumer" : "classic");
            for (int i = 0; i < MEMBERS; i++) {
                g.members.remove(0).close();
                g.members.add(g.member(to));
                g.settled();
                g.is(to.equals(NEW) || i + 1 < MEMBERS ? "consumer" : "classic");
            }
        }
    }

    /** Static members leave nothing behind but their name: the next one of it goes on. */
    private void staticMembers() throws Exception {
        String[] roll = {classic("RangeAssignor"), NEW, classic("RangeAssignor")};
        try (Group g = new Group()) {
            for (int i = 0; i < MEMBERS; i++)
                g.members.add(g.member(roll[0], "group.instance.id=" + i));
            g.settled();
            for (int round = 1; round < roll.length; round++)
                for (int i = 0; i < MEMBERS; i++) {
                    g.members.remove(0).close();
                    g.members.add(g.member(roll[round], "group.instance.id=" + i));
                    g.settled();
                }
            g.is("classic");
        }
    }

    /** Members of both kinds beside each other, which come and go. */
    private void joinsAndLeaves() throws Exception {
        try (Group g = new Group()) {
            g.members.add(g.member(classic("CooperativeStickyAssignor")));
            g.settled();
            g.members.add(g.member(NEW));
            g.settled();
            g.members.add(g.member(NEW));
            g.members.add(g.member(classic("CooperativeStickyAssignor")));
            g.settled();
            g.is("consumer");
            g.members.remove(2).close();
            g.members.remove(0).close();
            g.settled();
            g.members.remove(0).close();
            g.settled();
            g.is("classic");
        }
    }
}
