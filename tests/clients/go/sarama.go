package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

type withSarama struct {
	ctx       context.Context
	bootstrap []string
	admin     sarama.ClusterAdmin
	producer  sarama.SyncProducer
	members   atomic.Int32
}

func saramaSettings() *sarama.Config {
	settings := sarama.NewConfig()
	settings.Version = sarama.V3_9_0_0
	settings.Producer.Return.Successes = true
	settings.Producer.RequiredAcks = sarama.WaitForAll
	settings.Producer.Partitioner = sarama.NewManualPartitioner
	settings.Producer.Compression = sarama.CompressionZSTD
	settings.Producer.Idempotent = true
	settings.Net.MaxOpenRequests = 1
	settings.Consumer.Offsets.Initial = sarama.OffsetOldest
	settings.Consumer.Offsets.AutoCommit.Enable = false
	// A commit waits behind the fetch that waits on the same connection.
	settings.Consumer.MaxWaitTime = 50 * time.Millisecond
	settings.Consumer.Group.Session.Timeout = 6 * time.Second
	settings.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	return settings
}

func connectSarama(ctx context.Context, bootstrap string) library {
	brokers := []string{bootstrap}
	admin, err := sarama.NewClusterAdmin(brokers, saramaSettings())
	check("connect", err)
	producer, err := sarama.NewSyncProducer(brokers, saramaSettings())
	check("connect", err)
	return &withSarama{ctx: ctx, bootstrap: brokers, admin: admin, producer: producer}
}

func (s *withSarama) createTopic(topic string, partitions int, retention string) {
	detail := &sarama.TopicDetail{
		NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention},
	}
	check("create", s.admin.CreateTopic(topic, detail, false))
}

func (s *withSarama) topics() []string {
	listed, err := s.admin.ListTopics()
	check("list", err)
	var names []string
	for name := range listed {
		names = append(names, name)
	}
	return names
}

func (s *withSarama) partitionsOf(topic string) int {
	described, err := s.admin.DescribeTopics([]string{topic})
	check("describe", err)
	return len(described[0].Partitions)
}

func (s *withSarama) retention(topic string) string {
	configs, err := s.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	check("describe configs", err)
	for _, config := range configs {
		if config.Name == "retention.ms" {
			return config.Value
		}
	}
	return ""
}

func (s *withSarama) alterRetention(topic, retention string) {
	entries := map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &retention},
	}
	check("alter", s.admin.IncrementalAlterConfig(sarama.TopicResource, topic, entries, false))
}

func saramaMessages(topic string, values ...string) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for number, value := range values {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(number % partitions), Value: sarama.StringEncoder(value),
		})
	}
	return messages
}

func (s *withSarama) write(topic string, numbers []int) {
	var values []string
	for _, number := range numbers {
		values = append(values, value(number))
	}
	check("write", s.producer.SendMessages(saramaMessages(topic, values...)))
}

type saramaMember struct {
	name  string
	all   *members
	group sarama.ConsumerGroup
	done  chan struct{}
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	held := 0
	for _, claims := range session.Claims() {
		held += len(claims)
	}
	m.all.holding(m.name, held)
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.all.holding(m.name, 0)
	return nil
}

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.all.read(message.Value)
		session.MarkMessage(message, "")
		if len(claim.Messages()) == 0 {
			session.Commit()
		}
	}
	return nil
}

func (s *withSarama) join(group, topic string, all *members) member {
	joined, err := sarama.NewConsumerGroup(s.bootstrap, group, saramaSettings())
	check("join", err)
	one := &saramaMember{fmt.Sprint("member ", s.members.Add(1)), all, joined, make(chan struct{})}
	go func() {
		defer close(one.done)
		for {
			err := joined.Consume(s.ctx, []string{topic}, one)
			if errors.Is(err, sarama.ErrClosedConsumerGroup) || s.ctx.Err() != nil {
				return
			}
			check("read", err)
		}
	}()
	return one
}

func (m *saramaMember) leave() {
	check("leave", m.group.Close())
	<-m.done
}

func (s *withSarama) membersOf(group string) int {
	described, err := s.admin.DescribeConsumerGroups([]string{group})
	check("describe group", err)
	return len(described[0].Members)
}

func (s *withSarama) groups() []string {
	listed, err := s.admin.ListConsumerGroups()
	check("list groups", err)
	var names []string
	for name := range listed {
		names = append(names, name)
	}
	return names
}

func (s *withSarama) committed(group, topic string) int64 {
	offsets, err := s.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2, 3}})
	check("fetch offsets", err)
	var sum int64
	for partition := range int32(partitions) {
		sum += offsets.GetBlock(topic, partition).Offset
	}
	return sum
}

func (s *withSarama) deleteGroup(group string) {
	check("delete group", s.admin.DeleteConsumerGroup(group))
}

func (s *withSarama) deleteTopic(topic string) { check("delete", s.admin.DeleteTopic(topic)) }

func saramaTransactional(brokers []string, id string) sarama.SyncProducer {
	settings := saramaSettings()
	settings.Producer.Transaction.ID = id
	settings.Producer.Transaction.Retry.Backoff = 20 * time.Millisecond
	producer, err := sarama.NewSyncProducer(brokers, settings)
	check("a transactional producer", err)
	return producer
}

// saramaTransactions: sarama's transactions commit, abort, carry offsets, and fence.
func saramaTransactions(ctx context.Context, bootstrap, topic string) {
	brokers := []string{bootstrap}
	admin, err := sarama.NewClusterAdmin(brokers, saramaSettings())
	check("connect", err)
	check("create", admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
	until(ctx, "the topic", func() bool {
		listed, err := admin.ListTopics()
		return err == nil && listed[topic].NumPartitions == 1
	})

	first := saramaTransactional(brokers, topic)
	transact := func(producer sarama.SyncProducer, value string, offset int64) {
		check("begin", producer.BeginTxn())
		check("write", producer.SendMessages(saramaMessages(topic, value)))
		offsets := map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 0, Offset: offset}}}
		check("offsets", producer.AddOffsetsToTxn(offsets, topic+"-group"))
	}
	transact(first, "committed", 5)
	check("commit", first.CommitTxn())
	transact(first, "aborted", 6)
	check("abort", first.AbortTxn())
	transact(first, "committed too", 7)
	check("commit", first.CommitTxn())
	expectInOrder("committed records", saramaRead(brokers, topic, sarama.ReadCommitted, 2), []string{"committed", "committed too"})
	all := []string{"committed", "aborted", "committed too"}
	expectInOrder("all records", saramaRead(brokers, topic, sarama.ReadUncommitted, 3), all)
	offsets, err := admin.ListConsumerGroupOffsets(topic+"-group", map[string][]int32{topic: {0}})
	check("fetch offsets", err)
	if offset := offsets.GetBlock(topic, 0).Offset; offset != 7 {
		log.Fatalf("offset %s was committed", strconv.FormatInt(offset, 10))
	}

	second := saramaTransactional(brokers, topic)
	check("begin", first.BeginTxn())
	if err := first.SendMessages(saramaMessages(topic, "fenced")); err == nil {
		log.Fatal("the first producer was not fenced")
	}
	transact(second, "the second", 8)
	check("commit", second.CommitTxn())
	committed := []string{"committed", "committed too", "the second"}
	if seen := saramaRead(brokers, topic, sarama.ReadCommitted, 3); !slices.Equal(seen, committed) {
		log.Fatalf("saw %q", seen)
	}
	fmt.Println("ok")
}

func saramaRead(brokers []string, topic string, level sarama.IsolationLevel, count int) []string {
	settings := saramaSettings()
	settings.Consumer.IsolationLevel = level
	consumer, err := sarama.NewConsumer(brokers, settings)
	check("read", err)
	reader, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	check("read", err)
	var seen []string
	for len(seen) < count {
		select {
		case message := <-reader.Messages():
			seen = append(seen, string(message.Value))
		case <-time.After(30 * time.Second):
			log.Fatalf("saw %q", seen)
		}
	}
	check("close", reader.Close())
	check("close", consumer.Close())
	return seen
}
