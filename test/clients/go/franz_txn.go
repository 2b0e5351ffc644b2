package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Reads n committed records; the last of them was committed last.
func (f franz) committed(ctx context.Context, topic string, expected []string) error {
	got, err := f.read(ctx, topic, len(expected), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	return equal(sorted(expected), sorted(values(got)), "committed values")
}

// Produces the values in a transaction that is left open.
func begin(ctx context.Context, client *kgo.Client, topic string, values ...string) error {
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

func (f franz) txnCommitAndAbort(ctx context.Context) error {
	topic, err := f.topic(ctx, 2, nil)
	if err != nil {
		return err
	}
	client, err := f.client(kgo.TransactionalID(fresh("tx")))
	if err != nil {
		return err
	}
	defer client.Close()
	var expected []string
	for round := 0; round < 4; round++ {
		var list []string
		for i := 0; i < 100; i++ {
			list = append(list, fmt.Sprintf("%d-%d", round, i))
		}
		if err = begin(ctx, client, topic, list...); err != nil {
			return err
		}
		end := kgo.TryAbort
		if round%2 == 0 {
			end = kgo.TryCommit
			expected = append(expected, list...)
		}
		if err = client.EndTransaction(ctx, end); err != nil {
			return err
		}
	}
	if _, err = f.read(ctx, topic, 400); err != nil {
		return err
	}
	return f.committed(ctx, topic, expected)
}

func (f franz) txnFencing(ctx context.Context) error {
	topic, err := f.topic(ctx, 1, nil)
	if err != nil {
		return err
	}
	id := fresh("tx")
	older, err := f.client(kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer older.Close()
	newer, err := f.client(kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer newer.Close()
	if err = begin(ctx, older, topic, "old"); err != nil {
		return err
	}
	if err = begin(ctx, newer, topic, "new"); err != nil {
		return err
	}
	if older.EndTransaction(ctx, kgo.TryCommit) == nil {
		return fmt.Errorf("the older producer has committed")
	}
	if err = newer.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	return f.committed(ctx, topic, []string{"new"})
}

// From topic to topic with offsets in the transactions, of which every third is aborted.
func (f franz) txnCopy(ctx context.Context) error {
	const n = 300
	source, err := f.topic(ctx, 2, nil)
	if err == nil {
		err = f.fill(ctx, source, n)
	}
	if err != nil {
		return err
	}
	target, err := f.topic(ctx, 2, nil)
	if err != nil {
		return err
	}
	group := fresh("g")
	session, err := kgo.NewGroupTransactSession(append(login(), kgo.SeedBrokers(f.bootstrap),
		kgo.TransactionalID(fresh("tx")), kgo.ConsumerGroup(group), kgo.ConsumeTopics(source),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DefaultProduceTopic(target))...)
	if err != nil {
		return err
	}
	copied := 0
	for attempt := 1; err == nil && copied < n; attempt++ {
		var did int
		did, err = copySome(ctx, session, attempt%3 != 0)
		copied += did
	}
	session.Close()
	if err = first(err, equal(n, copied, "values copied")); err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err != nil {
		return err
	}

	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return first(equal(n, sum, "committed offsets"), f.committed(ctx, target, numbers(n)))
}

// One transaction; how many values were copied by it.
func copySome(ctx context.Context, session *kgo.GroupTransactSession, commit bool) (int, error) {
	fetches := session.PollRecords(ctx, 40)
	if err := fetches.Err(); err != nil {
		return 0, err
	}
	if err := session.Begin(); err != nil {
		return 0, err
	}
	firstErr := kgo.AbortingFirstErrPromise(session.Client())
	fetches.EachRecord(func(r *kgo.Record) {
		session.Produce(ctx, &kgo.Record{Value: r.Value}, firstErr.Promise())
	})
	if err := firstErr.Err(); err != nil {
		return 0, err
	}
	committed, err := session.End(ctx, kgo.TransactionEndTry(commit))
	if !committed {
		return 0, err
	}
	return fetches.NumRecords(), err
}
