// The workloads of JetStream and key-value, over a stream and a bucket that the tool has made.

#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "PEERS"
#define STREAM_SUBJECT "stream.orders.created"
#define CONSUMER "worker"
#define BUCKET "PEERS"
#define KEYS 1000
#define SHARED 128
// Messages that a pull asks for.
#define BATCH 256
#define PATIENCE 60000

static jsCtx *context(int64_t window) {
    jsCtx *js = NULL;
    jsOptions options;
    check(jsOptions_Init(&options), "options");
    options.PublishAsync.MaxPending = window;
    // Whoever publishes is to wait for a place.
    options.PublishAsync.StallWait = PATIENCE;
    check(natsConnection_JetStream(&js, nc, &options), "JetStream");
    return js;
}

static void js_publish(void) {
    jsCtx *js = context(0);
    uint32_t *times = calloc((size_t)count, sizeof *times);
    ready();
    for (int64_t i = 0; i < count; i++) {
        uint64_t start = now();
        check(js_Publish(NULL, js, STREAM_SUBJECT, payload, size, NULL, NULL), "publish");
        times[i] = (uint32_t)(now() - start);
    }
    received = count;
    done(times, count);
}

static void js_window(void) {
    jsCtx *js = context(size);
    char message[SHARED];
    memset(message, 'x', sizeof message);
    jsPubOptions options;
    check(jsPubOptions_Init(&options), "options");
    options.MaxWait = PATIENCE;
    ready();
    for (int64_t i = 0; i < count; i++) {
        check(js_PublishAsync(js, STREAM_SUBJECT, message, sizeof message, NULL), "publish");
    }
    check(js_PublishAsyncComplete(js, &options), "acks");
    received = count;
    done(NULL, 0);
}

static void js_consume(bool acks) {
    jsCtx *js = context(0);
    jsSubOptions options;
    check(jsSubOptions_Init(&options), "options");
    options.Stream = STREAM;
    if (acks) options.Config.MaxAckPending = -1;
    else options.Consumer = CONSUMER;
    natsSubscription *subscription = NULL;
    check(js_PullSubscribe(&subscription, js, STREAM_SUBJECT, acks ? CONSUMER : NULL, NULL, &options,
                           NULL),
          "subscribe");
    ready();
    while (received < count) {
        // It waits for as many as it asks for.
        int64_t left = count - received;
        natsMsgList list;
        check(natsSubscription_Fetch(&list, subscription, left < BATCH ? (int)left : BATCH,
                                     PATIENCE, NULL),
              "fetch");
        for (int i = 0; acks && i < list.Count; i++) check(natsMsg_Ack(list.Msgs[i], NULL), "ack");
        received += list.Count;
        natsMsgList_Destroy(&list);
    }
    check(natsConnection_FlushTimeout(nc, PATIENCE), "flush");
    done(NULL, 0);
}

static kvStore *bucket(void) {
    kvStore *kv = NULL;
    check(js_KeyValue(&kv, context(0), BUCKET), "bucket");
    return kv;
}

static void kv_put(void) {
    kvStore *kv = bucket();
    uint32_t *times = calloc((size_t)count, sizeof *times);
    ready();
    for (int64_t i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "orders.%lld", (long long)(i % KEYS));
        uint64_t start = now();
        check(kvStore_Put(NULL, kv, key, payload, size), "put");
        times[i] = (uint32_t)(now() - start);
    }
    received = count;
    done(times, count);
}

static void kv_get(int64_t keys) {
    kvStore *kv = bucket();
    uint32_t *times = calloc((size_t)count, sizeof *times);
    ready();
    for (int64_t i = 0; i < count; i++) {
        char key[64];
        kvEntry *entry = NULL;
        snprintf(key, sizeof key, "orders.%lld", (long long)(i % keys));
        uint64_t start = now();
        check(kvStore_Get(&entry, kv, key), "get");
        times[i] = (uint32_t)(now() - start);
        received += kvEntry_ValueLen(entry) == size;
        kvEntry_Destroy(entry);
    }
    done(times, count);
}

// As kvStore_Keys does it, which ends with a timeout when there are 100,000.
static void kv_keys(void) {
    kvStore *kv = bucket();
    kvWatcher *watcher = NULL;
    kvWatchOptions options;
    check(kvWatchOptions_Init(&options), "options");
    options.IgnoreDeletes = true;
    options.MetaOnly = true;
    char **keys = calloc((size_t)count, sizeof *keys);
    ready();
    check(kvStore_WatchAll(&watcher, kv, &options), "watch");
    for (;;) {
        kvEntry *entry = NULL;
        check(kvWatcher_Next(&entry, watcher, PATIENCE), "next");
        // That was all that it held.
        if (entry == NULL) break;
        if (received < count) keys[received] = strdup(kvEntry_Key(entry));
        received++;
        kvEntry_Destroy(entry);
    }
    done(NULL, 0);
}

static void kv_watch(void) {
    kvStore *kv = bucket();
    kvWatcher *watcher = NULL;
    ready();
    check(kvStore_WatchAll(&watcher, kv, NULL), "watch");
    for (;;) {
        kvEntry *entry = NULL;
        check(kvWatcher_Next(&entry, watcher, PATIENCE), "next");
        // That was all that it held.
        if (entry == NULL) break;
        received += kvEntry_ValueLen(entry) == size;
        kvEntry_Destroy(entry);
    }
    done(NULL, 0);
}

bool stored(const char *workload) {
    if (strcmp(workload, "js-publish") == 0) js_publish();
    else if (strcmp(workload, "js-window") == 0) js_window();
    else if (strcmp(workload, "js-consume") == 0) js_consume(true);
    else if (strcmp(workload, "js-read") == 0) js_consume(false);
    else if (strcmp(workload, "kv-put") == 0) kv_put();
    else if (strcmp(workload, "kv-get") == 0) kv_get(KEYS);
    else if (strcmp(workload, "kv-get-each") == 0) kv_get(count);
    else if (strcmp(workload, "kv-keys") == 0) kv_keys();
    else if (strcmp(workload, "kv-watch") == 0) kv_watch();
    else return false;
    return true;
}
