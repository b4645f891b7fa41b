"""nats-py with its defaults, but for the limits of the subscription that is measured."""

import asyncio
import os
import ssl
import sys
import time

import nats
from nats.js.api import ConsumerConfig

SUBJECT = "bench.orders.created"
HEADERS = {"Nats-Msg-Id": "8a2f41", "Content-Type": "text/plain", "Trace": "00-4bf92f35"}
IN_FLIGHT = 256
TIMEOUT = 10
STREAM = "PEERS"
STREAM_SUBJECT = "stream.orders.created"
CONSUMER = "worker"
BUCKET = "PEERS"
KEYS = 1000
SHARED = 128
# Messages that a pull asks for.
BATCH = 256

workload, server = sys.argv[1:3]
count, size = int(sys.argv[3]), int(sys.argv[4])
payload = b"x" * (SHARED if workload == "js-window" else size)


class Tally:
    received = 0
    last = 0
    headers = 0


tally = Tally()
times = []


def ready():
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit(1)


def done():
    line = f"done received={tally.received} last={tally.last} headers={tally.headers}"
    if times:
        times.sort()
        p50, p99, p999 = (times[int(share * len(times))] for share in (0.5, 0.99, 0.999))
        line += f" p50={p50} p99={p99} p999={p999}"
    print(line, flush=True)
    sys.stdin.read()


async def publish(nc):
    headers = HEADERS if workload == "publish-headers" else None
    await nc.flush()
    ready()
    for _ in range(count):
        await nc.publish(SUBJECT, payload, headers=headers)
    await nc.flush(timeout=60)


async def receive(nc):
    reads = workload == "read-headers"
    ended = asyncio.get_running_loop().create_future()

    async def on_message(message):
        first = message.data[0]
        if first != ord("E"):
            if reads:
                tally.headers += sum(len(value) for value in message.headers.values())
            tally.received += 1
            tally.last = int(first == ord("L"))
        if (first == ord("E") or tally.received == count) and not ended.done():
            ended.set_result(None)

    limits = {"pending_msgs_limit": 10_000_000, "pending_bytes_limit": 1 << 40}
    await nc.subscribe(SUBJECT, cb=on_message, **({} if workload == "burst" else limits))
    await nc.flush()
    ready()
    await ended


async def fan_out(nc):
    ended = asyncio.get_running_loop().create_future()
    last_ones = 0
    at_their_end = set()

    async def on_message(message):
        nonlocal last_ones
        first = message.data[0]
        if first == ord("E"):
            # One that has come to its end says nothing of the others.
            at_their_end.add(message.subject)
        else:
            tally.received += 1
            last_ones += first == ord("L")
            tally.last = int(last_ones == size)
        over = tally.received == count or len(at_their_end) == size
        if over and not ended.done():
            ended.set_result(None)

    for number in range(size):
        await nc.subscribe(f"bench.orders.{number}", cb=on_message)
    await nc.flush()
    ready()
    await ended


async def subscribe(nc):
    async def on_message(message):
        pass

    ready()
    for number in range(count):
        await nc.subscribe(f"bench.orders.{number}", cb=on_message)
    await nc.flush(timeout=60)
    tally.received = count


async def resubscribe():
    back = asyncio.Event()

    async def on_message(message):
        pass

    async def on_reconnected():
        back.set()

    nc = await nats.connect(f"nats://{server}", reconnected_cb=on_reconnected)
    for number in range(count):
        await nc.subscribe(f"bench.orders.{number}", cb=on_message)
    await nc.flush(timeout=60)
    ready()
    await back.wait()
    await nc.flush(timeout=60)
    tally.received = count


async def js_publish(nc):
    js = nc.jetstream()
    ready()
    for _ in range(count):
        start = time.perf_counter_ns()
        await js.publish(STREAM_SUBJECT, payload)
        times.append(time.perf_counter_ns() - start)
        tally.received += 1


async def js_window(nc):
    js = nc.jetstream(publish_async_max_pending=size)
    ready()
    for _ in range(count):
        await js.publish_async(STREAM_SUBJECT, payload, wait_stall=60)
    await js.publish_async_completed()
    tally.received = count


async def js_consume(nc, acks):
    if acks:
        config = ConsumerConfig(max_ack_pending=-1)
        subscription = await nc.jetstream().pull_subscribe(
            STREAM_SUBJECT, durable=CONSUMER, stream=STREAM, config=config
        )
    else:
        subscription = await nc.jetstream().pull_subscribe_bind(durable=CONSUMER, stream=STREAM)
    ready()
    while tally.received < count:
        # It waits for as many as it asks for.
        batch = min(BATCH, count - tally.received)
        for message in await subscription.fetch(batch, timeout=60):
            if acks:
                await message.ack()
            tally.received += 1
    await nc.flush(timeout=60)


async def bucket(nc):
    kv = await nc.jetstream().key_value(BUCKET)
    keys = count if workload == "kv-get-each" else KEYS
    ready()
    if workload == "kv-put":
        for number in range(count):
            start = time.perf_counter_ns()
            await kv.put(f"orders.{number % keys}", payload)
            times.append(time.perf_counter_ns() - start)
            tally.received += 1
    elif workload == "kv-keys":
        tally.received = len(await kv.keys())
    elif workload == "kv-watch":
        watcher = await kv.watchall()
        async for entry in watcher:
            # That was all that it held.
            if entry is None:
                break
            tally.received += len(entry.value) == size
    else:
        for number in range(count):
            start = time.perf_counter_ns()
            entry = await kv.get(f"orders.{number % keys}")
            times.append(time.perf_counter_ns() - start)
            tally.received += len(entry.value) == size


async def connect(keep):
    ready()
    kept = []
    for _ in range(count):
        nc = await nats.connect(f"nats://{server}")
        if keep:
            await nc.flush()
            kept.append(nc)
        else:
            await nc.publish(SUBJECT, payload)
            await nc.flush()
            await nc.close()
        tally.received += 1
    return kept


async def requests(nc, share):
    for _ in range(share):
        start = time.perf_counter_ns()
        reply = await nc.request(SUBJECT, payload, timeout=TIMEOUT)
        times.append(time.perf_counter_ns() - start)
        tally.received += len(reply.data) == size


async def main():
    if "://" in server:
        nc = await nats.connect(server, tls=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]))
    else:
        nc = await nats.connect(f"nats://{server}")
    if workload.startswith("publish"):
        await publish(nc)
    elif workload == "request":
        await nc.flush()
        ready()
        await requests(nc, count)
    elif workload == "requests":
        await nc.flush()
        ready()
        await asyncio.gather(*(requests(nc, count // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    elif workload == "fan-out":
        await fan_out(nc)
    elif workload == "subscriptions":
        await subscribe(nc)
    elif workload == "resubscribe":
        await resubscribe()
    elif workload == "js-publish":
        await js_publish(nc)
    elif workload == "js-window":
        await js_window(nc)
    elif workload in ("js-consume", "js-read"):
        await js_consume(nc, workload == "js-consume")
    elif workload.startswith("kv-"):
        await bucket(nc)
    elif workload in ("idle", "connect"):
        kept = await connect(workload == "idle")
    else:
        await receive(nc)
    done()


asyncio.run(main())
