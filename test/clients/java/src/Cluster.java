import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The server under test and short ways to make clients of it. Settings are "name=value". */
final class Cluster {
    static final int READ_SECONDS_MAX = 30;

    private final String bootstrap;
    private final String[] common;

    Cluster(String bootstrap, String... common) {
        this.bootstrap = bootstrap;
        this.common = common;
    }

    /** The same server for clients that log in. */
    Cluster as(String mechanism, String user, String password) {
        String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule"
                                                  : "scram.ScramLoginModule";
        return new Cluster(bootstrap, "security.protocol=SASL_PLAINTEXT",
                           "sasl.mechanism=" + mechanism,
                           "sasl.jaas.config=org.apache.kafka.common.security." + module
                               + " required username=\"" + user + "\" password=\"" + password
                               + "\";");
    }

    /** The same server for clients that do not log in. */
    Cluster anonymous() {
        return new Cluster(bootstrap);
    }

    String bootstrap() {
        return bootstrap;
    }

    static String fresh(String what) {
        return what + "-" + UUID.randomUUID().toString().substring(0, 12);
    }

    private Properties settings(String... more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        for (String[] list : new String[][] {common, more})
            for (String s : list)
                p.put(s.substring(0, s.indexOf('=')), s.substring(s.indexOf('=') + 1));
        return p;
    }

    Properties properties(String... more) {
        return settings(more);
    }

    Admin admin(String... more) {
        return Admin.create(settings(more));
    }

    KafkaProducer<String, String> producer(String... more) {
        return new KafkaProducer<>(settings(more), new StringSerializer(), new StringSerializer());
    }

    KafkaConsumer<String, String> consumer(String... more) {
        Properties p = settings(more);
        p.putIfAbsent("auto.offset.reset", "earliest");
        p.putIfAbsent("enable.auto.commit", "false");
        p.putIfAbsent("fetch.max.wait.ms", "100"); // closing waits for a fetch under way
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    /** Makes a topic of a fresh name; settings are the topic's. */
    String topic(int partitions, String... settings) throws Exception {
        String name = fresh("java");
        make(name, partitions, settings);
        return name;
    }

    void make(String name, int partitions, String... settings) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (String s : settings)
            configs.put(s.substring(0, s.indexOf('=')), s.substring(s.indexOf('=') + 1));
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(configs)))
                .all().get(20, TimeUnit.SECONDS);
        }
    }

    /** Produces the values 0 .. n-1 with key "k" + value and waits until all are acknowledged. */
    void fill(String topic, int n) throws Exception {
        try (KafkaProducer<String, String> producer = producer()) {
            List<java.util.concurrent.Future<?>> sent = new ArrayList<>();
            for (int i = 0; i < n; i++)
                sent.add(producer.send(new ProducerRecord<>(topic, "k" + i, "" + i)));
            for (java.util.concurrent.Future<?> f : sent)
                f.get(20, TimeUnit.SECONDS);
        }
    }

    /** Polls until `n` records are there, at most READ_SECONDS_MAX. */
    static List<ConsumerRecord<String, String>> poll(KafkaConsumer<String, String> consumer,
                                                     int n) {
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(READ_SECONDS_MAX);
        while (got.size() < n && System.nanoTime() < end)
            consumer.poll(Duration.ofMillis(200)).forEach(got::add);
        Cases.equal(n, got.size(), "records read");
        return got;
    }

    /** Everything in a topic, up to its end offsets as of now, in the order of each partition. */
    List<ConsumerRecord<String, String>> readAll(String topic, String... more) {
        try (KafkaConsumer<String, String> consumer = consumer(more)) {
            List<TopicPartition> parts = partitions(consumer, topic);
            consumer.assign(parts);
            consumer.seekToBeginning(parts);
            return untilEnd(consumer, consumer.endOffsets(parts));
        }
    }

    static List<TopicPartition> partitions(KafkaConsumer<String, String> consumer, String topic) {
        List<TopicPartition> parts = new ArrayList<>();
        consumer.partitionsFor(topic).forEach(
            info -> parts.add(new TopicPartition(topic, info.partition())));
        return parts;
    }

    private static List<ConsumerRecord<String, String>> untilEnd(
        KafkaConsumer<String, String> consumer, Map<TopicPartition, Long> ends) {
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(READ_SECONDS_MAX);
        while (ends.entrySet().stream().anyMatch(
                   e -> consumer.position(e.getKey()) < e.getValue())) {
            Cases.check(System.nanoTime() < end, "the end of the topic is not reached in time");
            consumer.poll(Duration.ofMillis(100)).forEach(got::add);
        }
        return got;
    }

    static List<String> values(Collection<ConsumerRecord<String, String>> records) {
        List<String> values = new ArrayList<>();
        records.forEach(r -> values.add(r.value()));
        return values;
    }

    /** "0" .. "n-1" */
    static List<String> numbers(int n) {
        List<String> all = new ArrayList<>();
        for (int i = 0; i < n; i++)
            all.add("" + i);
        return all;
    }

    /** The values as numbers in ascending order, as text. */
    static List<String> sorted(Collection<String> values) {
        List<String> list = new ArrayList<>(values);
        list.sort(java.util.Comparator.comparingInt(Integer::parseInt));
        return list;
    }
}
