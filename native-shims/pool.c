/*
 * The I/O threads (netraid-io), and which of them does what.
 *
 *   jobs --pool_add--> lanes of their legs --a lane with work and room is listed--> idle thread --> done list, one wake-up
 *
 * Invariants, all under the lock:
 * - a lane is listed once, and only while it has jobs and may have one thread more
 * - whenever a lane is listed and a thread idle, one has been woken, or has other work behind it, that will look
 * - a thread is done with a lane in the same moment in which it hands its jobs back: the leg may be gone after that
 *
 * The thread that went idle last is woken first: its stack and its core are the warmest.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include "legs.h"

/* Jobs that a thread takes at once when many wait, where each of them is short. */
#define TAKE_MAX 8u

static enum lane_kind kind_of(const struct lane *l) { return (enum lane_kind)(l - l->leg->lanes); }

/* Threads that the lane may have at a time. The kernel writes to a file by one thread at a time, and others wait awake. */
static unsigned most_of(const struct lane *l) {
  switch (kind_of(l)) {
    case LANE_READS: return 4;
    case LANE_WRITES: return l->leg->device ? 2 : 1;
    default: return 1;
  }
}

static void list(struct io_pool *p, struct lane *l) {
  if (l->listed || l->first == NULL || l->running >= most_of(l)) return;
  l->listed = true;
  l->next = NULL;
  if (p->lane_last == NULL) p->lane_first = l;
  else p->lane_last->next = l;
  p->lane_last = l;
}

/* Whom to signal once the lock is free: a thread that wakes up while it is held would only wait again. */
static struct io_thread *to_wake(struct io_pool *p) {
  struct io_thread *t = p->idle;

  if (p->lane_first == NULL || t == NULL || p->coming > 0) return NULL;
  p->idle = t->next_idle;
  t->woken = true;
  return t;
}

static void wake(struct io_thread *t) {
  if (t != NULL) pthread_cond_signal(&t->wake);
}

static bool is_short(const struct job *j) { return j->length <= SHORT_MAX_BYTES; }

/* The first listed lane's next job; of short writes a few when there are enough for all its threads, of durable work all. */
static struct job *take(struct io_pool *p) {
  struct lane *l = p->lane_first;
  enum lane_kind kind = kind_of(l);
  struct job *first = l->first, *last = first;
  unsigned count = 1;

  p->lane_first = l->next;
  if (p->lane_first == NULL) p->lane_last = NULL;
  l->listed = false;
  if (kind == LANE_DURABLE) {
    last = l->last;
    count = l->queued;
  } else if (kind == LANE_WRITES) {
    unsigned most = most_of(l);
    while (is_short(last) && last->next != NULL && is_short(last->next) && count < TAKE_MAX && count * most < l->queued) {
      last = last->next;
      count += 1;
    }
  }
  l->first = last->next;
  if (l->first == NULL) l->last = NULL;
  last->next = NULL;
  l->queued -= count;
  l->running += 1;
  list(p, l);
  return first;
}

/* True: the main thread is to be woken. */
static bool hand_back(struct io_pool *p, struct job *jobs, struct lane *l) {
  struct job *last = jobs;
  bool first = p->done_first == NULL;

  while (last->next != NULL) last = last->next;
  l->running -= 1;
  list(p, l);
  if (first) p->done_first = jobs;
  else p->done_last->next = jobs;
  p->done_last = last;
  atomic_store_explicit(&p->some_done, true, memory_order_relaxed);
  return first && !p->watched;
}

/* Until there is work or it is to end; false: to end. */
static bool wait_for_work(struct io_pool *p, struct io_thread *t) {
  while (p->lane_first == NULL && !p->stop) {
    t->woken = false;
    t->next_idle = p->idle;
    p->idle = t;
    while (!t->woken) pthread_cond_wait(&t->wake, &p->lock);
  }
  return p->lane_first != NULL;
}

static void *io_thread(void *argument) {
  struct io_thread *t = argument;
  struct engine *e = t->engine;
  struct io_pool *p = &e->pool;

  pthread_setname_np(pthread_self(), "netraid-io");
  pthread_mutex_lock(&p->lock);
  while (wait_for_work(p, t)) {
    struct job *jobs = take(p);
    struct lane *l = &jobs->leg->lanes[lane_of(jobs)];
    struct io_thread *other = to_wake(p);
    bool tell;

    pthread_mutex_unlock(&p->lock);
    wake(other);
    if (kind_of(l) == LANE_DURABLE) run_durable(jobs);
    else {
      for (struct job *j = jobs; j != NULL; j = j->next) run_job(j);
    }
    pthread_mutex_lock(&p->lock);
    tell = hand_back(p, jobs, l);
    if (!tell) continue;
    /* Whom the main thread would wake for what it has meanwhile is already awake. */
    p->coming += 1;
    pthread_mutex_unlock(&p->lock);
    uv_async_send(&e->async);
    pthread_mutex_lock(&p->lock);
    p->coming -= 1;
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------ on the main thread */

void pool_add(struct io_pool *p, struct job *jobs) {
  struct io_thread *t;

  pthread_mutex_lock(&p->lock);
  while (jobs != NULL) {
    struct job *j = jobs;
    struct lane *l = &j->leg->lanes[lane_of(j)];

    jobs = j->next;
    j->next = NULL;
    if (l->last == NULL) l->first = j;
    else l->last->next = j;
    l->last = j;
    l->queued += 1;
    list(p, l);
  }
  /* Whoever comes for the first lane wakes the next one as long as there are lanes to take from. */
  t = to_wake(p);
  pthread_mutex_unlock(&p->lock);
  wake(t);
}

static int thread_start(struct engine *e, struct io_thread *t) {
  int error = pthread_cond_init(&t->wake, NULL);

  if (error != 0) return error;
  t->engine = e;
  error = pthread_create(&t->thread, NULL, io_thread, t);
  if (error != 0) pthread_cond_destroy(&t->wake);
  return error;
}

int io_start(struct engine *e, unsigned threads) {
  struct io_pool *p = &e->pool;
  sigset_t all, before;
  int error = pthread_mutex_init(&p->lock, NULL);

  if (error != 0) return error;
  p->ready = true;
  if (threads < 1) threads = 1;
  if (threads > IO_THREADS_MAX) threads = IO_THREADS_MAX;
  /* Signals are the main thread's. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (p->count = 0; p->count < threads; p->count += 1) {
    error = thread_start(e, &p->threads[p->count]);
    if (error != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return p->count > 0 ? 0 : error;
}

void io_stop(struct engine *e) {
  struct io_pool *p = &e->pool;
  unsigned count = p->count;

  if (!p->ready) return;
  pthread_mutex_lock(&p->lock);
  p->stop = true;
  for (unsigned i = 0; i < count; i += 1) {
    p->threads[i].woken = true;
    pthread_cond_signal(&p->threads[i].wake);
  }
  p->idle = NULL;
  pthread_mutex_unlock(&p->lock);
  p->count = 0;
  for (unsigned i = 0; i < count; i += 1) pthread_join(p->threads[i].thread, NULL);
  /* Until the last one has ended, one may wake another. */
  for (unsigned i = 0; i < count; i += 1) pthread_cond_destroy(&p->threads[i].wake);
}

void pool_free(struct io_pool *p) {
  if (p->ready) pthread_mutex_destroy(&p->lock);
  p->ready = false;
}
