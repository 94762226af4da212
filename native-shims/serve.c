/*
 * Plain writes of a connection, and where there are marks its reads too, received, executed and answered by a thread of its own
 * (netraid-serve): they ask nothing that TypeScript would have to decide, and its turn, the hand-over to an I/O thread and the way back are
 * most of what they cost.
 *
 *   main thread --lends the socket--> poll, recv -> touched -> allowed? -> pwrite -> touched -> answers, send
 *                                               `-> pread ----------------------------------^
 *   main thread <--gives it back, with what it received and has not used, at the first byte of anything else-- thread
 *
 * Invariants:
 * - one side at a time has the socket: the main thread lends it when nothing of the connection is in hand, and the thread gives it back
 *   with all that it has received and not used, and with the answers that have not left
 * - a write begins only after its bit is set and `ending` was still false (both sequentially consistent): whoever sets `ending` and then
 *   takes the bits knows of all that may still begin, and whoever takes them after `quiet`, of all. In between, one that is under way
 *   may have had its bit taken before: its end sets it again
 * - long writes are given back: receiving them here and writing them there at the same time is quicker
 * - a write that fails is given back whole, and fails again where it is judged
 * - the thread touches its own record, the leg's descriptor and the bits, nothing else
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "conn.h"
#include "legs.h"

#define BUFFER_BYTES (512u * 1024)
/* Answers wait for each other until so much is full; a READ's are its data too. */
#define ANSWERS_BYTES (256u * (CHUNK_BYTES + SEAL_BYTES))
#define READS_BYTES (128u * 1024)
/* What is done does not wait for long for what comes after it: of a mirror's leg other answers are waited for as well, a client has work to do. */
#define ANSWER_WAITS_NS 200000u
#define CLIENT_WAITS_NS 10000u
#define STACK_BYTES (256u * 1024)
#define SERVES_MAX 64u
/* A loan that ended before so many were served cost more than it saved. */
#define WORTH_IT 4u
#define LEND_SKIPS_MAX 63u
#define SPIN_REQUESTS_MAX 4u
#define SPIN_SKIPS_MAX 1024u

struct serve {
  struct serve *next;
  struct engine *e;
  uint32_t conn;
  struct leg *leg;
  int leg_fd;
  int fd;   /* a duplicate: the connection's own may be closed while a write is under way */
  int wake; /* an eventfd */
  bool ktls;
  pthread_t thread;
  struct serve_rules rules;
  bool structured;
  uint32_t seal, payload_max;

  atomic_bool ending;
  atomic_uint_least64_t answered, moved;
  atomic_bool awaits; /* something of the peer: the rest of a request, or that it takes answers */

  pthread_mutex_t lock;
  /* Guarded by it. */
  bool lent, back, quiet, gone;

  /* The main thread's. */
  double op;     /* waits for `quiet` */
  bool released; /* its owner has ended it */
  bool silent;   /* `quiet` was seen */
  bool joined;
  uint64_t answered_before; /* it was lent last */

  /* The thread's, and the main thread's once it is back. */
  uint8_t *buffer; /* for what comes, and behind that for answers */
  size_t pos, fill, need;
  size_t answers_length, answers_sent;
  uint64_t answered_at_ns; /* the oldest that has not left */
  int error; /* of the socket, met here */
  uint8_t *answers;
  size_t answers_max;
  unsigned of_late; /* requests since something was waited for last */
  unsigned spin_misses, spin_skips;
  uint64_t wait_ns;
};

static size_t answers_bytes(const struct serve_rules *r) { return r->allowed == NULL ? ANSWERS_BYTES : READS_BYTES; }

static void wake(struct serve *s) {
  uint64_t one = 1;

  while (write(s->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

/* ---------------------------------------------------------------------------------------------------------- the thread */

static void set_bit(uint32_t *word, uint32_t bit) {
  if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & bit) == 0) __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
}

/* What is under way is known by its bit before it begins, and once more when it has ended. */
static void touch(struct serve *s, uint64_t offset, uint64_t length) {
  uint64_t first = offset / s->rules.region_bytes, last = (offset + length - 1) / s->rules.region_bytes;

  for (uint64_t region = first; region <= last; region += 1) {
    uint64_t word = region / 32;
    set_bit(s->rules.touched + word, 1u << region % 32);
    set_bit(s->rules.summary + word / 1024, 1u << word / 32 % 32);
  }
}

/*
 * Whether a write that has said what it touches may go on: whoever takes a region's mark away clears `allowed` first, and then finds this
 * write in `touched` or in `under_way`.
 */
static bool is_allowed(const struct serve *s, uint64_t offset, uint64_t length) {
  uint64_t region = offset / s->rules.region_bytes;

  return (offset + length - 1) / s->rules.region_bytes == region &&
         (__atomic_load_n(s->rules.allowed + region / 32, __ATOMIC_SEQ_CST) & 1u << region % 32) != 0;
}

/* Region + 1, SERVE_READS, or 0. */
static void set_under_way(struct serve *s, uint32_t region) {
  if (s->rules.allowed != NULL) __atomic_store_n(s->rules.under_way, region, __ATOMIC_SEQ_CST);
}

static bool read_in(const struct serve *s, uint8_t *into, uint64_t offset, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = pread(s->leg_fd, into + done, length - done, (off_t)(offset + done));
    if (n > 0) done += (size_t)n;
    else if (n == 0 || errno != EINTR) return false;
  }
  return true;
}

static bool write_out(const struct serve *s, const uint8_t *data, uint64_t offset, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = pwrite(s->leg_fd, data + done, length - done, (off_t)(offset + done));
    if (n > 0) done += (size_t)n;
    else if (n == 0 || errno != EINTR) return false;
  }
  return true;
}

static uint64_t now_ns(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void answer(struct serve *s, const uint8_t *cookie) {
  uint8_t *p = s->answers + s->answers_length;
  size_t length = s->structured ? CHUNK_BYTES : SIMPLE_REPLY_BYTES;

  if (s->answers_length == 0) s->answered_at_ns = now_ns();
  memset(p, 0, length);
  if (s->structured) {
    put32(p, CHUNK_MAGIC);
    put16(p + 4, REPLY_FLAG_DONE);
    put16(p + 6, CHUNK_NONE);
  } else put32(p, SIMPLE_REPLY_MAGIC);
  memcpy(p + 8, cookie, 8);
  if (s->seal != 0) put32(p + length, crc_update(0, p, length));
  s->answers_length += length + s->seal;
}

enum step { STEP_SERVED, STEP_MORE, STEP_FULL, STEP_OTHER };

static bool is_ours(const struct serve *s, const uint8_t *p, uint64_t offset, uint64_t length) {
  unsigned cmd = get16(p + 6);

  return get32(p) == REQUEST_MAGIC && get16(p + 4) == 0 && (cmd == CMD_WRITE || (cmd == CMD_READ && s->rules.allowed != NULL && s->seal == 0)) &&
         length > 0 && length <= s->payload_max && length < LONG_BODY_BYTES && offset <= s->rules.size && length <= s->rules.size - offset &&
         offset % s->rules.block_bytes == 0 && length % s->rules.block_bytes == 0 && (s->seal == 0 || is_sealed(0, p, REQUEST_BYTES));
}

static enum step served(struct serve *s, size_t whole) {
  atomic_fetch_add_explicit(&s->answered, 1, memory_order_relaxed);
  s->of_late += 1;
  s->pos += whole;
  return STEP_SERVED;
}

static enum step serve_write(struct serve *s, const uint8_t *p, size_t head, uint64_t offset, size_t length) {
  bool well;

  set_under_way(s, (uint32_t)(offset / s->rules.region_bytes) + 1);
  touch(s, offset, length);
  if (atomic_load(&s->ending) || (s->rules.allowed != NULL && !is_allowed(s, offset, length))) {
    set_under_way(s, 0);
    return STEP_OTHER;
  }
  well = write_out(s, p + head, offset, length);
  touch(s, offset, length);
  set_under_way(s, 0);
  if (!well) return STEP_OTHER;
  answer(s, p + 8);
  return served(s, head + length + s->seal);
}

/* As one chunk, or a simple reply, and its data. */
static enum step serve_read(struct serve *s, const uint8_t *p, uint64_t offset, size_t length) {
  size_t head = s->structured ? CHUNK_BYTES + OFFSET_DATA_BYTES : SIMPLE_REPLY_BYTES;
  uint8_t *to = s->answers + s->answers_length;
  bool well;

  if (atomic_load(&s->ending)) return STEP_OTHER;
  set_under_way(s, SERVE_READS);
  well = read_in(s, to + head, offset, length);
  set_under_way(s, 0);
  if (!well) return STEP_OTHER;
  if (s->answers_length == 0) s->answered_at_ns = now_ns();
  memset(to, 0, head);
  memcpy(to + 8, p + 8, 8);
  if (s->structured) {
    put32(to, CHUNK_MAGIC);
    put16(to + 4, REPLY_FLAG_DONE);
    put16(to + 6, CHUNK_OFFSET_DATA);
    put32(to + 16, OFFSET_DATA_BYTES + (uint32_t)length);
    put64(to + CHUNK_BYTES, offset);
  } else put32(to, SIMPLE_REPLY_MAGIC);
  s->answers_length += head + length;
  return served(s, REQUEST_BYTES);
}

/* The next request: served, not here as a whole yet, for when there is room for its answer, or somebody else's. */
static enum step serve_next(struct serve *s) {
  size_t left = s->fill - s->pos, head = REQUEST_BYTES + s->seal, whole;
  uint8_t *p = s->buffer + s->pos;
  uint64_t offset, length;
  bool write;

  s->need = head;
  if (left < head) return STEP_MORE;
  offset = get64(p + 16);
  length = get32(p + 24);
  write = get16(p + 6) == CMD_WRITE;
  if (!is_ours(s, p, offset, length)) return STEP_OTHER;
  if (CHUNK_BYTES + OFFSET_DATA_BYTES + SEAL_BYTES + (write ? 0 : (size_t)length) > s->answers_max - s->answers_length) return STEP_FULL;
  whole = write ? head + (size_t)length + s->seal : head;
  s->need = whole;
  if (left < whole) return STEP_MORE;
  if (!write) return serve_read(s, p, offset, (size_t)length);
  if (s->seal != 0 && !is_sealed(0, p + head, (size_t)length)) return STEP_OTHER;
  return serve_write(s, p, head, offset, (size_t)length);
}

/* False: they can not leave, nor will they; the socket's error is kept. */
static bool send_answers(struct serve *s) {
  while (s->answers_sent < s->answers_length) {
    ssize_t n = send(s->fd, s->answers + s->answers_sent, s->answers_length - s->answers_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      s->answers_sent += (size_t)n;
      atomic_fetch_add_explicit(&s->moved, (uint64_t)n, memory_order_relaxed);
    } else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    else {
      s->error = n < 0 ? ktls_errno(s->ktls, errno) : EIO;
      return false;
    }
  }
  s->answers_sent = 0;
  s->answers_length = 0;
  return true;
}

/* False: the stream is over, which the main thread will meet itself, or broken, which the kernel tells once. */
static bool receive(struct serve *s) {
  size_t left = s->fill - s->pos;
  ssize_t n;

  if (left == 0 || s->need > BUFFER_BYTES - s->pos) {
    memmove(s->buffer, s->buffer + s->pos, left);
    s->pos = 0;
    s->fill = left;
  }
  do {
    n = socket_recv(s->fd, s->ktls, s->buffer + s->fill, BUFFER_BYTES - s->fill);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
  if (n < 0) s->error = errno;
  if (n <= 0) return false;
  s->fill += (size_t)n;
  atomic_fetch_add_explicit(&s->moved, (uint64_t)n, memory_order_relaxed);
  return true;
}

static void tell(struct serve *s) {
  atomic_store(&s->e->serves_told, true);
  uv_async_send(&s->e->async);
}

static void set(struct serve *s, bool *what) {
  pthread_mutex_lock(&s->lock);
  *what = true;
  pthread_mutex_unlock(&s->lock);
  tell(s);
}

/*
 * After few requests the next one is often some microseconds away: it is waited for awake, which saves a wake-up. When that was in vain, the
 * next waits are asleep, ever more of them; the first success brings this back. True: something has come, or the stream has ended.
 */
static bool awake(struct serve *s, bool *over) {
  size_t before = s->fill - s->pos;
  uint64_t until;

  if (s->rules.allowed == NULL || s->e->spin_ns == 0 || s->of_late > SPIN_REQUESTS_MAX) return false;
  if (s->spin_skips > 0) {
    s->spin_skips -= 1;
    return false;
  }
  until = now_ns() + s->e->spin_ns;
  do {
    *over = !receive(s);
    if (*over || s->fill - s->pos > before) {
      s->spin_misses = 0;
      return true;
    }
  } while (!atomic_load(&s->ending) && now_ns() < until);
  if (s->spin_misses < 16) s->spin_misses += 1;
  s->spin_skips = s->spin_misses < 2 ? 0 : 1u << (s->spin_misses - 1);
  if (s->spin_skips > SPIN_SKIPS_MAX) s->spin_skips = SPIN_SKIPS_MAX;
  return false;
}

/* Serves until the socket is to go back, with what of the answers the kernel takes no more of. */
static void serve_lent(struct serve *s) {
  bool give_back = false, quiet = false;

  for (;;) {
    struct pollfd p[2] = {{.fd = s->fd}, {.fd = s->wake, .events = POLLIN}};
    enum step step = STEP_SERVED;

    while (!give_back && step == STEP_SERVED) {
      step = serve_next(s);
      if (step != STEP_SERVED || now_ns() - s->answered_at_ns < s->wait_ns) continue;
      if (!send_answers(s)) return;
    }
    give_back = give_back || step == STEP_OTHER || atomic_load(&s->ending);
    if (!quiet && atomic_load(&s->ending)) {
      quiet = true;
      set(s, &s->quiet);
    }
    if (!send_answers(s) || give_back) return;
    if (step == STEP_FULL && s->answers_length == 0) continue;
    if (step == STEP_MORE && s->answers_length == 0) {
      bool over = false, came = awake(s, &over);
      s->of_late = 0;
      give_back = over;
      if (came) continue;
    }
    if (s->answers_length > 0) p[0].events |= POLLOUT;
    if (step != STEP_FULL) p[0].events |= POLLIN;
    atomic_store_explicit(&s->awaits, s->answers_length > 0 || s->fill > s->pos, memory_order_relaxed);
    if (poll(p, 2, -1) < 0 && errno != EINTR) {
      s->error = errno;
      return;
    }
    atomic_store_explicit(&s->awaits, false, memory_order_relaxed);
    if (p[1].revents != 0) {
      uint64_t count;
      /* `ending` is what it was written for. */
      if (read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR) {
        s->error = errno;
        return;
      }
    }
    if ((p[0].events & POLLIN) != 0 && p[0].revents != 0 && !receive(s)) give_back = true;
    else if ((p[0].revents & (POLLERR | POLLHUP)) != 0 && (p[0].events & POLLIN) == 0) {
      s->error = ECONNRESET;
      return;
    }
  }
}

/* Until the socket is lent, or the end; false: the end. */
static bool wait_for_socket(struct serve *s) {
  for (;;) {
    struct pollfd p = {.fd = s->wake, .events = POLLIN};
    uint64_t count;
    /* First: what is lent before it ends is given back. */
    bool lent, ending = atomic_load(&s->ending);

    pthread_mutex_lock(&s->lock);
    lent = s->lent;
    pthread_mutex_unlock(&s->lock);
    if (lent) return true;
    if (ending) return false;
    if (poll(&p, 1, -1) > 0 && read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR) return false;
  }
}

static void *serve_thread(void *argument) {
  struct serve *s = argument;

  pthread_setname_np(pthread_self(), "netraid-serve");
  while (wait_for_socket(s)) {
    serve_lent(s);
    pthread_mutex_lock(&s->lock);
    s->lent = false;
    s->back = true;
    pthread_mutex_unlock(&s->lock);
    tell(s);
  }
  pthread_mutex_lock(&s->lock);
  s->quiet = true;
  s->gone = true;
  pthread_mutex_unlock(&s->lock);
  tell(s);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------ on the main thread */

void rules_release(napi_env env, struct serve_rules *r) {
  for (unsigned i = 0; i < SERVE_REFS; i += 1) {
    if (r->refs[i] != NULL) napi_delete_reference(env, r->refs[i]);
    r->refs[i] = NULL;
  }
}

/* Of one whose thread has ended, or never began. */
static void close_down(struct serve *s) {
  if (s->fd >= 0) close(s->fd);
  if (s->wake >= 0) close(s->wake);
  if (s->buffer != NULL) munmap(s->buffer, BUFFER_BYTES + s->answers_max);
  rules_release(s->e->env, &s->rules);
  pthread_mutex_destroy(&s->lock);
}

static struct serve *serve_of(struct engine *e, uint32_t conn) {
  struct serve *s = e->serves;

  while (s != NULL && (s->conn != conn || s->released)) s = s->next;
  return s;
}

static int thread_start(struct serve *s) {
  pthread_attr_t a;
  sigset_t all, before;
  int error = pthread_attr_init(&a);

  if (error != 0) return error;
  /* Signals are the main thread's. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_attr_setstacksize(&a, STACK_BYTES);
  if (error == 0) error = pthread_create(&s->thread, &a, serve_thread, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&a);
  return error;
}

int serve_begin(struct engine *e, uint32_t id, uint32_t leg, const struct serve_rules *rules) {
  struct conn *c = conn_find(e, id);
  struct serve *s;
  unsigned count = 0;
  int error;

  for (s = e->serves; s != NULL; s = s->next) count += 1;
  if (c == NULL || !c->server || c->extended || c->state != CONN_OPEN || !c->receiving || leg >= LEGS_MAX || e->legs[leg] == NULL || e->legs[leg]->closing) {
    return EINVAL;
  }
  if (c->serve != NULL || serve_of(e, id) != NULL) return EBUSY;
  if (count >= SERVES_MAX || e->dead || e->pool.count == 0) return ENFILE;
  s = calloc(1, sizeof *s);
  if (s == NULL) return ENOMEM;
  error = pthread_mutex_init(&s->lock, NULL);
  if (error != 0) {
    free(s);
    return error;
  }
  s->e = e;
  s->conn = id;
  s->structured = c->structured;
  s->seal = c->seal;
  s->payload_max = c->payload_max;
  s->need = REQUEST_BYTES + c->seal;
  s->fd = -1;
  s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  error = s->wake < 0 ? errno : 0;
  if (error == 0) {
    size_t bytes = BUFFER_BYTES + answers_bytes(rules);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) error = errno;
    else {
      s->buffer = p;
      s->answers = s->buffer + BUFFER_BYTES;
      s->answers_max = answers_bytes(rules);
      s->wait_ns = rules->allowed == NULL ? ANSWER_WAITS_NS : CLIENT_WAITS_NS;
    }
  }
  if (error == 0) {
    /* What keeps the rest of the engine's memory from being swapped out does so here; a refusal was told at the start. */
    (void)memory_keep(s->buffer, BUFFER_BYTES + s->answers_max);
    s->leg = e->legs[leg];
    s->leg_fd = s->leg->fd;
    s->rules = *rules;
    memset(s->rules.refs, 0, sizeof s->rules.refs);
    error = thread_start(s);
  }
  if (error != 0) {
    close_down(s);
    free(s);
    return error;
  }
  memcpy(s->rules.refs, rules->refs, sizeof s->rules.refs);
  s->leg->operations += 1;
  engine_hold(e);
  s->next = e->serves;
  e->serves = s;
  c->serve = s;
  c->was_served = true;
  c->lend_skips = 0;
  c->lend_wait = 0;
  conn_update(c);
  return 0;
}

static void end(struct serve *s) {
  if (atomic_exchange(&s->ending, true)) return;
  wake(s);
}

bool serve_lend(struct conn *c) {
  struct serve *s = c->serve;

  if (atomic_load(&s->ending)) return false;
  if (s->fd < 0) s->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
  if (s->fd < 0) {
    c->serve = NULL;
    end(s);
    return false;
  }
  s->ktls = c->ktls;
  s->answered_before = atomic_load_explicit(&s->answered, memory_order_relaxed);
  c->lent = true;
  pthread_mutex_lock(&s->lock);
  s->pos = 0;
  s->fill = 0;
  s->need = REQUEST_BYTES + s->seal;
  s->lent = true;
  pthread_mutex_unlock(&s->lock);
  wake(s);
  return true;
}

void serve_end(struct engine *e, double op, uint32_t conn) {
  struct serve *s = serve_of(e, conn);

  if (s == NULL) event_done(e, op, 0, 0, 0, VALUE_NONE);
  else {
    s->released = true;
    s->op = op;
    end(s);
    serves_look(e);
  }
  engine_wake(e);
}

void serve_recall(struct conn *c) { end(c->serve); }

/* The connection ends, or takes nothing more: what the thread has of it is thrown away. */
void serve_leave(struct conn *c) {
  struct serve *s = c->serve;

  if (s == NULL) return;
  c->serve = NULL;
  c->lent = false;
  end(s);
}

double serve_answered(struct engine *e, uint32_t conn) {
  struct serve *s = serve_of(e, conn);

  return s == NULL ? 0 : (double)atomic_load_explicit(&s->answered, memory_order_relaxed);
}

double serve_awaited(const struct conn *c) {
  struct serve *s = c->serve;

  return !atomic_load_explicit(&s->awaits, memory_order_relaxed) ? -1 : c->moved + (double)atomic_load_explicit(&s->moved, memory_order_relaxed);
}

/* Until nothing comes, or the connection takes no more for now. */
static void receive_all(struct engine *e, uint32_t id) {
  double before;

  do {
    struct conn *c = conn_find(e, id);
    if (c == NULL || c->state != CONN_OPEN) return;
    before = c->moved;
    if (!conn_look(e, id)) return;
    c = conn_find(e, id);
    if (c == NULL || c->moved == before) return;
  } while (true);
}

static void take_back(struct serve *s) {
  struct conn *c = conn_find(s->e, s->conn);

  if (c == NULL || c->serve != s) return;
  c->lent = false;
  if (atomic_load(&s->ending)) c->serve = NULL;
  else if (atomic_load(&s->answered) - s->answered_before >= WORTH_IT) c->lend_skips = 0;
  else if (c->lend_skips < LEND_SKIPS_MAX) c->lend_skips = 2 * c->lend_skips + 1;
  c->lend_wait = c->lend_skips;
  if (!c->receiving) server_stop(c);
  if (s->error == 0 && s->answers_sent < s->answers_length && !conn_owe(c, s->answers + s->answers_sent, s->answers_length - s->answers_sent)) return;
  s->answers_sent = 0;
  s->answers_length = 0;
  if (s->error != 0) conn_close(c, s->error);
  else if (c->state == CONN_LINGER) {
    c->state = CONN_OPEN;
    conn_close(c, 0);
  } else {
    conn_resume(c, s->buffer + s->pos, s->fill - s->pos);
    /* What it has sent already is told before `gone` is: another client's requests come behind it. */
    if (s->rules.allowed != NULL && atomic_load(&s->ending)) receive_all(s->e, s->conn);
  }
}

static void look(struct serve *s) {
  struct engine *e = s->e;
  bool back, quiet, gone;

  if (!s->joined) {
    pthread_mutex_lock(&s->lock);
    back = s->back;
    quiet = s->quiet;
    gone = s->gone;
    s->back = false;
    pthread_mutex_unlock(&s->lock);
    if (back) take_back(s);
    if (gone) {
      struct conn *c = conn_find(e, s->conn);
      if (c != NULL && c->serve == s) {
        c->serve = NULL;
        c->lent = false;
      }
      pthread_join(s->thread, NULL);
      s->joined = true;
      close_down(s);
      engine_let_go(e);
    }
    /* Of a client, what it has asked is to be told first, or it comes after what another asks. */
    s->silent = s->silent || (s->rules.allowed == NULL ? quiet : gone);
  }
  if (!s->silent) return;
  if (s->op != 0) event_done(e, s->op, 0, (double)atomic_load(&s->answered), 0, VALUE_NONE);
  s->op = 0;
  if (s->leg != NULL) {
    struct leg *leg = s->leg;
    s->leg = NULL;
    leg_release(e, leg);
  }
}

/* What the threads have told. JavaScript may be called meanwhile, and end another one. */
void serves_look(struct engine *e) {
  if (e->serves_looking) {
    e->serves_again = true;
    return;
  }
  e->serves_looking = true;
  do {
    e->serves_again = false;
    atomic_store(&e->serves_told, false);
    for (struct serve **at = &e->serves; *at != NULL;) {
      struct serve *s = *at;
      look(s);
      if (s->joined && s->released && s->op == 0) {
        *at = s->next;
        free(s);
      } else at = &s->next;
    }
  } while (e->serves_again);
  e->serves_looking = false;
}

/* The environment is going: what is under way is finished. */
void serves_stop(struct engine *e) {
  for (struct serve *s = e->serves; s != NULL; s = s->next) {
    if (s->joined) continue;
    end(s);
    /* It may be waiting for a peer that takes no answers. */
    if (s->fd >= 0) (void)shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    s->joined = true;
  }
}
