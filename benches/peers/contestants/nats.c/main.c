// nats.c with its defaults, but for the limits of the subscription that is measured.

#include "peers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SUBJECT "bench.orders.created"
#define IN_FLIGHT 256
#define TIMEOUT 10000
#define SHARED 128

static const char *const NAMES[] = {"Nats-Msg-Id", "Content-Type", "Trace"};
static const char *const VALUES[] = {"8a2f41", "text/plain", "00-4bf92f35"};

natsConnection *nc;
int64_t count;
int size;
char *payload;

int64_t received;
static bool last;
static bool read_headers;
static int64_t header_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static bool has_ended;

void check(natsStatus status, const char *what) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(1);
    }
}

void ready(void) {
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) exit(1);
}

uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void done(uint32_t *times, int64_t number) {
    printf("done received=%lld last=%d headers=%lld", (long long)received, last,
           (long long)header_bytes);
    if (number > 0) {
        qsort(times, (size_t)number, sizeof *times, compare);
        printf(" p50=%u p99=%u p999=%u", times[(int64_t)(0.5 * (double)number)],
               times[(int64_t)(0.99 * (double)number)], times[(int64_t)(0.999 * (double)number)]);
    }
    printf("\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

// With the certificate that the tool trusts, where TLS is due.
static natsStatus connect_to(natsConnection **connection, const char *url, natsOptions *options) {
    check(natsOptions_SetURL(options, url), "URL");
    if (strncmp(url, "tls://", 6) == 0) {
        check(natsOptions_SetSecure(options, true), "TLS");
        check(natsOptions_LoadCATrustedCertificates(options, getenv("SSL_CERT_FILE")), "trust");
    }
    return natsConnection_Connect(connection, options);
}

static natsOptions *new_options(void) {
    natsOptions *options = NULL;
    check(natsOptions_Create(&options), "options");
    return options;
}

static void publish(bool headers) {
    natsMsg *msg = NULL;
    if (headers) {
        check(natsMsg_Create(&msg, SUBJECT, NULL, payload, size), "message");
        for (int i = 0; i < 3; i++) check(natsMsgHeader_Add(msg, NAMES[i], VALUES[i]), "header");
    }
    check(natsConnection_Flush(nc), "flush");
    ready();
    for (int64_t i = 0; i < count; i++) {
        natsStatus status =
            headers ? natsConnection_PublishMsg(nc, msg) : natsConnection_Publish(nc, SUBJECT, payload, size);
        check(status, "publish");
    }
    check(natsConnection_FlushTimeout(nc, 60000), "flush");
    done(NULL, 0);
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *msg,
                       void *closure) {
    (void)connection;
    (void)subscription;
    (void)closure;
    char first = natsMsg_GetData(msg)[0];
    bool end = first == 'E';
    if (!end) {
        if (read_headers) {
            const char **keys = NULL;
            int number = 0;
            check(natsMsgHeader_Keys(msg, &keys, &number), "headers");
            for (int i = 0; i < number; i++) {
                const char *value = NULL;
                check(natsMsgHeader_Get(msg, keys[i], &value), "header");
                header_bytes += (int64_t)strlen(value);
            }
            free((void *)keys);
        }
        received++;
        last = first == 'L';
    }
    natsMsg_Destroy(msg);
    if (end || received == count) {
        pthread_mutex_lock(&lock);
        has_ended = true;
        pthread_cond_signal(&ended);
        pthread_mutex_unlock(&lock);
    }
}

static void receive(bool limits) {
    natsSubscription *subscription = NULL;
    check(natsConnection_Subscribe(&subscription, nc, SUBJECT, on_message, NULL), "subscribe");
    if (!limits) check(natsSubscription_SetPendingLimits(subscription, -1, -1), "limits");
    check(natsConnection_Flush(nc), "flush");
    ready();
    pthread_mutex_lock(&lock);
    while (!has_ended) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    done(NULL, 0);
}

static atomic_llong arrived;
static atomic_int last_ones;
static atomic_int ends;

static void on_one(natsConnection *connection, natsSubscription *subscription, natsMsg *msg,
                   void *closure) {
    (void)connection;
    (void)subscription;
    char first = natsMsg_GetData(msg)[0];
    natsMsg_Destroy(msg);
    // One that has come to its end says nothing of the others.
    bool *has_end = closure;
    bool end = first == 'E' && !*has_end;
    *has_end = *has_end || end;
    if (first == 'L') atomic_fetch_add(&last_ones, 1);
    if (end ? atomic_fetch_add(&ends, 1) + 1 == size
            : first != 'E' && atomic_fetch_add(&arrived, 1) + 1 == count) {
        pthread_mutex_lock(&lock);
        last = last_ones == size;
        has_ended = true;
        pthread_cond_signal(&ended);
        pthread_mutex_unlock(&lock);
    }
}

static void fan_out(void) {
    bool *has_end = calloc((size_t)size, sizeof *has_end);
    for (int i = 0; i < size; i++) {
        natsSubscription *subscription = NULL;
        char subject[64];
        snprintf(subject, sizeof subject, "bench.orders.%d", i);
        check(natsConnection_Subscribe(&subscription, nc, subject, on_one, &has_end[i]), "subscribe");
    }
    check(natsConnection_Flush(nc), "flush");
    ready();
    pthread_mutex_lock(&lock);
    while (!has_ended) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    received = arrived;
    done(NULL, 0);
}

static uint32_t *times;
static int64_t share;
static atomic_llong answered;

static void *requests(void *argument) {
    uint32_t *mine = argument;
    for (int64_t i = 0; i < share; i++) {
        natsMsg *reply = NULL;
        uint64_t start = now();
        check(natsConnection_Request(&reply, nc, SUBJECT, payload, size, TIMEOUT), "request");
        mine[i] = (uint32_t)(now() - start);
        if (natsMsg_GetDataLength(reply) == size) atomic_fetch_add(&answered, 1);
        natsMsg_Destroy(reply);
    }
    return NULL;
}

static void request(int threads) {
    pthread_t each[IN_FLIGHT];
    times = calloc((size_t)count, sizeof *times);
    share = count / threads;
    check(natsConnection_Flush(nc), "flush");
    ready();
    if (threads == 1) {
        requests(times);
    } else {
        for (int i = 0; i < threads; i++) pthread_create(&each[i], NULL, requests, times + i * share);
        for (int i = 0; i < threads; i++) pthread_join(each[i], NULL);
    }
    received = answered;
    done(times, share * threads);
}

static void *publish_share(void *argument) {
    (void)argument;
    for (int64_t i = 0; i < share; i++) {
        check(natsConnection_Publish(nc, SUBJECT, payload, SHARED), "publish");
    }
    return NULL;
}

static void publishers(void) {
    pthread_t *each = calloc((size_t)size, sizeof *each);
    share = count / size;
    payload = realloc(payload, SHARED);
    memset(payload, 'x', SHARED);
    check(natsConnection_Flush(nc), "flush");
    ready();
    for (int i = 0; i < size; i++) pthread_create(&each[i], NULL, publish_share, NULL);
    for (int i = 0; i < size; i++) pthread_join(each[i], NULL);
    check(natsConnection_FlushTimeout(nc, 60000), "flush");
    done(NULL, 0);
}

// A callback would have a thread for each.
static natsSubscription **subscribe_all(void) {
    natsSubscription **kept = calloc((size_t)count, sizeof(natsSubscription *));
    for (int64_t i = 0; i < count; i++) {
        char subject[64];
        snprintf(subject, sizeof subject, "bench.orders.%lld", (long long)i);
        check(natsConnection_SubscribeSync(&kept[i], nc, subject), "subscribe");
    }
    check(natsConnection_FlushTimeout(nc, 60000), "flush");
    return kept;
}

static void subscribe(void) {
    ready();
    subscribe_all();
    received = count;
    done(NULL, 0);
}

static void on_reconnected(natsConnection *connection, void *closure) {
    (void)connection;
    (void)closure;
    pthread_mutex_lock(&lock);
    has_ended = true;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
}

static void resubscribe(const char *url) {
    natsOptions *options = new_options();
    check(natsOptions_SetReconnectedCB(options, on_reconnected, NULL), "callback");
    natsConnection_Destroy(nc);
    check(connect_to(&nc, url, options), "connect");
    subscribe_all();
    ready();
    pthread_mutex_lock(&lock);
    while (!has_ended) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    check(natsConnection_FlushTimeout(nc, 60000), "flush");
    received = count;
    done(NULL, 0);
}

static void idle(const char *url) {
    natsConnection **kept = calloc((size_t)count, sizeof(natsConnection *));
    ready();
    for (int64_t i = 0; i < count; i++) {
        check(natsConnection_ConnectTo(&kept[i], url), "connect");
        check(natsConnection_Flush(kept[i]), "flush");
    }
    received = count;
    done(NULL, 0);
}

static void connect_each(const char *url) {
    ready();
    for (int64_t i = 0; i < count; i++) {
        natsConnection *one = NULL;
        check(natsConnection_ConnectTo(&one, url), "connect");
        check(natsConnection_Publish(one, SUBJECT, payload, size), "publish");
        check(natsConnection_Flush(one), "flush");
        natsConnection_Close(one);
        natsConnection_Destroy(one);
    }
    received = count;
    done(NULL, 0);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "<workload> <host:port> <count> <size>\n");
        return 2;
    }
    char url[256];
    snprintf(url, sizeof url, strstr(argv[2], "://") ? "%s" : "nats://%s", argv[2]);
    count = atoll(argv[3]);
    size = atoi(argv[4]);
    payload = malloc((size_t)size);
    memset(payload, 'x', (size_t)size);
    const char *workload = argv[1];
    natsOptions *options = new_options();
    // A watcher gives no access to the limits of its subscription.
    if (strcmp(workload, "kv-keys") == 0 || strcmp(workload, "kv-watch") == 0) {
        check(natsOptions_SetMaxPendingMsgs(options, 10000000), "limits");
    }
    check(connect_to(&nc, url, options), "connect");
    if (strcmp(workload, "publish") == 0) publish(false);
    else if (strcmp(workload, "publish-headers") == 0) publish(true);
    else if (strcmp(workload, "request") == 0) request(1);
    else if (strcmp(workload, "requests") == 0) request(IN_FLIGHT);
    else if (strcmp(workload, "fan-out") == 0) fan_out();
    else if (strcmp(workload, "subscriptions") == 0) subscribe();
    else if (strcmp(workload, "publishers") == 0) publishers();
    else if (strcmp(workload, "resubscribe") == 0) resubscribe(url);
    else if (strcmp(workload, "idle") == 0) idle(url);
    else if (strcmp(workload, "connect") == 0) connect_each(url);
    else if (!stored(workload)) {
        read_headers = strcmp(workload, "read-headers") == 0;
        receive(strcmp(workload, "burst") == 0);
    }
    return 0;
}
