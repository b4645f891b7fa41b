// What the files of this contestant share.

#ifndef PEERS_H
#define PEERS_H

#include <nats/nats.h>
#include <stdbool.h>
#include <stdint.h>

extern natsConnection *nc;
extern int64_t count;
extern int size;
extern char *payload;
extern int64_t received;

void check(natsStatus status, const char *what);
void ready(void);
uint64_t now(void);
// Says what was received, and how long each took, if there is a number of times.
void done(uint32_t *times, int64_t number);

// The workloads of JetStream and key-value. False if it is none of them.
bool stored(const char *workload);

#endif
