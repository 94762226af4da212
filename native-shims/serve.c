/*
 * Plain writes of a connection, received, written and answered by a thread of its own (netraid-serve): they ask nothing that
 * TypeScript would have to decide, and its turn, the hand-over to an I/O thread and the way back are most of what they cost.
 *
 *   main thread --lends the socket--> poll, recv -> touched -> pwrite -> touched -> answers, send
 *   main thread <--gives it back, with what it received and has not used, at the first byte of anything else-- thread
 *
 * Invariants:
 * - one side at a time has the socket: the main thread lends it when nothing of the connection is in hand, and the thread gives
 *   it back when all its answers are with the kernel
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
/* Answers to more requests than this are sent before the next one is looked at. */
#define ANSWERS_MAX 256u
/* What is done does not wait for long for what comes after it. */
#define ANSWER_WAITS_NS 200000u
#define STACK_BYTES (256u * 1024)
#define SERVES_MAX 64u

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

  /* The thread's, and the main thread's once it is back. */
  uint8_t *buffer;
  size_t pos, fill, need;
  size_t answers_length, answers_sent;
  uint64_t answered_at_ns; /* the oldest that has not left */
  int error; /* of the socket, met here */
  uint8_t answers[ANSWERS_MAX * (CHUNK_BYTES + SEAL_BYTES)];
};

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

enum step { STEP_SERVED, STEP_MORE, STEP_OTHER };

/* The next request: served, not here as a whole yet, or somebody else's. */
static enum step serve_next(struct serve *s) {
  size_t left = s->fill - s->pos, head = REQUEST_BYTES + s->seal, whole;
  uint8_t *p = s->buffer + s->pos;
  uint64_t offset, length;
  bool ours, well;

  s->need = head;
  if (left < head) return STEP_MORE;
  offset = get64(p + 16);
  length = get32(p + 24);
  whole = head + (size_t)length + s->seal;
  ours = get32(p) == REQUEST_MAGIC && get16(p + 4) == 0 && get16(p + 6) == CMD_WRITE && length > 0 && length <= s->payload_max &&
         length < LONG_BODY_BYTES && offset <= s->rules.size && length <= s->rules.size - offset && offset % s->rules.block_bytes == 0 &&
         length % s->rules.block_bytes == 0 && (s->seal == 0 || is_sealed(0, p, REQUEST_BYTES));
  if (!ours) return STEP_OTHER;
  s->need = whole;
  if (left < whole) return STEP_MORE;
  if (s->seal != 0 && !is_sealed(0, p + head, (size_t)length)) return STEP_OTHER;
  touch(s, offset, length);
  if (atomic_load(&s->ending)) return STEP_OTHER;
  well = write_out(s, p + head, offset, (size_t)length);
  touch(s, offset, length);
  if (!well) return STEP_OTHER;
  answer(s, p + 8);
  atomic_fetch_add_explicit(&s->answered, 1, memory_order_relaxed);
  s->pos += whole;
  return STEP_SERVED;
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

static bool answers_full(const struct serve *s) { return s->answers_length + CHUNK_BYTES + SEAL_BYTES > sizeof s->answers; }

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

/* Serves until the socket is to go back: with nothing unsent, unless nothing can be sent any more. */
static void serve_lent(struct serve *s) {
  bool give_back = false, quiet = false;

  for (;;) {
    struct pollfd p[2] = {{.fd = s->fd}, {.fd = s->wake, .events = POLLIN}};
    enum step step = STEP_SERVED;

    while (!give_back && step == STEP_SERVED && !answers_full(s)) {
      step = serve_next(s);
      if (step != STEP_SERVED || now_ns() - s->answered_at_ns < ANSWER_WAITS_NS) continue;
      if (!send_answers(s)) return;
    }
    give_back = give_back || step == STEP_OTHER || atomic_load(&s->ending);
    if (!quiet && atomic_load(&s->ending)) {
      quiet = true;
      set(s, &s->quiet);
    }
    if (!send_answers(s) || (give_back && s->answers_length == 0)) return;
    /* There may be more requests as a whole: the answers were too many. */
    if (!give_back && step == STEP_SERVED && s->answers_length == 0) continue;
    if (s->answers_length > 0) p[0].events |= POLLOUT;
    if (!give_back && !answers_full(s)) p[0].events |= POLLIN;
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

/* Of one whose thread has ended, or never began. */
static void close_down(struct serve *s) {
  if (s->fd >= 0) close(s->fd);
  if (s->wake >= 0) close(s->wake);
  if (s->buffer != NULL) munmap(s->buffer, BUFFER_BYTES);
  if (s->rules.touched_ref != NULL) napi_delete_reference(s->e->env, s->rules.touched_ref);
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
    void *p = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) error = errno;
    else s->buffer = p;
  }
  if (error == 0) {
    /* What keeps the rest of the engine's memory from being swapped out does so here; a refusal was told at the start. */
    (void)memory_keep(s->buffer, BUFFER_BYTES);
    s->leg = e->legs[leg];
    s->leg_fd = s->leg->fd;
    s->rules = *rules;
    s->rules.touched_ref = NULL;
    error = thread_start(s);
  }
  if (error != 0) {
    close_down(s);
    free(s);
    return error;
  }
  s->rules.touched_ref = rules->touched_ref;
  s->leg->operations += 1;
  engine_hold(e);
  s->next = e->serves;
  e->serves = s;
  c->serve = s;
  c->was_served = true;
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

static void take_back(struct serve *s) {
  struct conn *c = conn_find(s->e, s->conn);

  if (c == NULL || c->serve != s) return;
  c->lent = false;
  if (atomic_load(&s->ending)) c->serve = NULL;
  if (s->error != 0) conn_close(c, s->error);
  else conn_resume(c, s->buffer + s->pos, s->fill - s->pos);
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
      if (c != NULL && c->serve == s) c->serve = NULL;
      pthread_join(s->thread, NULL);
      s->joined = true;
      close_down(s);
      engine_let_go(e);
    }
    s->silent = s->silent || quiet;
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
  }
}
