package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func (s saramaClient) transactional(id string) (sarama.SyncProducer, error) {
	c := idempotent(s.config())
	c.Producer.Transaction.ID = id
	return sarama.NewSyncProducer(s.addrs, c)
}

// Produces the values in a transaction that is left open.
func beginTxn(producer sarama.SyncProducer, topic string, values ...string) error {
	if err := producer.BeginTxn(); err != nil {
		return err
	}
	var all []*sarama.ProducerMessage
	for _, value := range values {
		all = append(all, message(topic, value))
	}
	return producer.SendMessages(all)
}

// Reads the one partition of a topic; the last of what is expected was committed last.
func (s saramaClient) committed(ctx context.Context, topic string, expected []string) error {
	c := s.config()
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	got, err := s.readWith(ctx, topic, len(expected), c)
	return first(err, equal(sorted(expected), sorted(got), "committed values"))
}

func (s saramaClient) txnCommitAndAbort(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err != nil {
		return err
	}
	producer, err := s.transactional(fresh("tx"))
	if err != nil {
		return err
	}
	defer producer.Close()
	var expected []string
	for round := 0; round < 4; round++ {
		var list []string
		for i := 0; i < 100; i++ {
			list = append(list, fmt.Sprintf("%d-%d", round, i))
		}
		if err = beginTxn(producer, topic, list...); err != nil {
			return err
		}
		if round%2 == 0 {
			err = producer.CommitTxn()
			expected = append(expected, list...)
		} else {
			err = producer.AbortTxn()
		}
		if err != nil {
			return err
		}
	}
	if _, err = s.read(ctx, topic, 400); err != nil {
		return err
	}
	return s.committed(ctx, topic, expected)
}

func (s saramaClient) txnFencing(ctx context.Context) error {
	topic, err := s.topic(1, nil)
	if err != nil {
		return err
	}
	id := fresh("tx")
	older, err := s.transactional(id)
	if err != nil {
		return err
	}
	if err = beginTxn(older, topic, "old"); err != nil {
		return err
	}
	newer, err := s.transactional(id)
	if err != nil {
		return err
	}
	defer newer.Close()
	if older.CommitTxn() == nil {
		return fmt.Errorf("the older producer has committed")
	}
	_ = older.Close() // it says what has happened
	err = first(beginTxn(newer, topic, "new"), newer.CommitTxn())
	return first(err, s.committed(ctx, topic, []string{"new"}))
}

// A group member that copies what it reads, each message in a transaction with its offset; the
// first try of every third is aborted.
type saramaCopier struct {
	producer      sarama.SyncProducer
	group, target string
	mutex         sync.Mutex
	copied, tries int
	err           error
}

func (c *saramaCopier) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (c *saramaCopier) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *saramaCopier) copyOne(m *sarama.ConsumerMessage) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for {
		c.tries++
		if err := beginTxn(c.producer, c.target, string(m.Value)); err != nil {
			return err
		}
		if err := c.producer.AddMessageToTxn(m, c.group, nil); err != nil {
			return err
		}
		if c.tries%3 == 0 {
			if err := c.producer.AbortTxn(); err != nil {
				return err
			}
			continue
		}
		c.copied++
		return c.producer.CommitTxn()
	}
}

func (c *saramaCopier) ConsumeClaim(session sarama.ConsumerGroupSession,
	claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			if err := c.copyOne(m); err != nil {
				c.mutex.Lock()
				c.err = err
				c.mutex.Unlock()
				return err
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (c *saramaCopier) done(n int) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.copied == n || c.err != nil
}

func (s saramaClient) txnCopy(ctx context.Context) error {
	const n = 60
	source, err := s.topic(2, nil)
	if err == nil {
		err = s.fill(source, n, s.config())
	}
	if err != nil {
		return err
	}
	copier := &saramaCopier{group: fresh("g")}
	if copier.target, err = s.topic(1, nil); err != nil {
		return err
	}
	if copier.producer, err = s.transactional(fresh("tx")); err != nil {
		return err
	}
	defer copier.producer.Close()
	c := s.config()
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	member, err := sarama.NewConsumerGroup(s.addrs, copier.group, c)
	if err != nil {
		return err
	}
	stopping, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		defer ended.Done()
		for stopping.Err() == nil {
			if member.Consume(stopping, []string{source}, copier) != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	err = eventually(ctx, "every value", func() bool { return copier.done(n) })
	stop()
	ended.Wait()
	if err = first(err, copier.err, member.Close()); err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdmin(s.addrs, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	offsets, err := admin.ListConsumerGroupOffsets(copier.group,
		map[string][]int32{source: {0, 1}})
	if err != nil {
		return err
	}
	sum := offsets.GetBlock(source, 0).Offset + offsets.GetBlock(source, 1).Offset
	return first(equal(n, sum, "committed offsets"), s.committed(ctx, copier.target, numbers(n)))
}
