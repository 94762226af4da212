/*
 * Threads that serve connections together (native-shims/serve.c, order.c), without an engine.
 *
 *   ask CONNECTIONS THREADS QUESTIONS SEED
 *                                    each client asks so many, and there is little room for their answers. Whoever the sockets are given back to
 *                                    executes what is in hand, and lends them again. Prints whether all were answered.
 *   hold                             one client takes no answers, and one of these is held by what another client has sent, whom nobody serves.
 *                                    Prints how much of the processor its thread takes meanwhile, in microseconds.
 *   long                             a long write waits awake for its mark, and another comes meanwhile. Prints how many bytes of that are taken.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "serve.h"

#define REGION 65536u
#define REGIONS 64u
#define BLOCK 512u
#define READ_MOST (4 * BLOCK)
#define LITTLE_ROOM 4096u
#define AHEAD 4000u
/* A process that is stopped meanwhile does not count them. */
#define TICK_NS 5000000
#define STUCK_TICKS 400u

struct client {
  unsigned who;
  uint32_t seed;
  int fd;
  uint64_t questions;
  atomic_uint_least64_t answers;
  atomic_uint lengths[AHEAD];
};

static struct serve *s;
static struct client clients[TOGETHER_MAX];
static int told;
static atomic_uint ticks;

uint32_t crc_update(uint32_t crc, const uint8_t *p, size_t n) { return crc + p[0] + (uint32_t)n; }
ssize_t ktls_recv(int fd, void *into, size_t length) { return recv(fd, into, length, MSG_DONTWAIT); }
int ktls_errno(bool ktls, int error) { return ktls ? EIO : error; }
int uv_async_send(uv_async_t *a) {
  uint64_t one = 1;

  return a == NULL || write(told, &one, sizeof one) < 0 ? -1 : 0;
}

static void wait_ns(long ns) {
  struct timespec w = {.tv_nsec = ns};

  nanosleep(&w, NULL);
}

static void *ticks_on(void *nothing) {
  for (;;) {
    wait_ns(TICK_NS);
    atomic_fetch_add(&ticks, 1);
  }
  return nothing;
}

static uint32_t some(uint32_t *seed, uint32_t below) {
  *seed = *seed * 1664525u + 1013904223u;
  return (*seed >> 8) % below;
}

static void all_of(bool out, int fd, uint8_t *p, size_t n) {
  while (n > 0) {
    ssize_t did = out ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);
    if (did < 0 && errno == EINTR) continue;
    if (did <= 0) exit(3);
    p += did;
    n -= (size_t)did;
  }
}

static size_t put_request(uint8_t *q, unsigned cmd, uint64_t cookie, uint64_t offset, uint32_t length) {
  memset(q, 0, REQUEST_BYTES);
  put32(q, REQUEST_MAGIC);
  put16(q + 6, (uint16_t)cmd);
  put64(q + 8, cookie);
  put64(q + 16, offset);
  put32(q + 24, length);
  return REQUEST_BYTES + (cmd == CMD_WRITE ? length : 0);
}

static void *asks(void *client) {
  static _Thread_local uint8_t q[REQUEST_BYTES + 2 * REGION];
  struct client *c = client;
  uint32_t own = REGIONS / s->count;

  for (uint64_t n = 0; n < c->questions; n += 1) {
    unsigned cmd = some(&c->seed, 4) == 0 ? CMD_READ : CMD_WRITE;
    uint32_t length = BLOCK * (1 + some(&c->seed, 4)), region = c->who * own + some(&c->seed, own - 2);
    if (cmd == CMD_WRITE && some(&c->seed, 200) == 0) length = REGION + BLOCK * some(&c->seed, 128);
    while (n - atomic_load(&c->answers) == AHEAD) wait_ns(100000);
    atomic_store(&c->lengths[n % AHEAD], cmd == CMD_READ ? length : 0);
    all_of(true, c->fd, q, put_request(q, cmd, n, (uint64_t)region * REGION + BLOCK * some(&c->seed, 8), length));
    if (some(&c->seed, 300) == 0) {
      while (atomic_load(&c->answers) <= n) wait_ns(20000);
    }
  }
  return NULL;
}

static void *takes(void *client) {
  struct client *c = client;
  uint8_t answer[SIMPLE_REPLY_BYTES + READ_MOST];
  uint32_t seed = c->who;

  for (uint64_t n = 0; n < c->questions; n += 1) {
    if (some(&seed, 512) == 0) wait_ns((long)some(&seed, 3000000));
    all_of(false, c->fd, answer, SIMPLE_REPLY_BYTES);
    if (get32(answer) != SIMPLE_REPLY_MAGIC || get32(answer + 4) != 0 || get64(answer + 8) != n) exit(4);
    all_of(false, c->fd, answer, atomic_load(&c->lengths[n % AHEAD]));
    atomic_fetch_add(&c->answers, 1);
  }
  return NULL;
}

/* As lend.c does. */
static void lend(void) {
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *t = &s->seats[i];
    t->pos = t->fill = t->scanned = 0;
    t->need = REQUEST_BYTES;
    t->waits = t->lacks = false;
    t->came_at = 0;
    atomic_store(&t->awaits, 0);
    atomic_store(&t->received, 0);
    atomic_store(&t->whole_at, t->need);
  }
  atomic_store(&s->parking, false);
  pthread_mutex_lock(&s->lock);
  for (unsigned i = 0; i < s->servers_count; i += 1) s->servers[i].lent = true;
  s->lent = s->servers_count;
  pthread_mutex_unlock(&s->lock);
  for (unsigned i = 0; i < s->servers_count; i += 1) server_wake(&s->servers[i]);
}

/* What was received first, then what comes. */
static void take(struct seat *t, uint8_t *into, size_t n) {
  size_t left = t->fill - t->pos, here = left < n ? left : n;

  memcpy(into, t->buffer + t->pos, here);
  t->pos += here;
  all_of(false, t->fd, into + here, n - here);
}

/* What a thread has given back: answers, and requests of which the last may not be whole. */
static void by_hand(struct seat *t) {
  static uint8_t q[REQUEST_BYTES + 2 * REGION], answer[SIMPLE_REPLY_BYTES + READ_MOST];

  all_of(true, t->fd, t->answers + t->answers_sent, t->answers_length - t->answers_sent);
  t->answers_length = t->answers_sent = t->answers_free = t->answers_held = 0;
  while (t->fill > t->pos) {
    take(t, q, REQUEST_BYTES);
    bool write = get16(q + 6) == CMD_WRITE;
    uint32_t length = get32(q + 24);
    if (write) take(t, q + REQUEST_BYTES, length);
    memset(answer, 0, SIMPLE_REPLY_BYTES);
    put32(answer, SIMPLE_REPLY_MAGIC);
    memcpy(answer + 8, q + 8, 8);
    off_t offset = (off_t)get64(q + 16);
    ssize_t n = write ? pwrite(s->leg_fd, q + REQUEST_BYTES, length, offset) : pread(s->leg_fd, answer + SIMPLE_REPLY_BYTES, length, offset);
    if (n != (ssize_t)length) exit(5);
    all_of(true, t->fd, answer, SIMPLE_REPLY_BYTES + (write ? 0 : length));
  }
}

static bool is_back(void) {
  bool back;

  pthread_mutex_lock(&s->lock);
  back = s->back;
  s->back = false;
  pthread_mutex_unlock(&s->lock);
  return back;
}

static bool has_begun(pthread_t *x, void *(*f)(void *), void *of) { return pthread_create(x, NULL, f, of) == 0; }

static void serve_by(struct server *w, struct seat *first, unsigned count) {
  *w = (struct server){.s = s, .first = first, .count = count, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  for (unsigned i = 0; i < count; i += 1) first[i].by = w;
  s->servers_count += 1;
  if (w->wake < 0 || !has_begun(&w->thread, serve_thread, w)) exit(2);
}

/* Nothing is allowed, and it is waited for awake for so long that whatever is done meanwhile is done. */
static void allow_nothing(void) {
  s->rules.asks_max = 16;
  s->seats[0].asks = calloc(ASKS_FIRST + s->rules.asks_max, sizeof(uint32_t));
  if (s->seats[0].asks == NULL) exit(2);
  memset(s->rules.allowed, 0, REGIONS / 8);
  s->e->spin_ns = 20000000;
}

/* The first `threads` of them are served by a thread each; 1: all are, by one, or with `alone` one is, and the others by nobody. */
static void begin(unsigned count, unsigned threads, bool alone, size_t answers_max, bool allowed) {
  FILE *leg = tmpfile();
  pthread_t ticker;

  s = calloc(1, sizeof *s + count * sizeof s->seats[0]);
  told = eventfd(0, EFD_NONBLOCK);
  if (leg == NULL || s == NULL || told < 0 || ftruncate(fileno(leg), REGION * REGIONS) != 0 || pthread_mutex_init(&s->lock, NULL) != 0) exit(2);
  s->e = calloc(1, sizeof *s->e);
  s->leg_fd = fileno(leg);
  s->count = count;
  s->answers_max = answers_max;
  s->wait_ns = 10000;
  s->rules = (struct serve_rules){.size = REGION * REGIONS, .region_bytes = REGION, .block_bytes = BLOCK, .clients = count, .under_way_max = 16};
  s->rules.touched = calloc(REGIONS / 32, sizeof(uint32_t));
  s->rules.summary = calloc(1, sizeof(uint32_t));
  s->rules.allowed = calloc(REGIONS / 32, sizeof(uint32_t));
  if (s->e == NULL || s->rules.touched == NULL || s->rules.summary == NULL || s->rules.allowed == NULL) exit(2);
  memset(s->rules.allowed, 0xff, REGIONS / 8);
  for (unsigned i = 0; i < count; i += 1) {
    struct seat *t = &s->seats[i];
    int pair[2], little = 8192;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little) != 0) exit(2);
    clients[i].fd = pair[1];
    *t = (struct seat){.s = s, .index = i, .fd = pair[0], .pipe = {-1, -1}, .need = REQUEST_BYTES, .wakes_by = 1, .reads = true};
    t->payload_max = t->longest = 2 * REGION;
    t->longest_read = READ_MOST;
    t->buffer = calloc(1, SERVE_BUFFER_BYTES + answers_max);
    t->answers = t->buffer + SERVE_BUFFER_BYTES;
    t->under_way = calloc(s->rules.under_way_max, sizeof(uint32_t));
    if (t->buffer == NULL || t->under_way == NULL) exit(2);
  }
  if (!allowed) allow_nothing();
  for (unsigned i = 0; i < threads; i += 1) serve_by(&s->servers[i], &s->seats[i], alone ? 1 : count);
  if (!has_begun(&ticker, ticks_on, NULL)) exit(2);
  lend();
}

static void ask(unsigned count, unsigned threads, uint64_t questions, uint32_t seed) {
  uint64_t known = 0;
  unsigned since = 0;
  pthread_t x;

  begin(count, threads, threads > 1, LITTLE_ROOM, true);
  for (unsigned i = 0; i < count; i += 1) {
    struct client *c = &clients[i];
    c->who = i;
    c->seed = seed * 31 + i;
    c->questions = questions;
    if (!has_begun(&x, asks, c) || !has_begun(&x, takes, c)) exit(2);
  }
  while (known < count * questions && atomic_load(&ticks) - since < STUCK_TICKS) {
    struct pollfd p = {.fd = told, .events = POLLIN};
    uint64_t n, answers = 0;
    if (poll(&p, 1, 1) > 0 && read(told, &n, sizeof n) < 0) exit(2);
    if (is_back()) {
      for (unsigned i = 0; i < count; i += 1) by_hand(&s->seats[i]);
      lend();
    }
    for (unsigned i = 0; i < count; i += 1) answers += atomic_load(&clients[i].answers);
    if (answers != known) since = atomic_load(&ticks);
    known = answers;
  }
  puts(known == count * questions ? "all" : "stuck");
}

static uint64_t used_us(pthread_t x) {
  struct timespec t;
  clockid_t clock;

  if (pthread_getcpuclockid(x, &clock) != 0 || clock_gettime(clock, &t) != 0) exit(2);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void hold(void) {
  uint8_t q[REQUEST_BYTES + BLOCK] = {0};
  unsigned since;
  uint64_t used;

  begin(2, 1, true, READ_MOST * 1024, true);
  all_of(true, clients[1].fd, q, put_request(q, CMD_WRITE, 0, 0, BLOCK));
  for (unsigned i = 0; i < 64; i += 1) all_of(true, clients[0].fd, q, put_request(q, CMD_READ, i, 0, READ_MOST));
  all_of(true, clients[0].fd, q, put_request(q, CMD_WRITE, 64, REGION, BLOCK));
  while (atomic_load(&s->seats[0].answered) < 65 || atomic_load(&s->seats[0].awaits) != POLLOUT) wait_ns(TICK_NS);
  since = atomic_load(&ticks);
  used = used_us(s->servers[0].thread);
  while (atomic_load(&ticks) - since < 40) wait_ns(TICK_NS);
  printf("%llu\n", (unsigned long long)(used_us(s->servers[0].thread) - used));
}

static void take_long(void) {
  static uint8_t q[REQUEST_BYTES + REGION];
  struct seat *t;

  begin(1, 1, true, LITTLE_ROOM, false);
  t = &s->seats[0];
  all_of(true, clients[0].fd, q, put_request(q, CMD_WRITE, 0, 0, REGION));
  while (__atomic_load_n(t->asks + ASKS_ASKED, __ATOMIC_SEQ_CST) == 0) wait_ns(20000);
  all_of(true, clients[0].fd, q, put_request(q, CMD_WRITE, 1, REGION, REGION));
  while (!atomic_load(&s->sleeps)) wait_ns(TICK_NS);
  printf("%lld\n", (long long)atomic_load(&t->moved) - (long long)sizeof q);
}

int main(int argc, char **argv) {
  if (argc == 6 && strcmp(argv[1], "ask") == 0) ask((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]), strtoull(argv[4], NULL, 10), (uint32_t)atoi(argv[5]));
  else if (argc == 2 && strcmp(argv[1], "hold") == 0) hold();
  else if (argc == 2 && strcmp(argv[1], "long") == 0) take_long();
  else return 2;
  return fflush(stdout) == 0 ? 0 : 2;
}
