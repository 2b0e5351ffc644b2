import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.admin.UserScramCredentialsDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.GroupAuthorizationException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.errors.UnsupportedSaslMechanismException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourcePatternFilter;
import org.apache.kafka.common.resource.ResourceType;

/** Cases of a server that wants a login, and of the users that log in. */
final class Logins {
    private final Cluster kafka;

    Logins(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        for (String mechanism : new String[] {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}) {
            cases.add("login." + mechanism, () -> login(mechanism));
            cases.add("login." + mechanism + ".wrong-password", () -> wrong(mechanism, Main.USER));
            cases.add("login." + mechanism + ".wrong-user", () -> wrong(mechanism, "nobody"));
        }
        cases.add("login.unknown-mechanism", this::unknownMechanism);
        cases.add("login.none", this::none);
        cases.add("login.users", this::users);
        cases.add("login.acls", this::acls);
    }

    private void login(String mechanism) throws Exception {
        Cluster as = kafka.as(mechanism, Main.USER, Main.PASSWORD);
        String topic = as.topic(1);
        as.fill(topic, 100);
        Cases.equal(Cluster.numbers(100), Cluster.values(as.readAll(topic)), "values");
    }

    private static void send(Cluster as) throws Exception {
        try (KafkaProducer<String, String> producer = as.producer("max.block.ms=3000")) {
            producer.send(new ProducerRecord<>("t", "k", "v")).get(20, TimeUnit.SECONDS);
        }
    }

    private void wrong(String mechanism, String user) {
        Cases.fails(SaslAuthenticationException.class,
                    () -> send(kafka.as(mechanism, user, "not the password")));
    }

    private void unknownMechanism() throws Exception {
        Cluster as = new Cluster(
            kafka.bootstrap(), "security.protocol=SASL_PLAINTEXT", "sasl.mechanism=OAUTHBEARER",
            "sasl.jaas.config=org.apache.kafka.common.security.oauthbearer."
                + "OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";");
        Cases.fails(UnsupportedSaslMechanismException.class, () -> send(as));
    }

    /** Without a login the connection is of no use; the client tries until it gives up. */
    private void none() {
        Cases.fails(TimeoutException.class, () -> send(kafka.anonymous()));
    }

    private static AclBinding acl(ResourceType type, String name, AclOperation operation,
                                  String user, AclPermissionType permission) {
        return new AclBinding(
            new ResourcePattern(type, name, PatternType.LITERAL),
            new AccessControlEntry("User:" + user, "*", operation, permission));
    }

    /** A user reads and writes what lists allow, and nothing else. */
    private void acls() throws Exception {
        String topic = kafka.topic(1), other = kafka.topic(1), user = Cluster.fresh("user");
        ScramCredentialInfo info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096);
        AclBinding deny = acl(ResourceType.TOPIC, topic, AclOperation.WRITE, user,
                              AclPermissionType.DENY);
        Cluster as = kafka.as("SCRAM-SHA-512", user, "pw");
        try (Admin admin = kafka.admin()) {
            Admins.get(admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion(user, info, "pw"))).all());
            Cases.fails(TopicAuthorizationException.class, () -> as.fill(topic, 1));
            List<AclBinding> allow = List.of(
                acl(ResourceType.TOPIC, topic, AclOperation.READ, user, AclPermissionType.ALLOW),
                acl(ResourceType.TOPIC, topic, AclOperation.WRITE, user, AclPermissionType.ALLOW));
            Admins.get(admin.createAcls(allow).all());
            as.fill(topic, 10);
            Cases.equal(Cluster.numbers(10), Cluster.values(as.readAll(topic)), "values");
            Cases.fails(TopicAuthorizationException.class, () -> as.fill(other, 1));
            Cases.fails(GroupAuthorizationException.class, () -> {
                try (KafkaConsumer<String, String> consumer = as.consumer("group.id=g")) {
                    consumer.subscribe(List.of(topic));
                    Cluster.poll(consumer, 10);
                }
            });
            Admins.get(admin.createAcls(List.of(deny)).all());
            // Without a topic to write to, it may not even number its batches.
            Cases.fails(AuthorizationException.class, () -> as.fill(topic, 1));
            AclBindingFilter mine = new AclBindingFilter(
                ResourcePatternFilter.ANY,
                new AccessControlEntryFilter("User:" + user, null, AclOperation.ANY,
                                             AclPermissionType.ANY));
            Cases.equal(3, Admins.get(admin.describeAcls(mine).values()).size(), "lists");
            Cases.equal(1, Admins.get(admin.deleteAcls(List.of(deny.toFilter())).all()).size(),
                        "lists deleted");
            as.fill(topic, 1);
        }
    }

    private void users() throws Exception {
        ScramCredentialInfo info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192);
        String name = Cluster.fresh("user");
        try (Admin admin = kafka.admin()) {
            Admins.get(admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion(name, info, "other secret"))).all());
            Map<String, UserScramCredentialsDescription> all =
                Admins.get(admin.describeUserScramCredentials().all());
            Cases.check(all.containsKey(name) && all.containsKey(Main.USER), "users: " + all);
            Cases.equal(8192, all.get(name).credentialInfos().get(0).iterations(), "iterations");
            Cases.fails(TopicAuthorizationException.class, // logged in, and may do nothing
                        () -> send(kafka.as("SCRAM-SHA-256", name, "other secret")));
            Admins.get(admin.alterUserScramCredentials(List.of(
                new UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_256))).all());
            Cases.fails(SaslAuthenticationException.class,
                        () -> send(kafka.as("SCRAM-SHA-256", name, "other secret")));
        }
    }
}
