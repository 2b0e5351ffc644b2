import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;

/** Cases of records and offsets that go, and of clients that are slowed down. */
final class Records {
    private final Cluster kafka;

    Records(Cluster kafka, Cases cases) {
        this.kafka = kafka;
        cases.add("records.delete", this::deleteRecords);
        cases.add("records.compacted", this::compacted);
        cases.add("records.quota", this::quota);
        cases.add("group.delete-offsets", this::deleteOffsets);
    }

    private void deleteRecords() throws Exception {
        String topic = kafka.topic(1);
        TopicPartition part = new TopicPartition(topic, 0);
        kafka.fill(topic, 20);
        try (Admin admin = kafka.admin()) {
            Cases.equal(15L, Admins.get(admin.deleteRecords(Map.of(
                part, RecordsToDelete.beforeOffset(15))).lowWatermarks().get(part)).lowWatermark(),
                "the start");
            Cases.equal(List.of("15", "16", "17", "18", "19"),
                        Cluster.values(kafka.readAll(topic)), "what is left");
            Cases.fails(OffsetOutOfRangeException.class, () -> Admins.get(admin.deleteRecords(
                Map.of(part, RecordsToDelete.beforeOffset(21))).all()));
            Cases.equal(20L, Admins.get(admin.deleteRecords(Map.of(
                part, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(part)).lowWatermark(),
                "the start after all");
        }
        Cases.equal(0, kafka.readAll(topic).size(), "records that are left");
    }

    /** Of each key the last value, over gaps and batches without records. */
    private void compacted() throws Exception {
        String topic = kafka.topic(1, "cleanup.policy=compact", "segment.bytes=16384",
                                   "min.cleanable.dirty.ratio=0.01", "delete.retention.ms=0");
        Map<String, String> last = new HashMap<>();
        int sent = 0;
        try (KafkaProducer<String, String> producer = kafka.producer("batch.size=1000")) {
            for (; sent < 1500; sent++) {
                String key = sent < 1000 ? "k" + sent % 7 : "f" + sent % 3;
                String value = sent >= 993 && sent < 996 ? null : sent + "x".repeat(60);
                producer.send(new ProducerRecord<>(topic, key, value));
                last.put(key, value);
            }
        }
        last.values().removeIf(v -> v == null);
        int all = sent;
        Cases.eventually("fewer records", 45, () -> {
            List<ConsumerRecord<String, String>> got = kafka.readAll(topic);
            Map<String, String> found = new HashMap<>();
            for (ConsumerRecord<String, String> r : got)
                found.put(r.key(), r.value());
            found.values().removeIf(v -> v == null);
            Cases.equal(last, found, "the last values");
            return got.size() < all / 2;
        });
    }

    /** What a client sends beyond its quota is slowed down, and it is told so. */
    private void quota() throws Exception {
        String topic = kafka.topic(1), client = Cluster.fresh("slow");
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID,
                                                                client));
        try (Admin admin = kafka.admin();
             KafkaProducer<String, String> producer =
                 kafka.producer("client.id=" + client, "batch.size=2000")) {
            Admins.get(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(
                entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 2000.0)))))
                           .all());
            for (int i = 0; i < 30; i++)
                producer.send(new ProducerRecord<>(topic, "k", "x".repeat(1000)))
                    .get(20, TimeUnit.SECONDS);
            double most = producer.metrics().entrySet().stream()
                              .filter(e -> e.getKey().name().equals("produce-throttle-time-max"))
                              .mapToDouble(e -> (double) e.getValue().metricValue())
                              .max().orElse(0);
            Cases.check(most > 0, "the producer was not told that it is slowed down");
        }
        Cases.equal(30, kafka.readAll(topic).size(), "records");
    }

    private void deleteOffsets() throws Exception {
        String topic = kafka.topic(2), group = Cluster.fresh("g");
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        kafka.fill(topic, 20);
        try (Admin admin = kafka.admin()) {
            try (KafkaConsumer<String, String> consumer = kafka.consumer("group.id=" + group)) {
                consumer.subscribe(List.of(topic));
                Cluster.poll(consumer, 20);
                consumer.commitSync(Map.of(zero, new OffsetAndMetadata(1),
                                           one, new OffsetAndMetadata(2)));
                Cases.fails(GroupSubscribedToTopicException.class, () -> Admins.get(
                    admin.deleteConsumerGroupOffsets(group, Set.of(zero)).partitionResult(zero)));
            }
            Admins.get(admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all());
            Cases.equal(Map.of(one, new OffsetAndMetadata(2)).keySet(),
                        Admins.committed(admin, group).keySet(), "what is still committed");
        }
    }
}
