import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Cases of the admin client: cluster, topics, settings, offsets, groups. */
final class Admins {
    private final Cluster kafka;

    Admins(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        cases.add("admin.cluster", this::cluster);
        cases.add("admin.topics", this::topics);
        cases.add("admin.topic-errors", this::topicErrors);
        cases.add("admin.topic-by-id", this::topicById);
        cases.add("admin.partitions", this::partitions);
        cases.add("admin.topic-configs", this::topicConfigs);
        cases.add("admin.alter-configs", this::alterConfigs);
        cases.add("admin.broker-configs", this::brokerConfigs);
        cases.add("admin.list-offsets", this::listOffsets);
        cases.add("admin.groups", this::groups);
        cases.add("admin.remove-members", this::removeMembers);
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    private void cluster() throws Exception {
        try (Admin admin = kafka.admin()) {
            Cases.equal(1, get(admin.describeCluster().nodes()).size(), "nodes");
            Cases.equal(1, get(admin.describeCluster().controller()).id(), "controller");
            Cases.check(!get(admin.describeCluster().clusterId()).isEmpty(), "no cluster id");
        }
    }

    private void topics() throws Exception {
        String name = Cluster.fresh("t");
        try (Admin admin = kafka.admin()) {
            CreateTopicsResult made = admin.createTopics(List.of(
                new NewTopic(name, 3, (short) 1).configs(Map.of("retention.ms", "3600000"))));
            get(made.all());
            Cases.equal(3, get(made.numPartitions(name)), "partitions made");
            Cases.equal("3600000", get(made.config(name)).get("retention.ms").value(), "setting");
            Cases.check(get(admin.listTopics().names()).contains(name), "not in the list");
            TopicDescription found =
                get(admin.describeTopics(List.of(name)).allTopicNames()).get(name);
            Cases.equal(3, found.partitions().size(), "partitions");
            Cases.equal(1, found.partitions().get(0).leader().id(), "leader");
            Cases.equal(1, found.partitions().get(0).isr().size(), "in sync");
            get(admin.deleteTopics(List.of(name)).all());
            Cases.check(!get(admin.listTopics().names()).contains(name), "still in the list");
        }
    }

    private void topicErrors() throws Exception {
        String name = kafka.topic(1);
        try (Admin admin = kafka.admin()) {
            Cases.fails(TopicExistsException.class, () -> get(admin.createTopics(
                List.of(new NewTopic(name, 1, (short) 1))).all()));
            Cases.fails(InvalidReplicationFactorException.class, () -> get(admin.createTopics(
                List.of(new NewTopic(name + "3", 1, (short) 3))).all()));
            Cases.fails(InvalidTopicException.class, () -> get(admin.createTopics(
                List.of(new NewTopic("no/slash", 1, (short) 1))).all()));
            Cases.fails(UnknownTopicOrPartitionException.class, () -> get(
                admin.deleteTopics(List.of("no-such-topic")).all()));
            Cases.fails(UnknownTopicOrPartitionException.class, () -> get(
                admin.describeTopics(List.of("no-such-topic")).allTopicNames()));
        }
    }

    private void topicById() throws Exception {
        String name = kafka.topic(2);
        try (Admin admin = kafka.admin()) {
            Uuid id = get(admin.describeTopics(List.of(name)).allTopicNames()).get(name).topicId();
            TopicCollection ids = TopicCollection.ofTopicIds(List.of(id));
            Cases.equal(name, get(admin.describeTopics(ids).allTopicIds()).get(id).name(), "name");
            get(admin.deleteTopics(ids).all());
            Cases.check(!get(admin.listTopics().names()).contains(name), "still in the list");
        }
    }

    private void partitions() throws Exception {
        String name = kafka.topic(2);
        Map<String, NewPartitions> wanted = Map.of(name, NewPartitions.increaseTo(5));
        try (Admin admin = kafka.admin();
             KafkaProducer<String, String> producer = kafka.producer()) {
            get(admin.createPartitions(wanted,
                new CreatePartitionsOptions().validateOnly(true)).all());
            Cases.equal(2, producer.partitionsFor(name).size(), "partitions after a dry run");
            get(admin.createPartitions(wanted).all());
            Cases.equal(5, get(admin.describeTopics(List.of(name)).allTopicNames()).get(name)
                .partitions().size(), "partitions");
            Cases.fails(InvalidPartitionsException.class,
                () -> get(admin.createPartitions(wanted).all()));
            Cases.fails(UnknownTopicOrPartitionException.class,
                () -> get(admin.createPartitions(
                    Map.of("no-such-topic", NewPartitions.increaseTo(5))).all()));
            TopicPartition last = new TopicPartition(name, 4);
            Cases.equal(0L, get(admin.listOffsets(Map.of(last, OffsetSpec.latest()))
                .partitionResult(last)).offset(), "offset of the last");
        }
    }

    private void topicConfigs() throws Exception {
        String name = kafka.topic(1, "retention.ms=86400000", "max.message.bytes=123456");
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, name);
        try (Admin admin = kafka.admin()) {
            Config found = get(admin.describeConfigs(List.of(topic)).all()).get(topic);
            Cases.equal("86400000", found.get("retention.ms").value(), "retention.ms");
            Cases.equal("123456", found.get("max.message.bytes").value(), "max.message.bytes");
            Cases.check(!found.get("retention.ms").isDefault(), "a setting given is no default");
            Cases.check(found.get("retention.bytes").isDefault(), "a setting not given is one");
        }
    }

    private void alterConfigs() throws Exception {
        String name = kafka.topic(1, "retention.ms=86400000");
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, name);
        try (Admin admin = kafka.admin()) {
            get(admin.incrementalAlterConfigs(Map.of(topic, List.of(
                new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000"),
                                  AlterConfigOp.OpType.SET),
                new AlterConfigOp(new ConfigEntry("retention.ms", ""),
                                  AlterConfigOp.OpType.DELETE)))).all());
            Config found = get(admin.describeConfigs(List.of(topic)).all()).get(topic);
            Cases.equal("2000", found.get("max.message.bytes").value(), "max.message.bytes");
            Cases.check(found.get("retention.ms").isDefault(), "a deleted setting is a default");
            try (KafkaProducer<String, String> producer = kafka.producer()) {
                Cases.fails(RecordTooLargeException.class, () -> producer.send(
                    new ProducerRecord<>(name, "k", "x".repeat(9000))).get(20, TimeUnit.SECONDS));
            }
            Cases.fails(InvalidConfigurationException.class, () -> get(
                admin.incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(
                    new ConfigEntry("no.such.setting", "1"), AlterConfigOp.OpType.SET)))).all()));
        }
    }

    private void brokerConfigs() throws Exception {
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        try (Admin admin = kafka.admin()) {
            Cases.check(!get(admin.describeConfigs(List.of(broker)).all()).get(broker).entries()
                             .isEmpty(), "no settings of the broker");
        }
    }

    private void listOffsets() throws Exception {
        String name = kafka.topic(1);
        TopicPartition part = new TopicPartition(name, 0);
        try (KafkaProducer<String, String> producer = kafka.producer()) {
            for (long time : new long[] {1000, 9000, 3000})
                producer.send(new ProducerRecord<>(name, 0, time, "k", "v")).get();
        }
        try (Admin admin = kafka.admin()) {
            Cases.equal(0L, offset(admin, part, OffsetSpec.earliest()).offset(), "earliest");
            Cases.equal(3L, offset(admin, part, OffsetSpec.latest()).offset(), "latest");
            Cases.equal(1L, offset(admin, part, OffsetSpec.maxTimestamp()).offset(), "greatest");
            Cases.equal(9000L, offset(admin, part, OffsetSpec.maxTimestamp()).timestamp(), "time");
            Cases.equal(1L, offset(admin, part, OffsetSpec.forTimestamp(2000)).offset(), "by time");
        }
    }

    static ListOffsetsResultInfo offset(Admin admin, TopicPartition part, OffsetSpec spec)
        throws Exception {
        return get(admin.listOffsets(Map.of(part, spec)).all()).get(part);
    }

    static Map<TopicPartition, OffsetAndMetadata> committed(Admin admin, String group)
        throws Exception {
        return get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
    }

    private void groups() throws Exception {
        String topic = kafka.topic(2), group = Cluster.fresh("g");
        TopicPartition zero = new TopicPartition(topic, 0);
        kafka.fill(topic, 20);
        try (Admin admin = kafka.admin()) {
            try (KafkaConsumer<String, String> consumer = kafka.consumer("group.id=" + group)) {
                consumer.subscribe(List.of(topic));
                Cluster.poll(consumer, 20);
                consumer.commitSync();
                ConsumerGroupDescription found = get(
                    admin.describeConsumerGroups(List.of(group)).all()).get(group);
                Cases.equal(1, found.members().size(), "members");
                Cases.equal(2, found.members().iterator().next().assignment().topicPartitions()
                                    .size(), "partitions of the member");
                Cases.equal("Stable", found.state().toString(), "state");
                Cases.fails(GroupNotEmptyException.class, () -> get(
                    admin.deleteConsumerGroups(List.of(group)).all()));
                Cases.check(consumer.poll(Duration.ofMillis(10)).isEmpty(), "nothing more");
            }
            Cases.check(get(admin.listConsumerGroups().all()).stream().anyMatch(
                            g -> g.groupId().equals(group)), "not in the list");
            Cases.equal(20L, committed(admin, group).values().stream().mapToLong(
                                 OffsetAndMetadata::offset).sum(), "committed");
            get(admin.alterConsumerGroupOffsets(
                group, Map.of(zero, new OffsetAndMetadata(1))).all());
            Cases.equal(1L, committed(admin, group).get(zero).offset(), "altered");
            get(admin.deleteConsumerGroups(List.of(group)).all());
            Cases.fails(GroupIdNotFoundException.class, () -> get(
                admin.deleteConsumerGroups(List.of(group)).all()));
        }
    }

    /** Of both protocols; the consumer comes back when it hears of it. */
    private void removeMembers() throws Exception {
        String topic = kafka.topic(1);
        kafka.fill(topic, 1);
        for (String protocol : List.of("classic", "consumer")) {
            String group = Cluster.fresh("g");
            try (Admin admin = kafka.admin();
                 KafkaConsumer<String, String> consumer = kafka.consumer(
                     "group.id=" + group, "group.protocol=" + protocol)) {
                consumer.subscribe(List.of(topic));
                Cluster.poll(consumer, 1);
                String host = get(admin.describeConsumerGroups(List.of(group)).all()).get(group)
                    .members().iterator().next().host();
                Cases.check(host.startsWith("/"), "the member's host: " + host);
                get(admin.removeMembersFromConsumerGroup(
                    group, new RemoveMembersFromConsumerGroupOptions()).all());
            }
        }
    }
}
