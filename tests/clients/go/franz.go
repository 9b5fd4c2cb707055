package main

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct {
	ctx       context.Context
	bootstrap string
	admin     *kadm.Client
	client    *kgo.Client
	members   atomic.Int32
}

func withFranz(ctx context.Context, bootstrap string) library {
	client := connect(bootstrap, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return &franz{ctx: ctx, bootstrap: bootstrap, admin: kadm.NewClient(client), client: client}
}

func (f *franz) createTopic(topic string, partitions int, retention string) {
	created, err := f.admin.CreateTopic(f.ctx, int32(partitions), 1, map[string]*string{"retention.ms": &retention}, topic)
	check("create", err)
	check("create", created.Err)
}

func (f *franz) topics() []string {
	listed, err := f.admin.ListTopics(f.ctx)
	check("list", err)
	return listed.Names()
}

func (f *franz) partitionsOf(topic string) int {
	listed, err := f.admin.ListTopics(f.ctx, topic)
	check("describe", err)
	return len(listed[topic].Partitions)
}

func (f *franz) retention(topic string) string {
	configs, err := f.admin.DescribeTopicConfigs(f.ctx, topic)
	check("describe configs", err)
	resource, err := configs.On(topic, nil)
	check("describe configs", err)
	for _, config := range resource.Configs {
		if config.Key == "retention.ms" {
			return config.MaybeValue()
		}
	}
	return ""
}

func (f *franz) alterRetention(topic, retention string) {
	altered, err := f.admin.AlterTopicConfigs(f.ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &retention}}, topic)
	check("alter", err)
	for _, answer := range altered {
		check("alter", answer.Err)
	}
}

func (f *franz) write(topic string, numbers []int) {
	var records []*kgo.Record
	for _, number := range numbers {
		partition := int32(number % partitions)
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value(number)), Partition: partition})
	}
	check("write", f.client.ProduceSync(f.ctx, records...).FirstErr())
}

type franzMember struct {
	client *kgo.Client
	done   chan struct{}
	end    context.CancelFunc
}

func (f *franz) join(group, topic string, all *members) member {
	name := fmt.Sprint("member ", f.members.Add(1))
	held := 0
	gained := func(by int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, client *kgo.Client, moved map[string][]int32) {
			if by < 0 {
				check("commit", client.CommitUncommittedOffsets(f.ctx))
			}
			held += by * len(moved[topic])
			all.holding(name, held)
		}
	}
	client := connect(f.bootstrap, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.OnPartitionsAssigned(gained(1)), kgo.OnPartitionsRevoked(gained(-1)), kgo.OnPartitionsLost(gained(-1)))
	ctx, end := context.WithCancel(f.ctx)
	joined := &franzMember{client: client, done: make(chan struct{}), end: end}
	go func() {
		defer close(joined.done)
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			check("read", fetches.Err())
			fetches.EachRecord(func(record *kgo.Record) { all.read(record.Value) })
			if err := client.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
				log.Fatalf("commit: %v", err)
			}
		}
	}()
	return joined
}

func (m *franzMember) leave() {
	m.end()
	<-m.done
	m.client.Close()
}

func (f *franz) membersOf(group string) int {
	described, err := f.admin.DescribeGroups(f.ctx, group)
	check("describe group", err)
	check("describe group", described.Error())
	return len(described[group].Members)
}

func (f *franz) groups() []string {
	listed, err := f.admin.ListGroups(f.ctx)
	check("list groups", err)
	return listed.Groups()
}

func (f *franz) committed(group, topic string) int64 {
	offsets, err := f.admin.FetchOffsets(f.ctx, group)
	check("fetch offsets", err)
	var sum int64
	offsets.Each(func(offset kadm.OffsetResponse) { sum += offset.At })
	return sum
}

func (f *franz) deleteGroup(group string) {
	deleted, err := f.admin.DeleteGroup(f.ctx, group)
	check("delete group", err)
	check("delete group", deleted.Err)
}

func (f *franz) deleteTopic(topic string) {
	deleted, err := f.admin.DeleteTopic(f.ctx, topic)
	check("delete", err)
	check("delete", deleted.Err)
}
