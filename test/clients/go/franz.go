package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

type franz struct {
	bootstrap string
}

func franzCases(bootstrap string) []testCase {
	f := franz{bootstrap}
	cases := []testCase{}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		codec := codecs[name]
		cases = append(cases, testCase{"idempotent." + name, func(ctx context.Context) error {
			return f.roundTrip(ctx, codec)
		}})
	}
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "round-robin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	for _, name := range []string{"range", "round-robin", "sticky", "cooperative-sticky"} {
		balancer := balancers[name]
		cases = append(cases, testCase{"group." + name, func(ctx context.Context) error {
			return f.group(ctx, balancer)
		}})
	}
	for _, name := range serverSideNames {
		balancer := balancers[name]
		cases = append(cases, testCase{"group.server-" + name, func(ctx context.Context) error {
			return f.group(ctx, balancer, serverSide()...)
		}})
	}
	return append(cases, []testCase{
		{"acks-leader", f.acksLeader},
		{"large-record", f.largeRecord},
		{"from-offset", f.fromOffset},
		{"read-committed", f.readCommitted},
		{"static-member", f.staticMember},
		{"transactions.commit-and-abort", f.txnCommitAndAbort},
		{"transactions.fencing", f.txnFencing},
		{"transactions.copy", f.txnCopy},
		{"records.compacted", f.compacted},
		{"records.quota", f.quota},
		{"admin.delete", f.adminDelete},
		{"admin.topics", f.adminTopics},
		{"admin.partitions", f.adminPartitions},
		{"admin.offsets", f.adminOffsets},
		{"admin.groups", f.adminGroups},
	}...)
}

func login() []kgo.Opt {
	auth := scram.Auth{User: user, Pass: password}
	switch mechanism {
	case "PLAIN":
		return []kgo.Opt{kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())}
	case "SCRAM-SHA-256":
		return []kgo.Opt{kgo.SASL(auth.AsSha256Mechanism())}
	case "SCRAM-SHA-512":
		return []kgo.Opt{kgo.SASL(auth.AsSha512Mechanism())}
	}
	return nil
}

func (f franz) client(opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append(login(), opts...)
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.bootstrap),
		kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.HeartbeatInterval(300 * time.Millisecond),
	}, opts...)...)
}

// Makes a topic of a fresh name.
func (f franz) topic(ctx context.Context, partitions int32,
	configs map[string]string) (string, error) {
	client, err := f.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	name := fresh("franz")
	values := map[string]*string{}
	for k, v := range configs {
		v := v
		values[k] = &v
	}
	made, err := kadm.NewClient(client).CreateTopics(ctx, partitions, 1, values, name)
	if err == nil {
		err = made[name].Err
	}
	return name, err
}

// Produces "0" .. "n-1" with the key "k" + value.
func (f franz) fill(ctx context.Context, topic string, n int, opts ...kgo.Opt) error {
	client, err := f.client(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	records := make([]*kgo.Record, n)
	for i := range records {
		value := fmt.Sprint(i)
		records[i] = &kgo.Record{Topic: topic, Key: []byte("k" + value), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(value)}}}
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// Reads n records of a topic.
func (f franz) read(ctx context.Context, topic string, n int,
	opts ...kgo.Opt) ([]*kgo.Record, error) {
	client, err := f.client(append([]kgo.Opt{kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return poll(ctx, client, n)
}

func poll(ctx context.Context, client *kgo.Client, n int) ([]*kgo.Record, error) {
	var got []*kgo.Record
	for len(got) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return got, fmt.Errorf("after %d of %d records: %w", len(got), n, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got, equal(n, len(got), "records")
}

func values(records []*kgo.Record) []string {
	var list []string
	for _, r := range records {
		list = append(list, string(r.Value))
	}
	return list
}

func (f franz) roundTrip(ctx context.Context, codec kgo.CompressionCodec) error {
	const n = 2000
	topic, err := f.topic(ctx, 2, nil)
	if err == nil {
		err = f.fill(ctx, topic, n, kgo.ProducerBatchCompression(codec))
	}
	if err != nil {
		return err
	}
	got, err := f.read(ctx, topic, n)
	if err != nil {
		return err
	}
	for _, r := range got {
		if string(r.Key) != "k"+string(r.Value) || len(r.Headers) != 1 ||
			string(r.Headers[0].Value) != string(r.Value) {
			return fmt.Errorf("offset %d: key %q, value %q, headers %v", r.Offset, r.Key, r.Value,
				r.Headers)
		}
	}
	return equal(numbers(n), sorted(values(got)), "values")
}

func (f franz) acksLeader(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err == nil {
		err = f.fill(ctx, topic, 100, kgo.RequiredAcks(kgo.LeaderAck()),
			kgo.DisableIdempotentWrite())
	}
	if err != nil {
		return err
	}
	got, err := f.read(ctx, topic, 100)
	return first(err, equal(numbers(100), sorted(values(got)), "values"))
}

func (f franz) largeRecord(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, map[string]string{"max.message.bytes": "9000000"})
	if err != nil {
		return err
	}
	client, err := f.client(kgo.ProducerBatchMaxBytes(9000000))
	if err != nil {
		return err
	}
	defer client.Close()
	large := []byte(strings.Repeat("x", 8000000) + "end")
	err = client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: large}).FirstErr()
	if err != nil {
		return err
	}
	got, err := f.read(ctx, topic, 1, kgo.FetchMaxPartitionBytes(1000), kgo.FetchMaxBytes(2000))
	if err != nil {
		return err
	}
	if string(got[0].Value) != string(large) {
		return errors.New("the large value is not what was sent")
	}
	return nil
}

func (f franz) fromOffset(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err == nil {
		err = f.fill(ctx, topic, 100)
	}
	if err != nil {
		return err
	}
	client, err := f.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().At(90)}}))
	if err != nil {
		return err
	}
	defer client.Close()
	got, err := poll(ctx, client, 10)
	if err != nil {
		return err
	}
	return equal("90", string(got[0].Value), "first value")
}

func (f franz) readCommitted(ctx context.Context) error {
	topic, err := f.topic(ctx, 3, nil)
	if err == nil {
		err = f.fill(ctx, topic, 300)
	}
	if err != nil {
		return err
	}
	got, err := f.read(ctx, topic, 300, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	return first(err, equal(numbers(300), sorted(values(got)), "values"))
}

// A group member that polls until it is closed.
type franzMember struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup
	mutex  sync.Mutex
	owned  map[int32]bool
	got    map[string]bool
}

func (f franz) member(topic, group string, opts ...kgo.Opt) (*franzMember, error) {
	m := &franzMember{owned: map[int32]bool{}, got: map[string]bool{}}
	change := func(owned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, p := range parts[topic] {
				if owned {
					m.owned[p] = true
				} else {
					delete(m.owned, p)
				}
			}
		}
	}
	var err error
	m.client, err = f.client(append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false))}, opts...)...)
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.ended.Add(1)
	go func() {
		defer m.ended.Done()
		for ctx.Err() == nil {
			m.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				m.mutex.Lock()
				m.got[string(r.Value)] = true
				m.mutex.Unlock()
			})
		}
	}()
	return m, nil
}

func (m *franzMember) count() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.owned)
}

func (m *franzMember) addValues(all map[string]bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for v := range m.got {
		all[v] = true
	}
}

func (m *franzMember) close() {
	m.stop()
	m.ended.Wait()
	m.client.Close()
}

// Two members share four partitions; one takes over when the other leaves.
func (f franz) group(ctx context.Context, balancer kgo.GroupBalancer, opts ...kgo.Opt) error {
	topic, err := f.topic(ctx, 4, nil)
	if err != nil {
		return err
	}
	group := fresh("g")
	opts = append(opts, kgo.Balancers(balancer))
	a, err := f.member(topic, group, opts...)
	if err != nil {
		return err
	}
	defer a.close()
	if err = eventually(ctx, "4 for one", func() bool { return a.count() == 4 }); err != nil {
		return err
	}
	b, err := f.member(topic, group, opts...)
	if err != nil {
		return err
	}
	err = eventually(ctx, "2 for each", func() bool { return a.count() == 2 && b.count() == 2 })
	if err == nil && len(opts) > 1 {
		err = serverSideCheck(ctx, a.client, group, 2)
	}
	if err == nil {
		err = f.fill(ctx, topic, 400)
	}
	if err == nil {
		err = eventually(ctx, "every value", func() bool {
			all := map[string]bool{}
			a.addValues(all)
			b.addValues(all)
			return len(all) == 400
		})
	}
	b.close()
	if err != nil {
		return err
	}
	return eventually(ctx, "4 for the one that stays", func() bool { return a.count() == 4 })
}

// A static member does not leave when it is closed, and gets its partitions when it is back.
func (f franz) staticMember(ctx context.Context) error {
	topic, err := f.topic(ctx, 4, nil)
	if err != nil {
		return err
	}
	group := fresh("g")
	a, err := f.member(topic, group, kgo.InstanceID("a"))
	if err != nil {
		return err
	}
	defer a.close()
	b, err := f.member(topic, group, kgo.InstanceID("b"))
	if err != nil {
		return err
	}
	err = eventually(ctx, "2 for each", func() bool { return a.count() == 2 && b.count() == 2 })
	b.close()
	if err != nil {
		return err
	}
	b, err = f.member(topic, group, kgo.InstanceID("b"))
	if err != nil {
		return err
	}
	defer b.close()
	err = eventually(ctx, "2 again", func() bool { return b.count() == 2 })
	return first(err, equal(2, a.count(), "partitions of the other"))
}

// Of each key the last value, over gaps and batches without records.
func (f franz) compacted(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, compactSettings)
	if err != nil {
		return err
	}
	client, err := f.client(kgo.ProducerBatchMaxBytes(2000))
	if err != nil {
		return err
	}
	defer client.Close()
	for n := 0; n < toCompact && err == nil; n++ {
		key, value := compactRecord(n)
		r := &kgo.Record{Topic: topic, Key: []byte(key)}
		if value != "" {
			r.Value = []byte(value)
		}
		client.Produce(ctx, r, nil)
	}
	if err = client.Flush(ctx); err != nil {
		return err
	}
	return first(eventually(ctx, "fewer records", func() bool {
		var fewer bool
		var keys, values []string
		reader, readerErr := f.client(kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err = readerErr; err != nil {
			return true
		}
		defer reader.Close()
		for at := int64(-1); at < toCompact-1 && err == nil; {
			fetches := reader.PollFetches(ctx)
			err = fetches.Err()
			fetches.EachRecord(func(r *kgo.Record) {
				keys, values = append(keys, string(r.Key)), append(values, string(r.Value))
				at = r.Offset
			})
		}
		if err == nil {
			fewer, err = compactedTo(keys, values)
		}
		return fewer || err != nil
	}), err)
}

// Counts the answers that say that the client is slowed down.
type throttles struct {
	mutex sync.Mutex
	n     int
}

func (t *throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, interval time.Duration, _ bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.n++
}

func (f franz) quota(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err != nil {
		return err
	}
	id, told := fresh("slow"), &throttles{}
	client, err := f.client(kgo.ClientID(id), kgo.WithHooks(told),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	typ := "client-id"
	altered, err := kadm.NewClient(client).AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: typ, Name: &id}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 2000}}}})
	if err == nil {
		err = altered[0].Err
	}
	for i := 0; i < 30 && err == nil; i++ {
		err = client.ProduceSync(ctx, &kgo.Record{Topic: topic,
			Value: []byte(fresh(strings.Repeat("x", 1000)))}).FirstErr()
	}
	if err != nil {
		return err
	}
	told.mutex.Lock()
	defer told.mutex.Unlock()
	return equal(true, told.n > 0, "told that it is slowed down")
}

// Records and committed offsets are deleted.
func (f franz) adminDelete(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err == nil {
		err = f.fill(ctx, topic, 20)
	}
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin, group := kadm.NewClient(client), fresh("g")
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, At: 15})
	deleted, err := admin.DeleteRecords(ctx, before)
	if err != nil {
		return err
	}
	start, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	if err = admin.CommitAllOffsets(ctx, group, before); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	gone, err := admin.DeleteOffsets(ctx, group, set)
	if err != nil {
		return err
	}
	left, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return err
	}
	_, committed := left.Lookup(topic, 0)
	return first(equal(15, deleted[topic][0].LowWatermark, "the start"), gone.Error(),
		equal(15, start[topic][0].Offset, "the start in the list"),
		equal(false, committed, "still committed"))
}

func (f franz) adminTopics(ctx context.Context) error {
	topic, err := f.topic(ctx, 3, map[string]string{"retention.ms": "3600000"})
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	listed, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	retention := ""
	for _, c := range configs[0].Configs {
		if c.Key == "retention.ms" {
			retention = c.MaybeValue()
		}
	}
	again, err := admin.CreateTopics(ctx, 1, 1, nil, topic)
	if err != nil {
		return err
	}
	deleted, err := admin.DeleteTopics(ctx, topic)
	if err != nil {
		return err
	}
	other, err := f.client() // newer versions answer from a cache of their client
	if err != nil {
		return err
	}
	defer other.Close()
	after, err := kadm.NewClient(other).ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	meta, err := admin.BrokerMetadata(ctx)
	return first(err, equal(3, len(listed[topic].Partitions), "partitions"),
		equal("3600000", retention, "retention.ms"),
		equal(kerr.TopicAlreadyExists, again[topic].Err, "made twice"),
		deleted[topic].Err,
		equal(kerr.UnknownTopicOrPartition, after[topic].Err, "after the deletion"),
		equal(1, len(meta.Brokers), "brokers"))
}

func (f franz) adminPartitions(ctx context.Context) error {
	topic, err := f.topic(ctx, 2, nil)
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tried, err := admin.ValidateCreatePartitions(ctx, 3, topic)
	if err = first(err, tried[topic].Err); err != nil {
		return err
	}
	grown, err := admin.CreatePartitions(ctx, 3, topic)
	if err = first(err, grown[topic].Err); err != nil {
		return err
	}
	over, err := admin.CreatePartitions(ctx, 2000, topic)
	if err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	return first(err, equal(5, len(ends[topic]), "partitions"),
		equal(kerr.InvalidPartitions, over[topic].Err, "more than the maximum"))
}

func (f franz) adminOffsets(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	for _, ms := range []int64{1000, 9000, 3000} {
		r := &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(ms)}
		if err = client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	admin := kadm.NewClient(client)
	start, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	end, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	after, err := admin.ListOffsetsAfterMilli(ctx, 2000, topic)
	if err != nil {
		return err
	}
	return first(equal(0, start[topic][0].Offset, "start"), equal(3, end[topic][0].Offset, "end"),
		equal(1, after[topic][0].Offset, "first at or after 2 s"))
}

func (f franz) adminGroups(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err == nil {
		err = f.fill(ctx, topic, 10)
	}
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	group := fresh("g")
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 7, -1)
	if _, err = admin.CommitOffsets(ctx, group, offsets); err != nil {
		return err
	}
	found, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	at, _ := found.Lookup(topic, 0)
	lags, err := admin.Lag(ctx, group)
	if err != nil {
		return err
	}
	m, err := f.member(topic, group)
	if err != nil {
		return err
	}
	err = eventually(ctx, "the member's values", func() bool {
		all := map[string]bool{}
		m.addValues(all)
		return len(all) == 3
	})
	described, describeErr := admin.DescribeGroups(ctx, group)
	m.close()
	if err = first(err, describeErr); err != nil {
		return err
	}
	deleted, err := admin.DeleteGroups(ctx, group)
	return first(err, equal(7, at.At, "committed"), equal(3, lags[group].Lag.Total(), "lag"),
		equal("Stable", described[group].State, "state"),
		equal(1, len(described[group].Members), "members"), deleted[group].Err)
}
