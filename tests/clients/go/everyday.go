package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"time"
)

const (
	partitions = 4
	share      = 200
)

// library is what an application does every day, in the words of one client library.
type library interface {
	createTopic(topic string, partitions int, retention string)
	topics() []string
	partitionsOf(topic string) int
	retention(topic string) string
	alterRetention(topic, retention string)
	write(topic string, numbers []int)
	join(group, topic string, members *members) member
	membersOf(group string) int
	groups() []string
	committed(group, topic string) int64
	deleteGroup(group string)
	deleteTopic(topic string)
}

// member reads and commits until it leaves.
type member interface{ leave() }

// members are told by what they read and what they hold.
type members struct {
	sync.Mutex
	seen  map[string]bool
	holds map[string]int
}

func (all *members) read(value []byte) {
	all.Lock()
	defer all.Unlock()
	all.seen[string(value)] = true
}

func (all *members) holding(name string, count int) {
	all.Lock()
	defer all.Unlock()
	all.holds[name] = count
}

func (all *members) haveSeen(count int) bool {
	all.Lock()
	defer all.Unlock()
	for number := range count {
		if !all.seen[value(number)] {
			return false
		}
	}
	return len(all.seen) == count
}

func (all *members) share(shares ...int) bool {
	all.Lock()
	defer all.Unlock()
	var held []int
	for _, count := range all.holds {
		if count > 0 {
			held = append(held, count)
		}
	}
	slices.Sort(held)
	return slices.Equal(held, shares)
}

func value(number int) string { return fmt.Sprintf("value %d", number) }

func numbers(from, to int) []int {
	var all []int
	for number := from; number < to; number++ {
		all = append(all, number)
	}
	return all
}

func until(ctx context.Context, what string, holds func() bool) {
	for !holds() {
		if ctx.Err() != nil {
			log.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// everyday administers a topic, and reads it in a group whose members come and go.
func everyday(ctx context.Context, with library, topic string) {
	group := topic + "-group"
	with.createTopic(topic, partitions, "7200000")
	until(ctx, "the topic", func() bool { return slices.Contains(with.topics(), topic) })
	if count := with.partitionsOf(topic); count != partitions {
		log.Fatalf("%d partitions", count)
	}
	if retention := with.retention(topic); retention != "7200000" {
		log.Fatalf("retention.ms is %s", retention)
	}
	with.alterRetention(topic, "3600000")
	until(ctx, "the config", func() bool { return with.retention(topic) == "3600000" })

	all := &members{seen: map[string]bool{}, holds: map[string]int{}}
	with.write(topic, numbers(0, share))
	one := with.join(group, topic, all)
	until(ctx, "the first records", func() bool { return all.haveSeen(share) })
	two := with.join(group, topic, all)
	until(ctx, "two members", func() bool { return all.share(2, 2) })
	with.write(topic, numbers(share, 2*share))
	until(ctx, "records of two members", func() bool { return all.haveSeen(2 * share) })
	two.leave()
	until(ctx, "one member", func() bool { return all.share(4) })
	with.write(topic, numbers(2*share, 3*share))
	until(ctx, "the last records", func() bool { return all.haveSeen(3 * share) })
	if count := with.membersOf(group); count != 1 {
		log.Fatalf("%d members in a group of one", count)
	}
	one.leave()

	if !slices.Contains(with.groups(), group) {
		log.Fatalf("%s is not among %q", group, with.groups())
	}
	if offsets := with.committed(group, topic); offsets != 3*share {
		log.Fatalf("%d of %d records are committed", offsets, 3*share)
	}
	with.deleteGroup(group)
	if slices.Contains(with.groups(), group) {
		log.Fatalf("%s is still among %q", group, with.groups())
	}
	with.deleteTopic(topic)
	until(ctx, "the end of the topic", func() bool { return !slices.Contains(with.topics(), topic) })
	fmt.Println("ok")
}
