// Go clients against a broker: franz-go, sarama and segmentio's kafka-go.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: roundtrip BOOTSTRAP TOPIC [PROGRAM]")
	}
	bootstrap, topic := os.Args[1], os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	programs := map[string]func(){
		"roundtrip":           func() { roundtrip(ctx, bootstrap, topic) },
		"transactions":        func() { transactions(ctx, bootstrap, topic) },
		"everyday":            func() { everyday(ctx, withFranz(ctx, bootstrap), topic) },
		"everyday_sarama":     func() { everyday(ctx, connectSarama(ctx, bootstrap), topic) },
		"transactions_sarama": func() { saramaTransactions(ctx, bootstrap, topic) },
		"everyday_kafkago":    func() { everyday(ctx, withKafkaGo(ctx, bootstrap), topic) },
	}
	program := "roundtrip"
	if len(os.Args) == 4 {
		program = os.Args[3]
	}
	run, known := programs[program]
	if !known {
		log.Fatalf("there is no program %s", program)
	}
	run()
}

// roundtrip: franz-go creates, produces with every codec, consumes in a group, commits, resumes, deletes.
func roundtrip(ctx context.Context, bootstrap, topic string) {
	client := connect(bootstrap)
	defer client.Close()
	admin := kadm.NewClient(client)
	created, err := admin.CreateTopic(ctx, 3, 1, nil, topic)
	check("create", err)
	check("create", created.Err)

	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	var expected []string
	for name, codec := range codecs {
		expected = append(expected, produce(ctx, bootstrap, topic, name, 50, kgo.ProducerBatchCompression(codec))...)
	}
	expect("the first reading", consume(ctx, bootstrap, topic, len(expected)), expected)

	later := produce(ctx, bootstrap, topic, "later", 10, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	expect("the reading after the commit", consume(ctx, bootstrap, topic, len(later)), later)

	lag, err := admin.Lag(ctx, topic+"-group")
	check("lag", err)
	check("lag", lag.Error())
	if total := lag[topic+"-group"].Lag.Total(); total != 0 {
		log.Fatalf("lag %d after everything was committed", total)
	}
	_, err = admin.DeleteTopics(ctx, topic)
	check("delete", err)
	fmt.Println("ok")
}

func connect(bootstrap string, more ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, more...)...)
	check("connect", err)
	return client
}

// produce returns what consume will say of the records it sent.
func produce(ctx context.Context, bootstrap, topic, name string, count int, more ...kgo.Opt) []string {
	client := connect(bootstrap, more...)
	defer client.Close()
	var sent []string
	for i := range count {
		record := &kgo.Record{
			Topic: topic, Key: fmt.Appendf(nil, "%s-%d", name, i), Value: fmt.Appendf(nil, "value %d", i),
			Headers: []kgo.RecordHeader{{Key: "twice", Value: []byte("a")}, {Key: "twice", Value: []byte("b")}},
		}
		check("produce "+name, client.ProduceSync(ctx, record).FirstErr())
		sent = append(sent, shown(record))
	}
	return sent
}

func consume(ctx context.Context, bootstrap, topic string, count int) []string {
	client := connect(bootstrap, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic+"-group"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	defer client.Close()
	var seen []string
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		check("consume", fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) { seen = append(seen, shown(record)) })
	}
	check("commit", client.CommitUncommittedOffsets(ctx))
	check("leave", client.LeaveGroupContext(ctx))
	return seen
}

func shown(record *kgo.Record) string {
	return fmt.Sprintf("%s=%s %s", record.Key, record.Value, record.Headers)
}

func expect(what string, seen, expected []string) {
	slices.Sort(seen)
	slices.Sort(expected)
	if !slices.Equal(seen, expected) {
		log.Fatalf("%s: saw %q, expected %q", what, seen, expected)
	}
}

func check(what string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}
