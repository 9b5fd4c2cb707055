package main

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transactions: franz-go's transactions commit, abort, carry offsets, and fence.
func transactions(ctx context.Context, bootstrap, topic string) {
	source := topic + "-source"
	admin := kadm.NewClient(connect(bootstrap))
	defer admin.Close()
	for _, name := range []string{topic, source} {
		created, err := admin.CreateTopic(ctx, 1, 1, nil, name)
		check("create", err)
		check("create", created.Err)
	}
	produce(ctx, bootstrap, source, "in", 20)

	first, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(bootstrap), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeTopics(source), kgo.ConsumerGroup(topic+"-group"), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	check("session", err)
	defer first.Close()
	transfer(ctx, first, "aborted", kgo.TryAbort)
	transfer(ctx, first, "committed", kgo.TryCommit)

	committed := sent("committed")
	expectInOrder("committed records", read(ctx, bootstrap, topic, kgo.ReadCommitted(), 20), committed)
	all := append(sent("aborted"), committed...)
	expectInOrder("all records", read(ctx, bootstrap, topic, kgo.ReadUncommitted(), 40), all)
	lag, err := admin.Lag(ctx, topic+"-group")
	check("lag", err)
	if total := lag[topic+"-group"].Lag.Total(); total != 0 {
		log.Fatalf("lag %d after everything was committed", total)
	}

	second := connect(bootstrap, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	defer second.Close()
	check("begin", second.BeginTransaction())
	check("write", second.ProduceSync(ctx, kgo.StringRecord("the second")).FirstErr())
	check("end", second.EndTransaction(ctx, kgo.TryCommit))
	check("begin", first.Begin())
	if err := first.ProduceSync(ctx, kgo.StringRecord("fenced")).FirstErr(); err == nil {
		log.Fatal("the first producer was not fenced")
	}
	fmt.Println("ok")
}

func sent(how string) []string {
	var values []string
	for i := range 20 {
		values = append(values, fmt.Sprintf("%s value %d", how, i))
	}
	return values
}

// transfer moves all 20 records in one transaction.
func transfer(ctx context.Context, session *kgo.GroupTransactSession, how string, end kgo.TransactionEndTry) {
	check("begin", session.Begin())
	for moved := 0; moved < 20; {
		fetches := session.PollFetches(ctx)
		check("consume", fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			check("write", session.ProduceSync(ctx, kgo.StringRecord(how+" "+string(record.Value))).FirstErr())
			moved++
		})
	}
	committed, err := session.End(ctx, end)
	check("end", err)
	if committed != bool(end) {
		log.Fatalf("%s: committed is %v", how, committed)
	}
}

func read(ctx context.Context, bootstrap, topic string, level kgo.IsolationLevel, count int) []string {
	client := connect(bootstrap, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(level),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	var seen []string
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		check("read", fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) { seen = append(seen, string(record.Value)) })
	}
	return seen
}

func expectInOrder(what string, seen, expected []string) {
	if !slices.Equal(seen, expected) {
		log.Fatalf("%s: saw %q, expected %q", what, seen, expected)
	}
}
