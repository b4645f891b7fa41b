// nats.go with its defaults, but for the limits of the subscription that is measured.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	nats "github.com/nats-io/nats.go"
)

const (
	subject       = "bench.orders.created"
	inFlight      = 256
	timeout       = 10 * time.Second
)

var headers = [][2]string{
	{"Nats-Msg-Id", "8a2f41"}, {"Content-Type", "text/plain"}, {"Trace", "00-4bf92f35"},
}

var input = bufio.NewReader(os.Stdin)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ready() {
	fmt.Println("ready")
	_, err := input.ReadString('\n')
	check(err)
}

type tally struct {
	received, headers int
	last              bool
	times             []time.Duration
}

func (t *tally) done() {
	last := 0
	if t.last {
		last = 1
	}
	line := fmt.Sprintf("done received=%d last=%d headers=%d", t.received, last, t.headers)
	if n := len(t.times); n > 0 {
		sort.Slice(t.times, func(a, b int) bool { return t.times[a] < t.times[b] })
		at := func(share float64) int64 { return t.times[int(share*float64(n))].Nanoseconds() }
		line += fmt.Sprintf(" p50=%d p99=%d p999=%d", at(0.5), at(0.99), at(0.999))
	}
	fmt.Println(line)
	_, _ = io.Copy(io.Discard, input)
}

func publish(nc *nats.Conn, count, size int, withHeaders bool) {
	payload := []byte(strings.Repeat("x", size))
	msg := nats.NewMsg(subject)
	msg.Data = payload
	for _, header := range headers {
		msg.Header.Set(header[0], header[1])
	}
	check(nc.Flush())
	ready()
	for i := 0; i < count; i++ {
		if withHeaders {
			check(nc.PublishMsg(msg))
		} else {
			check(nc.Publish(subject, payload))
		}
	}
	check(nc.FlushTimeout(time.Minute))
	new(tally).done()
}

func publishers(nc *nats.Conn, count, tasks int) {
	payload := []byte(strings.Repeat("x", 128))
	check(nc.Flush())
	ready()
	var all sync.WaitGroup
	for i := 0; i < tasks; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; i < count/tasks; i++ {
				check(nc.Publish(subject, payload))
			}
		}()
	}
	all.Wait()
	check(nc.FlushTimeout(time.Minute))
	new(tally).done()
}

func receive(nc *nats.Conn, count int, readHeaders, limits bool) {
	t := new(tally)
	ended := make(chan struct{})
	over := false
	sub, err := nc.Subscribe(subject, func(msg *nats.Msg) {
		if over {
			return
		}
		first := msg.Data[0]
		if first != 'E' {
			if readHeaders {
				for _, values := range msg.Header {
					for _, value := range values {
						t.headers += len(value)
					}
				}
			}
			t.received++
			t.last = first == 'L'
		}
		if first == 'E' || t.received == count {
			over = true
			close(ended)
		}
	})
	check(err)
	if !limits {
		check(sub.SetPendingLimits(-1, -1))
	}
	check(nc.Flush())
	ready()
	<-ended
	t.done()
}

func request(nc *nats.Conn, count, size, workers int) {
	payload := []byte(strings.Repeat("x", size))
	share := count / workers
	t := new(tally)
	var lock sync.Mutex
	work := func() {
		times := make([]time.Duration, 0, share)
		for i := 0; i < share; i++ {
			start := time.Now()
			reply, err := nc.Request(subject, payload, timeout)
			check(err)
			if len(reply.Data) != size {
				log.Fatal("a reply of another size")
			}
			times = append(times, time.Since(start))
		}
		lock.Lock()
		defer lock.Unlock()
		t.received += share
		t.times = append(t.times, times...)
	}
	check(nc.Flush())
	ready()
	if workers == 1 {
		work()
	} else {
		var all sync.WaitGroup
		for i := 0; i < workers; i++ {
			all.Add(1)
			go func() {
				defer all.Done()
				work()
			}()
		}
		all.Wait()
	}
	t.done()
}

func fanOut(nc *nats.Conn, count, subscriptions int) {
	var arrived, lastOnes, ends, over atomic.Int64
	ended := make(chan bool, 1)
	for i := 0; i < subscriptions; i++ {
		hasEnd := false
		_, err := nc.Subscribe(fmt.Sprintf("bench.orders.%d", i), func(msg *nats.Msg) {
			first := msg.Data[0]
			if first == 'E' {
				// One that has come to its end says nothing of the others.
				if !hasEnd && ends.Add(1) == int64(subscriptions) && over.Add(1) == 1 {
					ended <- false
				}
				hasEnd = true
				return
			}
			if first == 'L' {
				lastOnes.Add(1)
			}
			if arrived.Add(1) == int64(count) && over.Add(1) == 1 {
				ended <- lastOnes.Load() == int64(subscriptions)
			}
		})
		check(err)
	}
	check(nc.Flush())
	ready()
	last := <-ended
	(&tally{received: int(arrived.Load()), last: last}).done()
}

func subscribe(nc *nats.Conn, count int) {
	ready()
	for i := 0; i < count; i++ {
		_, err := nc.Subscribe(fmt.Sprintf("bench.orders.%d", i), func(*nats.Msg) {})
		check(err)
	}
	check(nc.FlushTimeout(time.Minute))
	(&tally{received: count}).done()
}

func resubscribe(url string, count int) {
	back := make(chan struct{}, 1)
	nc, err := nats.Connect(url, nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	check(err)
	for i := 0; i < count; i++ {
		_, err := nc.Subscribe(fmt.Sprintf("bench.orders.%d", i), func(*nats.Msg) {})
		check(err)
	}
	check(nc.FlushTimeout(time.Minute))
	ready()
	<-back
	check(nc.FlushTimeout(time.Minute))
	(&tally{received: count}).done()
}

func connect(url string, count, size int, keep bool) {
	payload := []byte(strings.Repeat("x", size))
	kept := make([]*nats.Conn, 0, count)
	ready()
	for i := 0; i < count; i++ {
		nc, err := nats.Connect(url)
		check(err)
		if keep {
			check(nc.Flush())
			kept = append(kept, nc)
		} else {
			check(nc.Publish(subject, payload))
			check(nc.Flush())
			nc.Close()
		}
	}
	(&tally{received: count}).done()
	runtime.KeepAlive(kept)
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("<workload> <host:port> <count> <size>")
	}
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	size, err := strconv.Atoi(os.Args[4])
	check(err)
	url := os.Args[2]
	if !strings.Contains(url, "://") {
		url = "nats://" + url
	}
	nc, err := nats.Connect(url)
	check(err)
	switch workload := os.Args[1]; workload {
	case "publish", "publish-headers":
		publish(nc, count, size, workload == "publish-headers")
	case "publishers":
		publishers(nc, count, size)
	case "js-publish":
		jsPublish(nc, count, size)
	case "js-window":
		jsWindow(nc, count, size)
	case "js-consume", "js-read":
		jsConsume(nc, count, workload == "js-consume")
	case "kv-put", "kv-get", "kv-get-each", "kv-keys", "kv-watch":
		bucket(nc, workload, count, size)
	case "receive", "receive-headers", "read-headers", "burst":
		receive(nc, count, workload == "read-headers", workload == "burst")
	case "fan-out":
		fanOut(nc, count, size)
	case "subscriptions":
		subscribe(nc, count)
	case "resubscribe":
		resubscribe(url, count)
	case "idle", "connect":
		connect(url, count, size, workload == "idle")
	case "request":
		request(nc, count, size, 1)
	case "requests":
		request(nc, count, size, inFlight)
	default:
		log.Fatalf("there is no workload %q", workload)
	}
}
