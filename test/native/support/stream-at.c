/*
 * Where the stream of another's connection has come to (native-shims/order.c), asked while its thread receives: (questions). It is never less
 * than what was there before it was asked, and where it is said to be exact, never more than what was there when it was told. Prints how often.
 */
#include <stdio.h>
#include <stdlib.h>
#include "serve.h"

/* Others may get far between any two looks. */
static void late(void);
#undef atomic_load
#define atomic_load(at) (late(), atomic_load_explicit(at, memory_order_seq_cst))
#include "order.c"

#define look(at) atomic_load_explicit(at, memory_order_seq_cst)

static struct serve *s;
static atomic_uint_least64_t begun, done;
static atomic_bool stop;
static int to;
static _Thread_local unsigned turn;

static void late(void) {
  turn = turn * 1103515245u + 12345u;
  for (volatile unsigned i = turn >> 16 & 0xfff; i > 0; i -= 1) continue;
}

static void *sends(void *nothing) {
  uint8_t bytes[64] = {0};

  while (!look(&stop)) {
    atomic_fetch_add(&begun, sizeof bytes);
    if (send(to, bytes, sizeof bytes, MSG_NOSIGNAL) != (ssize_t)sizeof bytes) break;
    atomic_fetch_add(&done, sizeof bytes);
    /* Nothing more comes before that was received. */
    while (look(&s->seats[0].received) != look(&begun) && !look(&stop)) continue;
  }
  return nothing;
}

static void *receives(void *nothing) {
  struct seat *t = &s->seats[0];
  uint8_t bytes[256];

  while (!look(&stop)) {
    late();
    order_receives(t);
    ssize_t n = recv(t->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    order_received(t, n > 0 ? (size_t)n : 0);
  }
  return nothing;
}

int main(int argc, char **argv) {
  unsigned long known = 0, less = 0, more = 0;
  pthread_t sender, receiver;
  int pair[2];

  s = calloc(1, sizeof *s + 2 * sizeof s->seats[0]);
  if (s == NULL || argc < 2 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 2;
  s->count = 2;
  for (unsigned i = 0; i < 2; i += 1) s->seats[i] = (struct seat){.s = s, .index = i, .fd = pair[0]};
  to = pair[1];
  if (pthread_create(&sender, NULL, sends, NULL) != 0 || pthread_create(&receiver, NULL, receives, NULL) != 0) return 2;
  for (unsigned long i = strtoul(argv[1], NULL, 10); i > 0; i -= 1) {
    uint64_t before = look(&done), at = 0;
    bool vague = false;
    if (!stream_at(&s->seats[0], &at, &vague)) return 2;
    if (at == NOT_KNOWN) continue;
    known += 1;
    if (at < before) less += 1;
    if (!vague && at > look(&begun)) more += 1;
  }
  atomic_store(&stop, true);
  pthread_join(sender, NULL);
  pthread_join(receiver, NULL);
  printf("{\"known\":%lu,\"less\":%lu,\"more\":%lu}\n", known, less, more);
  return 0;
}
