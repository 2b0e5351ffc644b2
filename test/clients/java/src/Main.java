import java.io.InputStream;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;

/** usage: java Main BOOTSTRAP [PART-OF-A-CASE'S-NAME] */
final class Main {
    /** The version of the jar that is in use, from the jar. */
    static String version() throws Exception {
        Properties p = new Properties();
        try (InputStream in = KafkaProducer.class.getResourceAsStream(
                 "/kafka/kafka-version.properties")) {
            p.load(in);
        }
        return p.getProperty("version");
    }

    public static void main(String[] args) throws Exception {
        System.out.println("client kafka-clients " + version());
        Cluster kafka = new Cluster(args[0]);
        Cases cases = new Cases();
        new Producers(kafka, cases);
        new Consumers(kafka, cases);
        new Admins(kafka, cases);
        int failed = cases.run(args.length > 1 ? args[1] : "");
        System.exit(failed == 0 ? 0 : 1);
    }
}
