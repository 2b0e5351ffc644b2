import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;

/** A Kafka Streams application with exactly-once processing that is killed while it works.
 *
 * usage: java WordCount BOOTSTRAP FOLDER    the case
 *        java WordCount BOOTSTRAP FOLDER NAME    the application: lines of NAME-in, counted by word
 *                                                through a repartition topic, to NAME-out */
final class WordCount {
    private static final int LINES = 8000, PARTITIONS = 2, KILLS = 2, SECONDS_MAX = 270;

    private static String line(int i) {
        return "word" + i % 97 + " word" + i % 31 + " again";
    }

    public static void main(String[] args) throws Exception {
        if (args.length > 2) {
            application(args[0], args[1], args[2]);
            return;
        }
        System.out.println("client kafka-streams " + Main.version() + " exactly_once_v2");
        Cases cases = new Cases(SECONDS_MAX);
        cases.add("streams.word-count-with-kills",
                  () -> counted(new Cluster(args[0]), args[0], args[1]));
        System.exit(cases.run("") == 0 ? 0 : 1);
    }

    private static void application(String bootstrap, String folder, String name) throws Exception {
        Properties p = new Properties();
        p.put("application.id", name);
        p.put("bootstrap.servers", bootstrap);
        p.put("state.dir", folder);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("commit.interval.ms", "100");
        p.put("default.key.serde", Serdes.StringSerde.class.getName());
        p.put("default.value.serde", Serdes.StringSerde.class.getName());
        p.put("consumer.session.timeout.ms", "6000"); // its killed predecessor is in the group
        p.put("consumer.heartbeat.interval.ms", "500");
        p.put("consumer.auto.offset.reset", "earliest");
        p.put("consumer.max.poll.records", "200");
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(name + "-in");
        lines.flatMapValues(text -> Arrays.asList(text.split(" ")))
            .groupBy((key, word) -> word, Grouped.as("words"))
            .count()
            .toStream()
            .mapValues(n -> "" + n)
            .to(name + "-out");
        KafkaStreams streams = new KafkaStreams(builder.build(), p);
        streams.start();
        Thread.sleep(TimeUnit.SECONDS.toMillis(SECONDS_MAX)); // the case ends it before
        System.exit(1);
    }

    private static Process start(String bootstrap, String folder, String name) throws Exception {
        return new ProcessBuilder(
            System.getProperty("java.home") + "/bin/java", "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp",
            System.getProperty("java.class.path"), "WordCount", bootstrap, folder, name)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    /** The last count of each word that read_committed sees. */
    private static Map<String, String> counts(Cluster kafka, String topic) {
        Map<String, String> last = new TreeMap<>();
        kafka.readAll(topic, "isolation.level=read_committed")
            .forEach(r -> last.put(r.key(), r.value()));
        return last;
    }

    /** Kills it while there are lines that it has read and not counted for good, and so again. */
    private static void counted(Cluster kafka, String bootstrap, String folder) throws Exception {
        String name = Cluster.fresh("words");
        kafka.make(name + "-in", PARTITIONS);
        kafka.make(name + "-out", PARTITIONS);
        Map<String, Integer> plain = new HashMap<>();
        Process process = start(bootstrap, folder, name);
        try (KafkaProducer<String, String> producer = kafka.producer("linger.ms=5")) {
            for (int part = 0; part <= KILLS; part++) {
                int before = kafka.readAll(name + "-out").size();
                for (int i = part * LINES; i < (part + 1) * LINES; i++) {
                    producer.send(new ProducerRecord<>(name + "-in", "" + i, line(i)));
                    for (String word : line(i).split(" "))
                        plain.merge(word, 1, Integer::sum);
                }
                producer.flush();
                if (part == KILLS)
                    break;
                Cases.eventually("output before the kill", 80,
                                 () -> kafka.readAll(name + "-out").size() > before);
                process.destroyForcibly().waitFor();
                process = start(bootstrap, folder, name);
            }
            Map<String, String> expected = new TreeMap<>();
            plain.forEach((word, n) -> expected.put(word, "" + n));
            Cases.eventually("the counts of all lines", 60,
                             () -> expected.equals(counts(kafka, name + "-out")));
        } finally {
            process.destroyForcibly().waitFor();
        }
        try (Admin admin = kafka.admin()) {
            List<String> topics = List.copyOf(Admins.get(admin.listTopics().names()));
            Cases.check(topics.stream().anyMatch(
                            t -> t.startsWith(name) && t.endsWith("-changelog")), "no changelog");
            Cases.check(topics.contains(name + "-words-repartition"), "no repartition topic");
        }
    }
}
