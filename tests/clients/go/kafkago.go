package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

type kafkaGo struct {
	ctx       context.Context
	bootstrap string
	client    *kafka.Client
	members   atomic.Int32
}

func withKafkaGo(ctx context.Context, bootstrap string) library {
	client := &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 30 * time.Second}
	return &kafkaGo{ctx: ctx, bootstrap: bootstrap, client: client}
}

func (k *kafkaGo) createTopic(topic string, partitions int, retention string) {
	created, err := k.client.CreateTopics(k.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: partitions, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: retention}},
	}}})
	check("create", err)
	check("create", created.Errors[topic])
}

func (k *kafkaGo) metadata(topics ...string) []kafka.Topic {
	answer, err := k.client.Metadata(k.ctx, &kafka.MetadataRequest{Topics: topics})
	check("metadata", err)
	return answer.Topics
}

func (k *kafkaGo) topics() []string {
	var names []string
	for _, topic := range k.metadata() {
		names = append(names, topic.Name)
	}
	return names
}

func (k *kafkaGo) partitionsOf(topic string) int { return len(k.metadata(topic)[0].Partitions) }

func (k *kafkaGo) retention(topic string) string {
	answer, err := k.client.DescribeConfigs(k.ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"},
		}},
	})
	check("describe configs", err)
	check("describe configs", answer.Resources[0].Error)
	return answer.Resources[0].ConfigEntries[0].ConfigValue
}

func (k *kafkaGo) alterRetention(topic, retention string) {
	answer, err := k.client.IncrementalAlterConfigs(k.ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{
				Name: "retention.ms", Value: retention, ConfigOperation: kafka.ConfigOperationSet,
			}},
		}},
	})
	check("alter", err)
	check("alter", answer.Resources[0].Error)
}

func (k *kafkaGo) write(topic string, numbers []int) {
	writer := &kafka.Writer{
		Addr: kafka.TCP(k.bootstrap), Topic: topic, Balancer: &kafka.RoundRobin{}, RequiredAcks: kafka.RequireAll,
		Compression: kafka.Snappy, BatchTimeout: 10 * time.Millisecond,
	}
	var messages []kafka.Message
	for _, number := range numbers {
		messages = append(messages, kafka.Message{Value: []byte(value(number))})
	}
	check("write", writer.WriteMessages(k.ctx, messages...))
	check("close", writer.Close())
}

type kafkaGoMember struct {
	name   string
	all    *members
	reader *kafka.ConsumerGroup
	done   chan struct{}
}

// join takes the library's generations, which show what a member holds; its Reader does the same behind a curtain.
func (k *kafkaGo) join(group, topic string, all *members) member {
	reader, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{k.bootstrap}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		SessionTimeout: 6 * time.Second, HeartbeatInterval: 300 * time.Millisecond,
	})
	check("join", err)
	one := &kafkaGoMember{fmt.Sprint("member ", k.members.Add(1)), all, reader, make(chan struct{})}
	go func() {
		defer close(one.done)
		for {
			generation, err := reader.Next(k.ctx)
			if errors.Is(err, kafka.ErrGroupClosed) || k.ctx.Err() != nil {
				all.holding(one.name, 0)
				return
			}
			if errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, io.ErrUnexpectedEOF) {
				continue
			}
			check("join", err)
			all.holding(one.name, len(generation.Assignments[topic]))
			for _, assigned := range generation.Assignments[topic] {
				generation.Start(func(ctx context.Context) { k.readPartition(ctx, generation, topic, assigned, all) })
			}
		}
	}()
	return one
}

func (k *kafkaGo) readPartition(
	ctx context.Context, generation *kafka.Generation, topic string, assigned kafka.PartitionAssignment, all *members,
) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{k.bootstrap}, Topic: topic, Partition: assigned.ID, MaxWait: 100 * time.Millisecond,
	})
	defer reader.Close()
	check("seek", reader.SetOffset(assigned.Offset))
	for {
		message, err := reader.ReadMessage(ctx)
		if ctx.Err() != nil || errors.Is(err, kafka.ErrGenerationEnded) {
			return
		}
		check("read", err)
		all.read(message.Value)
		offsets := map[string]map[int]int64{topic: {assigned.ID: message.Offset + 1}}
		if generation.CommitOffsets(offsets) != nil {
			return // the generation is over; whoever holds the partition next reads this again
		}
	}
}

func (m *kafkaGoMember) leave() {
	check("leave", m.reader.Close())
	<-m.done
}

func (k *kafkaGo) membersOf(group string) int {
	answer, err := k.client.DescribeGroups(k.ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	check("describe group", err)
	check("describe group", answer.Groups[0].Error)
	return len(answer.Groups[0].Members)
}

func (k *kafkaGo) groups() []string {
	answer, err := k.client.ListGroups(k.ctx, &kafka.ListGroupsRequest{})
	check("list groups", err)
	var names []string
	for _, group := range answer.Groups {
		names = append(names, group.GroupID)
	}
	return names
}

func (k *kafkaGo) committed(group, topic string) int64 {
	answer, err := k.client.OffsetFetch(k.ctx, &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: {0, 1, 2, 3}},
	})
	check("fetch offsets", err)
	var sum int64
	for _, partition := range answer.Topics[topic] {
		sum += partition.CommittedOffset
	}
	return sum
}

func (k *kafkaGo) deleteGroup(group string) {
	answer, err := k.client.DeleteGroups(k.ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	check("delete group", err)
	check("delete group", answer.Errors[group])
}

func (k *kafkaGo) deleteTopic(topic string) {
	answer, err := k.client.DeleteTopics(k.ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	check("delete", err)
	check("delete", answer.Errors[topic])
}
