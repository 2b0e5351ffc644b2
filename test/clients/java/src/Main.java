import java.io.InputStream;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;

/** usage: java Main BOOTSTRAP [MECHANISM [PART-OF-A-CASE'S-NAME]]; "-" is no login. */
final class Main {
    static final String USER = "alice", PASSWORD = "secret"; // as run.py makes them

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
        boolean login = args.length > 1 && !args[1].equals("-");
        System.out.println("client kafka-clients " + version() + (login ? " " + args[1] : ""));
        Cluster kafka = new Cluster(args[0]);
        if (login)
            kafka = kafka.as(args[1], USER, PASSWORD);
        Cases cases = new Cases();
        if (login)
            new Logins(kafka, cases);
        new Producers(kafka, cases);
        if (!login) {
            new Consumers(kafka, cases);
            new Admins(kafka, cases);
            new Records(kafka, cases);
            new Transactions(kafka, cases);
        }
        int failed = cases.run(args.length > 2 ? args[2] : "");
        System.exit(failed == 0 ? 0 : 1);
    }
}
