/*
 * Lending sockets to the threads of serve.c, and taking them back: the main thread's side.
 *
 *   serve_begin --all seats taken--> lent <--take_back-- back        serve_end, or an end of one of them --> ending --> gone
 *                                     `------serve_lend--^
 *
 * Invariants:
 * - the sockets of a thread are lent together, when nothing of any of them is in hand, and come back together; what came back is with the
 *   connections, all of it, before anything is read from one of their sockets, and before they are lent again
 * - a thread that has once been told to end is never lent anything any more: a change of its seats takes another one
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "serve.h"

/* Answers wait for each other until so much is full; a READ's are its data too. */
#define ANSWERS_BYTES (256u * (CHUNK_BYTES + SEAL_BYTES))
#define READS_BYTES (512u * 1024)
/* What is done does not wait for long for what comes after it: of a mirror's leg other answers are waited for as well, a client has work to do. */
#define ANSWER_WAITS_NS 200000u
#define CLIENT_WAITS_NS 10000u
#define STACK_BYTES (256u * 1024)
/* A loan that ended before so many were served cost more than it saved. */
#define WORTH_IT 4u
#define LEND_SKIPS_MAX 63u
/* Long READs that are answered by the main thread before it is seen to that they need not be, and for how long that may take. */
#define SETTLE_AFTER 16u
#define SETTLES_MS 5u

static void settle_over(struct serve *s);

static void end(struct serve *s) {
  if (atomic_exchange(&s->ending, true)) return;
  settle_over(s);
  for (unsigned i = 0; i < s->servers_count; i += 1) server_wake(&s->servers[i]);
  if (s->servers_count > 0) return;
  /* No thread tells it. */
  atomic_store(&s->e->serves_told, true);
  uv_async_send(&s->e->async);
}

void rules_release(napi_env env, struct serve_rules *r) {
  for (unsigned i = 0; i < SERVE_REFS; i += 1) {
    if (r->refs[i] != NULL) napi_delete_reference(env, r->refs[i]);
    r->refs[i] = NULL;
  }
}

static void seat_close(struct seat *t) {
  if (t->fd >= 0) close(t->fd);
  t->fd = -1;
  piped_close(t);
  if (t->buffer != NULL) munmap(t->buffer, SERVE_BUFFER_BYTES + t->s->answers_max);
  t->buffer = NULL;
  for (unsigned i = 0; i < SERVE_REFS; i += 1) {
    if (t->refs[i] != NULL) napi_delete_reference(t->s->e->env, t->refs[i]);
    t->refs[i] = NULL;
  }
  t->asks = NULL;
}

/* Of one whose threads have ended, or never began. */
static void close_down(struct serve *s) {
  for (unsigned i = 0; i < s->servers_count; i += 1) close(s->servers[i].wake);
  for (unsigned i = 0; i < s->count; i += 1) seat_close(&s->seats[i]);
  pthread_mutex_destroy(&s->lock);
}

static struct seat *seat_of(struct engine *e, uint32_t conn) {
  for (struct serve *s = e->serves; s != NULL; s = s->next) {
    for (unsigned i = 0; i < s->count; i += 1) {
      if (s->seats[i].conn == conn && !s->seats[i].released) return &s->seats[i];
    }
  }
  return NULL;
}

/* Its connection, as long as that has it. */
static struct conn *conn_of(const struct seat *t) {
  struct conn *c = conn_find(t->s->e, t->conn);

  return c != NULL && c->seat == t ? c : NULL;
}

static int thread_start(struct server *w) {
  pthread_attr_t a;
  sigset_t all, before;
  int error = pthread_attr_init(&a);

  if (error != 0) return error;
  /* Signals are the main thread's. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_attr_setstacksize(&a, STACK_BYTES);
  if (error == 0) error = pthread_create(&w->thread, &a, serve_thread, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&a);
  return error;
}

/* One more, for seats from the next one on; 0 or an errno. */
static int server_start(struct serve *s) {
  struct server *w = &s->servers[s->servers_count];
  int error;

  *w = (struct server){.s = s, .first = &s->seats[s->count], .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (w->wake < 0) return errno;
  error = thread_start(w);
  if (error != 0) close(w->wake);
  else s->servers_count += 1;
  return error;
}

/* So many processors this process may use. */
static unsigned processors(void) {
  cpu_set_t set;

  return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* The one that still waits for clients by these rules. */
static struct serve *waiting(struct engine *e, const struct leg *leg, const struct serve_rules *r) {
  struct serve *s = e->serves;

  while (s != NULL && (atomic_load(&s->ending) || s->leg != leg || s->rules.allowed != r->allowed || r->allowed == NULL || s->rules.clients != r->clients ||
                       s->count >= s->rules.clients)) {
    s = s->next;
  }
  return s;
}

/* NULL: `error` says why. */
static struct serve *new_serve(struct engine *e, struct leg *leg, const struct serve_rules *rules, int *error) {
  struct serve *s = calloc(1, sizeof *s + rules->clients * sizeof s->seats[0]);

  *error = ENOMEM;
  if (s == NULL) return NULL;
  *error = pthread_mutex_init(&s->lock, NULL);
  if (*error != 0) {
    free(s);
    return NULL;
  }
  s->e = e;
  s->rules = *rules;
  memset(s->rules.refs, 0, sizeof s->rules.refs);
  s->leg = leg;
  s->leg_fd = leg->fd;
  /* Threads that wait for a processor hold up those that have one: then one that takes what there is of all costs less. */
  s->alone = rules->clients == 1 || rules->clients <= processors();
  s->read_flags = leg->inline_reads == INLINE_NOWAIT ? RWF_NOWAIT : 0;
  s->answers_max = rules->allowed == NULL ? ANSWERS_BYTES : READS_BYTES;
  s->wait_ns = rules->allowed == NULL ? ANSWER_WAITS_NS : CLIENT_WAITS_NS;
  return s;
}

static bool takes_long(const struct serve *s) { return s->rules.allowed == NULL || (s->rules.clients > 1 && s->alone); }

static int take_seat(struct serve *s, struct conn *c, const struct serve_rules *rules) {
  struct seat *t = &s->seats[s->count];
  void *p = mmap(NULL, SERVE_BUFFER_BYTES + s->answers_max, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int error;

  if (p == MAP_FAILED) return errno;
  *t = (struct seat){.s = s, .index = s->count, .conn = c->id, .fd = -1, .pipe = {-1, -1}, .structured = c->structured, .seal = c->seal, .payload_max = c->payload_max};
  t->need = REQUEST_BYTES + c->seal;
  t->wakes_by = 1;
  t->longest = takes_long(s) ? SERVE_BUFFER_BYTES - 2 * (REQUEST_BYTES + 2 * SEAL_BYTES) : LONG_BODY_BYTES - 1;
  t->longest_read = PIPED_MAX_BYTES;
  t->reads = rules->allowed != NULL && s->leg->inline_reads != INLINE_NEVER;
  t->under_way = rules->under_way;
  t->asks = rules->asks;
  t->buffer = p;
  t->answers = t->buffer + SERVE_BUFFER_BYTES;
  /* What keeps the rest of the engine's memory from being swapped out does so here; a refusal was told at the start. */
  (void)memory_keep(t->buffer, SERVE_BUFFER_BYTES + s->answers_max);
  error = s->alone || s->servers_count == 0 ? server_start(s) : 0;
  if (error != 0) {
    seat_close(t);
    return error;
  }
  t->by = &s->servers[s->servers_count - 1];
  t->by->count += 1;
  memcpy(t->refs, rules->refs, sizeof t->refs);
  s->count += 1;
  c->seat = t;
  c->was_served = true;
  return 0;
}

int serve_begin(struct engine *e, uint32_t id, uint32_t leg, const struct serve_rules *rules) {
  struct conn *c = conn_find(e, id);
  struct serve *s;
  unsigned seats = 0;
  int error = 0;

  for (s = e->serves; s != NULL; s = s->next) seats += s->count;
  if (c == NULL || !c->server || c->extended || c->state != CONN_OPEN || !c->receiving || leg >= LEGS_MAX || e->legs[leg] == NULL || e->legs[leg]->closing) {
    return EINVAL;
  }
  if (c->seat != NULL || seat_of(e, id) != NULL) return EBUSY;
  if (seats >= SERVES_MAX || rules->clients < 1 || rules->clients > TOGETHER_MAX || e->dead || e->pool.count == 0) return ENFILE;
  s = waiting(e, e->legs[leg], rules);
  if (s == NULL) {
    s = new_serve(e, e->legs[leg], rules, &error);
    if (s == NULL) return error;
    s->leg->operations += 1;
    engine_hold(e);
    s->next = e->serves;
    e->serves = s;
  }
  error = take_seat(s, c, rules);
  if (error == 0) conn_update(c);
  else end(s);
  return error;
}

/* When nothing of any of its connections is in hand. */
static bool may_lend_all(const struct serve *s) {
  if (atomic_load(&s->ending) || s->returning || s->count < s->rules.clients) return false;
  for (unsigned i = 0; i < s->count; i += 1) {
    const struct conn *c = conn_of(&s->seats[i]);
    if (c == NULL || c->lent || c->keep || !conn_may_lend(c)) return false;
    if (c->fill - c->pos > SERVE_BUFFER_BYTES) return false;
    /* What of a record is decrypted and not received is not told by its socket (order.c). */
    if (c->ktls && s->count > 1) return false;
  }
  return true;
}

bool serve_takes_long(const struct conn *c) { return takes_long(c->seat->s); }

void serve_lend(struct conn *asking) {
  struct serve *s = asking->seat->s;

  if (!may_lend_all(s)) return;
  if (s->lend_wait > 0) {
    s->lend_wait -= 1;
    return;
  }
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *t = &s->seats[i];
    if (t->fd < 0) t->fd = fcntl(conn_of(t)->fd, F_DUPFD_CLOEXEC, 0);
    if (t->fd < 0) {
      end(s);
      return;
    }
  }
  s->answered_before = 0;
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *t = &s->seats[i];
    struct conn *c = conn_of(t);
    t->ktls = c->ktls;
    if (t->ktls) t->longest_read = LONG_BODY_BYTES - 1;
    t->pos = 0;
    t->fill = c->fill - c->pos;
    if (t->fill > 0) memcpy(t->buffer, c->slab->data + c->pos, t->fill);
    c->pos = c->fill;
    if (s->settling) uv_timer_stop(&c->timer);
    c->settles = false;
    c->stalled = false;
    c->long_reads = 0;
    t->need = REQUEST_BYTES + t->seal;
    t->scanned = 0;
    t->waits = false;
    t->lacks = false;
    t->came_at = 0;
    atomic_store_explicit(&t->awaits, 0, memory_order_relaxed);
    atomic_store(&t->received, t->fill);
    atomic_store(&t->whole_at, t->need);
    s->answered_before += atomic_load_explicit(&t->answered, memory_order_relaxed);
    c->lent = true;
  }
  s->settling = false;
  atomic_store(&s->parking, false);
  pthread_mutex_lock(&s->lock);
  for (unsigned i = 0; i < s->servers_count; i += 1) s->servers[i].lent = true;
  s->lent = s->servers_count;
  pthread_mutex_unlock(&s->lock);
  for (unsigned i = 0; i < s->servers_count; i += 1) server_wake(&s->servers[i]);
  for (unsigned i = 0; i < s->count; i += 1) {
    struct conn *c = conn_of(&s->seats[i]);
    if (c != asking) conn_emptied(c);
  }
}

static void lend_less(struct serve *s) {
  if (s->lend_skips < LEND_SKIPS_MAX) s->lend_skips = 2 * s->lend_skips + 1;
}

/* Whoever was to be answered first goes on as it is. */
static void settle_over(struct serve *s) {
  if (!s->settling) return;
  s->settling = false;
  for (unsigned i = 0; i < s->count; i += 1) {
    struct conn *c = conn_of(&s->seats[i]);
    if (c == NULL) continue;
    c->long_reads = 0;
    if (c->state == CONN_OPEN) uv_timer_stop(&c->timer);
    if (!c->settles) continue;
    c->settles = false;
    c->read_on = true;
    conn_dirty(c);
  }
  uv_async_send(&s->e->async);
}

/* One of them has not been answered in time: perhaps because its client takes nothing, and the others are not to wait for that. */
static void on_settle_late(uv_timer_t *h) {
  struct conn *c = h->data;
  struct serve *s;

  if (c->seat == NULL || !c->seat->s->settling) return;
  s = c->seat->s;
  lend_less(s);
  settle_over(s);
}

static bool writes(const struct conn *c) {
  for (const struct sreq *r = c->requests; r != NULL; r = r->next) {
    if (r->cmd != CMD_READ) return true;
  }
  return false;
}

/*
 * Whether they could be lent once all is answered. Of several no write is answered while others wait here: the same one, sent before it by
 * another connection, might be among these, and would follow what is written next (M4). What was given back is to be told before such an
 * answer leaves.
 */
static bool may_settle(const struct serve *s) {
  if (atomic_load(&s->ending) || s->returning || s->count < s->rules.clients) return false;
  for (unsigned i = 0; i < s->count; i += 1) {
    const struct conn *c = conn_of(&s->seats[i]);
    if (c == NULL || c->ktls || c->blocked || (c->last_body >= LONG_BODY_BYTES && !takes_long(s)) || (s->count > 1 && writes(c))) return false;
  }
  return true;
}

static void settle(struct conn *c) {
  c->settles = true;
  /* Lent, it would be in line for good. */
  room_forget(c);
}

/*
 * Whoever always has several requests under way is never without one, and would not be lent: after some that would have been quicker there,
 * nothing more is begun, of any that are served together. After loans that were not worth it, it is after more.
 */
bool serve_settles(struct conn *c, uint16_t cmd, uint64_t length) {
  struct seat *t = c->seat;
  struct serve *s;

  if (t == NULL) return false;
  s = t->s;
  if (s->settling) {
    settle(c);
    return true;
  }
  if (cmd != CMD_READ || length < LONG_BODY_BYTES || length > t->longest_read || !t->reads || t->seal != 0) return false;
  c->long_reads += 1;
  if (c->in_flight == 0 || c->long_reads <= SETTLE_AFTER * (1 + s->lend_skips) || !may_settle(s)) return false;
  s->settling = true;
  s->lend_wait = 0;
  settle(c);
  uv_timer_start(&c->timer, on_settle_late, SETTLES_MS, 0);
  return true;
}

bool serve_settled(struct conn *c) {
  if (!c->settles) return false;
  /* Else its last answer, or that of another, or the timer, is what it waits for. */
  if (c->in_flight == 0) serve_lend(c);
  return true;
}

void serve_end(struct engine *e, double op, uint32_t conn) {
  struct seat *t = seat_of(e, conn);

  if (t == NULL) event_done(e, op, 0, 0, 0, VALUE_NONE);
  else {
    t->released = true;
    t->op = op;
    end(t->s);
    serves_look(e);
  }
  engine_wake(e);
}

void serve_recall(struct conn *c) { end(c->seat->s); }

/* The connection ends, or takes nothing more: what the thread has of it is thrown away. */
void serve_leave(struct conn *c) {
  struct seat *t = c->seat;

  if (t == NULL) return;
  c->seat = NULL;
  c->lent = false;
  end(t->s);
}

/* More was asked for than was told, and is not answered. */
static void heed(struct seat *t) {
  double op = t->heeds;
  uint32_t asked;

  if (op == 0 || t->asks == NULL) return;
  asked = __atomic_load_n(t->asks + ASKS_ASKED, __ATOMIC_SEQ_CST);
  if (asked == t->heard || asked == __atomic_load_n(t->asks + ASKS_ANSWERED, __ATOMIC_SEQ_CST)) return;
  t->heard = asked;
  t->heeds = 0;
  atomic_store(&t->listens, false);
  event_done(t->s->e, op, 0, 0, 0, VALUE_NONE);
}

void serve_heed(struct engine *e, double op, uint32_t conn) {
  struct seat *t = seat_of(e, conn);

  if (t == NULL || t->s->joined) event_done(e, op, ESHUTDOWN, 0, 0, VALUE_NONE);
  else if (t->asks == NULL || t->heeds != 0) event_done(e, op, EINVAL, 0, 0, VALUE_NONE);
  else {
    t->heeds = op;
    /* First: whoever asks stores that, and then looks who listens. */
    atomic_store(&t->listens, true);
    heed(t);
  }
  engine_wake(e);
}

void serve_heeded(struct engine *e, uint32_t conn) {
  struct seat *t = seat_of(e, conn);

  if (t != NULL && !t->s->joined && atomic_load(&t->s->sleeps)) server_wake(t->by);
}

double serve_answered(struct engine *e, uint32_t conn) {
  struct seat *t = seat_of(e, conn);

  return t == NULL ? 0 : (double)atomic_load_explicit(&t->answered, memory_order_relaxed);
}

/* What has come, or could leave, and is left lying while the thread is held up by another's request, is not the peer's to do. */
double serve_awaited(const struct conn *c) {
  struct seat *t = c->seat;
  struct pollfd p = {.fd = t->fd, .events = atomic_load_explicit(&t->awaits, memory_order_relaxed)};
  int queued = 0;

  if (p.events == 0 || poll(&p, 1, 0) != 0) return -1;
  /* Of a long write the thread is not woken by each part (serve.c wake_by). */
  if (p.events != POLLIN || ioctl(t->fd, FIONREAD, &queued) != 0) queued = 0;
  return c->moved + (double)atomic_load_explicit(&t->moved, memory_order_relaxed) + queued;
}

/* What was received of it is handed on. */
static void seat_back(struct seat *t) {
  struct conn *c = conn_of(t);

  if (c == NULL) return;
  if (!c->receiving) server_stop(c);
  if (t->error == 0 && t->answers_sent < t->answers_length) {
    if (!conn_owe(c, t->answers + t->answers_sent, t->answers_length - t->answers_sent)) return;
    /* Until what all have sent is told, also if it ends meanwhile. */
    c->blocked = true;
  }
  if (t->error != 0) conn_close(c, t->error);
  else if (c->state == CONN_OPEN) {
    c->keep = t->over && t->fill == t->pos;
    conn_resume(c, t->buffer + t->pos, t->fill - t->pos);
  }
}

/* Its answers may leave. */
static void seat_flush(struct seat *t) {
  struct conn *c = conn_find(t->s->e, t->conn);

  if (c == NULL || c->state == CONN_CLOSED) return;
  if (c->state == CONN_LINGER && c->seat == t) {
    c->blocked = false;
    c->state = CONN_OPEN;
    conn_close(c, 0);
    return;
  }
  if (c->tail != NULL) c->blocked = false;
  conn_flush(c);
  if (c->state == CONN_LINGER && c->replying == 0 && c->tail == NULL) conn_finish(c, 0);
}

static void take_back(struct serve *s) {
  uint64_t answered = 0;

  for (unsigned i = 0; i < s->count; i += 1) {
    struct conn *c = conn_of(&s->seats[i]);
    answered += atomic_load(&s->seats[i].answered);
    if (c != NULL) c->lent = false;
  }
  if (answered - s->answered_before >= WORTH_IT) s->lend_skips = 0;
  else lend_less(s);
  s->lend_wait = s->lend_skips;
  s->returning = true;
  for (unsigned i = 0; i < s->count; i += 1) seat_back(&s->seats[i]);
  /* What they have sent already is told before an answer leaves, or `gone` is told: what others ask comes behind it. */
  for (unsigned i = 0; i < s->count && s->rules.allowed != NULL && (s->count > 1 || atomic_load(&s->ending)); i += 1) {
    const struct conn *c = conn_of(&s->seats[i]);
    if (c != NULL && !c->keep) conn_look_on(s->e, c->id);
  }
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *t = &s->seats[i];
    t->answers_sent = 0;
    t->answers_free = 0;
    t->answers_held = 0;
    t->answers_length = 0;
    t->over = false;
  }
  s->returning = false;
  for (unsigned i = 0; i < s->count; i += 1) seat_flush(&s->seats[i]);
}

static void joined(struct serve *s) {
  for (unsigned i = 0; i < s->count; i += 1) {
    struct conn *c = conn_of(&s->seats[i]);
    if (c == NULL) continue;
    c->seat = NULL;
    c->lent = false;
  }
  for (unsigned i = 0; i < s->servers_count; i += 1) pthread_join(s->servers[i].thread, NULL);
  s->joined = true;
  close_down(s);
  engine_let_go(s->e);
}

static void look(struct serve *s) {
  struct engine *e = s->e;
  bool back, quiet, gone;

  if (!s->joined) {
    heed(&s->seats[0]);
    pthread_mutex_lock(&s->lock);
    back = s->back;
    quiet = s->quiet;
    gone = s->gone == s->servers_count;
    s->back = false;
    pthread_mutex_unlock(&s->lock);
    if (back) take_back(s);
    if (gone) joined(s);
    /* Of clients, what they have asked is to be told first, or it comes after what another asks. */
    s->silent = s->silent || gone || (s->rules.allowed == NULL && quiet);
  }
  if (!s->silent) return;
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *t = &s->seats[i];
    /* First: what is begun for it is known before the end is. */
    if (t->heeds != 0) event_done(e, t->heeds, ESHUTDOWN, 0, 0, VALUE_NONE);
    t->heeds = 0;
    if (t->op != 0) event_done(e, t->op, 0, (double)atomic_load(&t->answered), 0, VALUE_NONE);
    t->op = 0;
  }
  if (s->leg != NULL) {
    struct leg *leg = s->leg;
    s->leg = NULL;
    leg_release(e, leg);
  }
}

/* Nobody asks after it any more. */
static bool is_over(const struct serve *s) {
  for (unsigned i = 0; i < s->count; i += 1) {
    if (!s->seats[i].released || s->seats[i].op != 0) return false;
  }
  return s->joined;
}

/* What the threads have told. JavaScript may be called meanwhile, and begin or end another one. */
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
      /* What has begun meanwhile stands before it. */
      while (*at != s) at = &(*at)->next;
      if (is_over(s)) {
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
    for (unsigned i = 0; i < s->count; i += 1) {
      if (s->seats[i].fd >= 0) (void)shutdown(s->seats[i].fd, SHUT_RDWR);
    }
    for (unsigned i = 0; i < s->servers_count; i += 1) pthread_join(s->servers[i].thread, NULL);
    s->joined = true;
  }
}
