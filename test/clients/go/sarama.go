package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	addrs []string
}

func saramaCases(bootstrap string) []testCase {
	s := saramaClient{[]string{bootstrap}}
	cases := []testCase{}
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
		"zstd": sarama.CompressionZSTD,
	}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		codec := codecs[name]
		cases = append(cases, testCase{"idempotent." + name, func(ctx context.Context) error {
			return s.roundTrip(ctx, codec)
		}})
	}
	strategies := map[string]sarama.BalanceStrategy{
		"range":       sarama.NewBalanceStrategyRange(),
		"round-robin": sarama.NewBalanceStrategyRoundRobin(),
		"sticky":      sarama.NewBalanceStrategySticky(),
	}
	for _, name := range []string{"range", "round-robin", "sticky"} {
		strategy := strategies[name]
		cases = append(cases, testCase{"group." + name, func(ctx context.Context) error {
			return s.group(ctx, strategy)
		}})
	}
	return append(cases, []testCase{
		{"async-producer", s.asyncProducer},
		{"too-large", s.tooLarge},
		{"offsets", s.offsets},
		{"transactions.commit-and-abort", s.txnCommitAndAbort},
		{"transactions.fencing", s.txnFencing},
		{"transactions.copy", s.txnCopy},
		{"admin.topics", s.adminTopics},
		{"admin.partitions", s.adminPartitions},
		{"admin.groups", s.adminGroups},
		{"records.compacted", s.compacted},
		{"admin.delete", s.adminDelete},
	}...)
}

func (s saramaClient) config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	if mechanism != "" {
		c.Net.SASL.Enable = true
		c.Net.SASL.Mechanism = sarama.SASLMechanism(mechanism)
		c.Net.SASL.User, c.Net.SASL.Password = user, password
	}
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.MaxWaitTime = 200 * time.Millisecond
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Consumer.Group.Rebalance.Retry.Backoff = 300 * time.Millisecond
	return c
}

func idempotent(c *sarama.Config) *sarama.Config {
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	return c
}

func (s saramaClient) topic(partitions int32, configs map[string]string) (string, error) {
	admin, err := sarama.NewClusterAdmin(s.addrs, s.config())
	if err != nil {
		return "", err
	}
	defer admin.Close()
	entries := map[string]*string{}
	for k, v := range configs {
		v := v
		entries[k] = &v
	}
	name := fresh("sarama")
	return name, admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions,
		ReplicationFactor: 1, ConfigEntries: entries}, false)
}

func message(topic, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k" + value),
		Value: sarama.StringEncoder(value), Headers: []sarama.RecordHeader{
			{Key: []byte("h"), Value: []byte(value)}}}
}

func (s saramaClient) fill(topic string, n int, c *sarama.Config) error {
	producer, err := sarama.NewSyncProducer(s.addrs, c)
	if err != nil {
		return err
	}
	defer producer.Close()
	var all []*sarama.ProducerMessage
	for i := 0; i < n; i++ {
		all = append(all, message(topic, fmt.Sprint(i)))
	}
	return producer.SendMessages(all)
}

// Reads what is in the one partition of a topic, from the oldest record up to n records.
func (s saramaClient) read(ctx context.Context, topic string, n int) ([]string, error) {
	return s.readWith(ctx, topic, n, s.config())
}

func (s saramaClient) readWith(ctx context.Context, topic string, n int,
	c *sarama.Config) ([]string, error) {
	consumer, err := sarama.NewConsumer(s.addrs, c)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	part, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	var got []string
	for len(got) < n {
		select {
		case m := <-part.Messages():
			if string(m.Key) != "k"+string(m.Value) || len(m.Headers) != 1 ||
				string(m.Headers[0].Value) != string(m.Value) {
				return got, fmt.Errorf("offset %d: key %q, value %q", m.Offset, m.Key, m.Value)
			}
			got = append(got, string(m.Value))
		case <-ctx.Done():
			return got, fmt.Errorf("only %d of %d records", len(got), n)
		}
	}
	return got, nil
}

func (s saramaClient) roundTrip(ctx context.Context, codec sarama.CompressionCodec) error {
	topic, err := s.topic(1, nil)
	if err != nil {
		return err
	}
	c := idempotent(s.config())
	c.Producer.Compression = codec
	if err = s.fill(topic, 2000, c); err != nil {
		return err
	}
	got, err := s.read(ctx, topic, 2000)
	return first(err, equal(numbers(2000), sorted(got), "values"))
}

func (s saramaClient) asyncProducer(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer(s.addrs, s.config())
	if err != nil {
		return err
	}
	go func() {
		for i := 0; i < 5000; i++ {
			producer.Input() <- message(topic, fmt.Sprint(i))
		}
		producer.AsyncClose()
	}()
	sent := 0
	for range producer.Successes() {
		sent++
	}
	for e := range producer.Errors() {
		err = e
	}
	if err = first(err, equal(5000, sent, "acknowledged")); err != nil {
		return err
	}
	got, err := s.read(ctx, topic, 5000)
	return first(err, equal(numbers(5000), sorted(got), "values"))
}

func (s saramaClient) tooLarge(ctx context.Context) error {
	topic, err := s.topic(1, map[string]string{"max.message.bytes": "1000"})
	if err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducer(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer producer.Close()
	_, _, err = producer.SendMessage(message(topic, string(make([]byte, 5000))))
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return fmt.Errorf("expected %v, got %v", sarama.ErrMessageSizeTooLarge, err)
	}
	_, offset, err := producer.SendMessage(message(topic, "small"))
	return first(err, equal(0, offset, "offset"))
}

func (s saramaClient) offsets(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducer(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer producer.Close()
	for _, ms := range []int64{1000, 3000, 9000} {
		m := message(topic, fmt.Sprint(ms))
		m.Timestamp = time.UnixMilli(ms)
		if _, _, err = producer.SendMessage(m); err != nil {
			return err
		}
	}
	client, err := sarama.NewClient(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer client.Close()
	oldest, err := client.GetOffset(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	newest, err := client.GetOffset(topic, 0, sarama.OffsetNewest)
	if err != nil {
		return err
	}
	at, err := client.GetOffset(topic, 0, 2000)
	return first(err, equal(0, oldest, "oldest"), equal(3, newest, "newest"),
		equal(1, at, "first at or after 2 s"))
}

// A group member: counts its claims and keeps the values that it got.
type saramaMember struct {
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	ended sync.WaitGroup
	mutex sync.Mutex
	owned int
	got   map[string]bool
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.owned = 0
	for _, parts := range session.Claims() {
		m.owned += len(parts)
	}
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.owned = 0
	return nil
}

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession,
	claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.mutex.Lock()
			m.got[string(r.Value)] = true
			m.mutex.Unlock()
			session.MarkMessage(r, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (s saramaClient) member(topic, group string, c *sarama.Config) (*saramaMember, error) {
	m := &saramaMember{got: map[string]bool{}}
	var err error
	if m.group, err = sarama.NewConsumerGroup(s.addrs, group, c); err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.ended.Add(1)
	go func() {
		defer m.ended.Done()
		for ctx.Err() == nil {
			if err := m.group.Consume(ctx, []string{topic}, m); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	return m, nil
}

func (m *saramaMember) count() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.owned
}

func (m *saramaMember) addValues(all map[string]bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for v := range m.got {
		all[v] = true
	}
}

func (m *saramaMember) close() error {
	m.stop()
	m.ended.Wait()
	return m.group.Close()
}

func (s saramaClient) group(ctx context.Context, strategy sarama.BalanceStrategy) error {
	topic, err := s.topic(4, nil)
	if err != nil {
		return err
	}
	c := s.config()
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	group := fresh("g")
	a, err := s.member(topic, group, c)
	if err != nil {
		return err
	}
	defer a.close()
	if err = eventually(ctx, "4 for one", func() bool { return a.count() == 4 }); err != nil {
		return err
	}
	b, err := s.member(topic, group, c)
	if err != nil {
		return err
	}
	err = eventually(ctx, "2 for each", func() bool { return a.count() == 2 && b.count() == 2 })
	if err == nil {
		err = s.fill(topic, 400, s.config())
	}
	if err == nil {
		err = eventually(ctx, "every value", func() bool {
			all := map[string]bool{}
			a.addValues(all)
			b.addValues(all)
			return len(all) == 400
		})
	}
	if err = first(err, b.close()); err != nil {
		return err
	}
	return eventually(ctx, "4 for the one that stays", func() bool { return a.count() == 4 })
}

// Of each key the last value, over gaps and batches without records.
func (s saramaClient) compacted(ctx context.Context) error {
	topic, err := s.topic(1, compactSettings)
	if err != nil {
		return err
	}
	c := idempotent(s.config())
	c.Producer.Flush.MaxMessages = 10
	producer, err := sarama.NewSyncProducer(s.addrs, c)
	if err != nil {
		return err
	}
	defer producer.Close()
	var all []*sarama.ProducerMessage
	for n := 0; n < toCompact; n++ {
		key, value := compactRecord(n)
		m := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(key)}
		if value != "" {
			m.Value = sarama.StringEncoder(value)
		}
		all = append(all, m)
	}
	if err = producer.SendMessages(all); err != nil {
		return err
	}
	return first(eventually(ctx, "fewer records", func() bool {
		var fewer bool
		var keys, values []string
		keys, values, err = s.readAll(ctx, topic)
		if err == nil {
			fewer, err = compactedTo(keys, values)
		}
		return fewer || err != nil
	}), err)
}

// Reads up to the last of the records for a compacted topic.
func (s saramaClient) readAll(ctx context.Context, topic string) (keys, values []string,
	err error) {
	consumer, err := sarama.NewConsumer(s.addrs, s.config())
	if err != nil {
		return nil, nil, err
	}
	defer consumer.Close()
	part, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, nil, err
	}
	defer part.Close()
	for at := int64(-1); at < toCompact-1; {
		select {
		case m := <-part.Messages():
			keys, values = append(keys, string(m.Key)), append(values, string(m.Value))
			at = m.Offset
		case <-ctx.Done():
			return keys, values, fmt.Errorf("the end does not come after offset %d", at)
		}
	}
	return keys, values, nil
}

// Records and committed offsets are deleted.
func (s saramaClient) adminDelete(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err == nil {
		err = s.fill(topic, 20, s.config())
	}
	if err != nil {
		return err
	}
	client, err := sarama.NewClient(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdmin(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	if err = admin.DeleteRecords(topic, map[int32]int64{0: 15}); err != nil {
		return err
	}
	oldest, err := client.GetOffset(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	group := fresh("g")
	manager, err := sarama.NewOffsetManagerFromClient(group, client)
	if err != nil {
		return err
	}
	part, err := manager.ManagePartition(topic, 0)
	if err != nil {
		return err
	}
	part.MarkOffset(15, "")
	manager.Commit()
	if err = first(part.Close(), manager.Close()); err != nil {
		return err
	}
	committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return err
	}
	if err = admin.DeleteConsumerGroupOffset(group, topic, 0); err != nil {
		return err
	}
	after, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return err
	}
	return first(equal(15, oldest, "the start"),
		equal(15, committed.GetBlock(topic, 0).Offset, "committed"),
		equal(-1, after.GetBlock(topic, 0).Offset, "still committed"))
}

func (s saramaClient) adminTopics(ctx context.Context) error {
	topic, err := s.topic(3, map[string]string{"retention.ms": "3600000"})
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdmin(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	listed, err := admin.ListTopics()
	if err != nil {
		return err
	}
	configs, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource,
		Name: topic, ConfigNames: []string{"retention.ms"}})
	if err != nil {
		return err
	}
	again := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1},
		false)
	var wrong *sarama.TopicError
	if !errors.As(again, &wrong) || wrong.Err != sarama.ErrTopicAlreadyExists {
		return fmt.Errorf("made twice: %v", again)
	}
	brokers, controller, err := admin.DescribeCluster()
	return first(err, equal(3, listed[topic].NumPartitions, "partitions"),
		equal(1, len(configs), "settings"), equal("3600000", configs[0].Value, "retention.ms"),
		equal(1, len(brokers), "brokers"), equal(1, controller, "controller"),
		admin.DeleteTopic(topic))
}

func (s saramaClient) adminPartitions(ctx context.Context) error {
	topic, err := s.topic(2, nil)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdmin(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := first(admin.CreatePartitions(topic, 5, nil, true),
		admin.CreatePartitions(topic, 5, nil, false)); err != nil {
		return err
	}
	described, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return err
	}
	again := admin.CreatePartitions(topic, 5, nil, false)
	var wrong *sarama.TopicPartitionError
	if !errors.As(again, &wrong) || wrong.Err != sarama.ErrInvalidPartitions {
		return fmt.Errorf("no increase: %v", again)
	}
	return equal(5, len(described[0].Partitions), "partitions")
}

func (s saramaClient) adminGroups(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err == nil {
		err = s.fill(topic, 10, s.config())
	}
	if err != nil {
		return err
	}
	group := fresh("g")
	m, err := s.member(topic, group, s.config())
	if err != nil {
		return err
	}
	err = eventually(ctx, "the values", func() bool {
		all := map[string]bool{}
		m.addValues(all)
		return len(all) == 10
	})
	admin, adminErr := sarama.NewClusterAdmin(s.addrs, s.config())
	if adminErr != nil {
		return first(adminErr, m.close())
	}
	defer admin.Close()
	described, describeErr := admin.DescribeConsumerGroups([]string{group})
	if err = first(err, describeErr, m.close()); err != nil { // closing commits
		return err
	}
	listed, err := admin.ListConsumerGroups()
	if err != nil {
		return err
	}
	offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return err
	}
	_, isListed := listed[group]
	return first(equal("Stable", described[0].State, "state"),
		equal(1, len(described[0].Members), "members"), equal(true, isListed, "in the list"),
		equal(10, offsets.GetBlock(topic, 0).Offset, "committed"),
		admin.DeleteConsumerGroup(group))
}
