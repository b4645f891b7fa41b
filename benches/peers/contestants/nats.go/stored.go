// The workloads of JetStream and key-value, over a stream and a bucket that the tool has made.
package main

import (
	"fmt"
	"strings"
	"time"

	nats "github.com/nats-io/nats.go"
)

const (
	stream        = "PEERS"
	streamSubject = "stream.orders.created"
	consumer      = "worker"
	bucketName    = "PEERS"
	keys          = 1000
	// Messages that a pull asks for.
	batch = 256
)

func jsPublish(nc *nats.Conn, count, size int) {
	payload := []byte(strings.Repeat("x", size))
	js, err := nc.JetStream()
	check(err)
	t := new(tally)
	ready()
	for i := 0; i < count; i++ {
		start := time.Now()
		_, err := js.Publish(streamSubject, payload)
		check(err)
		t.times = append(t.times, time.Since(start))
		t.received++
	}
	t.done()
}

func jsWindow(nc *nats.Conn, count, window int) {
	payload := []byte(strings.Repeat("x", 128))
	js, err := nc.JetStream(nats.PublishAsyncMaxPending(window))
	check(err)
	ready()
	for i := 0; i < count; i++ {
		_, err := js.PublishAsync(streamSubject, payload, nats.StallWait(time.Minute))
		check(err)
	}
	<-js.PublishAsyncComplete()
	(&tally{received: count}).done()
}

func jsConsume(nc *nats.Conn, count int, acks bool) {
	js, err := nc.JetStream()
	check(err)
	options := []nats.SubOpt{nats.Bind(stream, consumer)}
	if acks {
		options = []nats.SubOpt{nats.BindStream(stream), nats.MaxAckPending(-1)}
	}
	sub, err := js.PullSubscribe(streamSubject, consumer, options...)
	check(err)
	t := new(tally)
	ready()
	for t.received < count {
		// It waits for as many as it asks for.
		number := batch
		if count-t.received < number {
			number = count - t.received
		}
		messages, err := sub.Fetch(number, nats.MaxWait(time.Minute))
		check(err)
		for _, message := range messages {
			if acks {
				check(message.Ack())
			}
		}
		t.received += len(messages)
	}
	check(nc.FlushTimeout(time.Minute))
	t.done()
}

func bucket(nc *nats.Conn, workload string, count, size int) {
	payload := []byte(strings.Repeat("x", size))
	js, err := nc.JetStream()
	check(err)
	kv, err := js.KeyValue(bucketName)
	check(err)
	t := new(tally)
	keys := keys
	if workload == "kv-get-each" {
		keys = count
	}
	ready()
	switch workload {
	case "kv-put":
		for i := 0; i < count; i++ {
			start := time.Now()
			_, err := kv.Put(fmt.Sprintf("orders.%d", i%keys), payload)
			check(err)
			t.times = append(t.times, time.Since(start))
			t.received++
		}
	case "kv-keys":
		all, err := kv.Keys()
		check(err)
		t.received = len(all)
	case "kv-watch":
		watcher, err := kv.WatchAll()
		check(err)
		for entry := range watcher.Updates() {
			// That was all that it held.
			if entry == nil {
				break
			}
			if len(entry.Value()) == size {
				t.received++
			}
		}
	default:
		for i := 0; i < count; i++ {
			start := time.Now()
			entry, err := kv.Get(fmt.Sprintf("orders.%d", i%keys))
			check(err)
			t.times = append(t.times, time.Since(start))
			if len(entry.Value()) == size {
				t.received++
			}
		}
	}
	t.done()
}
