/*
 * Legs: files and block devices, opened and locked by TypeScript, read and written here.
 *
 *   leg_*  --job--> queue --> I/O threads (netraid-io) --done list, one wake-up--> io_on_done --> DONE
 *      read: first in place, when it cannot block (RWF_NOWAIT, or a file in memory)
 *
 * Invariants:
 * - short transfers are gone on with until complete; one that moves nothing is EIO
 * - a sync begins after everything whose DONE was given before the call: that has been written by then
 * - a payload's bytes are referred to by the job until its DONE
 * - the kernel tells an error of its writing back once to each open file: so a sync overlaps neither another one nor a durable
 *   write of its leg, and whoever was asked for before one of them failed hears of that too
 * - syncs that come while one runs wait without a thread, and share the next one
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "engine.h"

#define EXTENTS_MAX 16384u
/* Longer reads go to a thread: copying them would hold the loop up. */
#define INLINE_READ_MAX_BYTES (512u * 1024)
#define ZEROES_BYTES (256u * 1024)
#define STEP_MAX_BYTES (1u << 30)
/* Jobs that one thread takes at once when many wait. */
#define TAKE_MAX 8u

enum job_kind { JOB_READ, JOB_WRITE, JOB_SYNC, JOB_ZERO, JOB_EXTENTS };
enum inline_kind { INLINE_NEVER, INLINE_NOWAIT, INLINE_ALWAYS };

struct leg {
  int fd;
  bool device;
  bool closing;
  uint32_t id;
  unsigned operations;
  enum inline_kind inline_reads;
  /* Turned off by the first refusal, so that later ones are not asked in vain; by any thread. */
  atomic_bool can_punch, can_zero_range, can_dsync;
  /* Syncs hold it for writing, durable writes for reading. */
  pthread_rwlock_t durable;
  /* Syncs and durable writes that have failed. */
  atomic_uint failures;
  /* Guards the two below it. */
  pthread_mutex_t syncs;
  bool syncing;
  struct job *sync_first, *sync_last; /* asked for since the running one began */
};

struct job {
  struct job *next;
  struct leg *leg;
  enum job_kind kind;
  double op;
  uint64_t offset;
  uint64_t length;
  uint64_t moved;
  uint8_t *data;
  uint32_t slot;
  bool punch;
  bool fua;
  unsigned failures_before;
  int error;
  double *extents; /* offset, length, hole; offset, ... */
  size_t extent_count, extent_cap;
};

static uint8_t zeroes[ZEROES_BYTES];

/* ------------------------------------------------------------------------------------------------ on the I/O threads */

static size_t step_of(const struct job *j) {
  uint64_t left = j->length - j->moved;

  return left > STEP_MAX_BYTES ? STEP_MAX_BYTES : (size_t)left;
}

static void run_read(struct job *j) {
  while (j->moved < j->length) {
    ssize_t n = pread(j->leg->fd, j->data + j->moved, step_of(j), (off_t)(j->offset + j->moved));
    if (n > 0) j->moved += (uint64_t)n;
    else if (n == 0 || errno != EINTR) {
      j->error = n == 0 ? EIO : errno;
      return;
    }
  }
}

static int told_of_failures(const struct job *j) {
  return atomic_load_explicit(&j->leg->failures, memory_order_acquire) == j->failures_before ? 0 : EIO;
}

static int sync_leg(struct job *j) {
  struct leg *leg = j->leg;
  int error;

  pthread_rwlock_wrlock(&leg->durable);
  error = told_of_failures(j);
  /* Never again after a failure: the kernel may have dropped what it could not write. EINTR promises nothing either way. */
  if (error == 0 && fdatasync(leg->fd) != 0) {
    error = errno;
    atomic_fetch_add_explicit(&leg->failures, 1, memory_order_release);
  }
  pthread_rwlock_unlock(&leg->durable);
  return error;
}

/* All that share one: each hears of a failure since it was asked for, and nobody else. */
static void sync_together(struct job *group) {
  struct leg *leg = group->leg;
  bool wanted = false;
  int error = 0;

  pthread_rwlock_wrlock(&leg->durable);
  for (struct job *j = group; j != NULL; j = j->next) {
    j->error = told_of_failures(j);
    if (j->error == 0) wanted = true;
  }
  if (wanted && fdatasync(leg->fd) != 0) {
    error = errno;
    atomic_fetch_add_explicit(&leg->failures, 1, memory_order_release);
  }
  pthread_rwlock_unlock(&leg->durable);
  for (struct job *j = group; j != NULL; j = j->next) {
    if (j->error == 0) j->error = error;
  }
}

/* One step of a write that is durable when it is over; what pwritev2 answers, with errno. */
static ssize_t write_durably(struct job *j, const struct iovec *v) {
  struct leg *leg = j->leg;
  ssize_t n;
  int error;

  pthread_rwlock_rdlock(&leg->durable);
  n = pwritev2(leg->fd, v, 1, (off_t)(j->offset + j->moved), RWF_DSYNC);
  error = n < 0 ? errno : told_of_failures(j);
  if (n < 0 && error != EINTR && error != EOPNOTSUPP) atomic_fetch_add_explicit(&leg->failures, 1, memory_order_release);
  pthread_rwlock_unlock(&leg->durable);
  errno = error;
  return error == 0 ? n : -1;
}

/* `data` NULL: zeroes. */
static int write_all(struct job *j, const uint8_t *data, bool durable) {
  while (j->moved < j->length) {
    struct iovec v;
    ssize_t n;
    bool dsync = durable && atomic_load_explicit(&j->leg->can_dsync, memory_order_relaxed);

    v.iov_len = step_of(j);
    if (data == NULL && v.iov_len > ZEROES_BYTES) v.iov_len = ZEROES_BYTES;
    v.iov_base = data == NULL ? zeroes : (uint8_t *)(uintptr_t)data + j->moved;
    n = dsync ? write_durably(j, &v) : pwritev2(j->leg->fd, &v, 1, (off_t)(j->offset + j->moved), 0);
    if (n > 0) j->moved += (uint64_t)n;
    else if (n == 0) return EIO;
    else if (dsync && errno == EOPNOTSUPP) {
      /* What was written durably stays so; the rest is made durable by a sync at the end. */
      atomic_store_explicit(&j->leg->can_dsync, false, memory_order_relaxed);
    } else if (errno != EINTR) return errno;
  }
  if (durable && !atomic_load_explicit(&j->leg->can_dsync, memory_order_relaxed)) return sync_leg(j);
  return 0;
}

static int fallocate_leg(struct leg *leg, int mode, uint64_t offset, uint64_t length) {
  int n;

  do {
    n = fallocate(leg->fd, mode, (off_t)offset, (off_t)length);
  } while (n != 0 && errno == EINTR);
  return n == 0 ? 0 : errno;
}

/* "Not like this", as opposed to a failure. A device refuses ranges that are not whole sectors with EINVAL. */
static bool is_refusal(const struct leg *leg, int error) { return error == EOPNOTSUPP || (leg->device && error == EINVAL); }

static int zero_by_leg(struct job *j) {
  struct leg *leg = j->leg;
  int error;

  if (j->punch && atomic_load_explicit(&leg->can_punch, memory_order_relaxed)) {
    error = fallocate_leg(leg, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, j->offset, j->length);
    if (!is_refusal(leg, error)) return error;
    if (error == EOPNOTSUPP) atomic_store_explicit(&leg->can_punch, false, memory_order_relaxed);
  }
  if (!atomic_load_explicit(&leg->can_zero_range, memory_order_relaxed)) return EOPNOTSUPP;
  error = fallocate_leg(leg, FALLOC_FL_ZERO_RANGE, j->offset, j->length);
  if (error == EOPNOTSUPP) atomic_store_explicit(&leg->can_zero_range, false, memory_order_relaxed);
  return is_refusal(leg, error) ? EOPNOTSUPP : error;
}

static void run_zero(struct job *j) {
  j->error = zero_by_leg(j);
  if (j->error == EOPNOTSUPP) j->error = write_all(j, NULL, j->fua);
  else if (j->error == 0) {
    j->moved = j->length;
    if (j->fua) j->error = sync_leg(j);
  }
}

static bool add_extent(struct job *j, uint64_t to, bool hole) {
  uint64_t at = j->offset + j->moved;
  double *last;

  if (to <= at) return true;
  last = j->extent_count == 0 ? NULL : j->extents + 3 * (j->extent_count - 1);
  if (last != NULL && (last[2] != 0) == hole) last[1] += (double)(to - at);
  else {
    if (j->extent_count == j->extent_cap) {
      size_t cap = j->extent_cap == 0 ? 64 : j->extent_cap * 2;
      double *bigger = realloc(j->extents, cap * 3 * sizeof *bigger);
      if (bigger == NULL) return false;
      j->extents = bigger;
      j->extent_cap = cap;
    }
    last = j->extents + 3 * j->extent_count;
    last[0] = (double)at;
    last[1] = (double)(to - at);
    last[2] = hole ? 1 : 0;
    j->extent_count += 1;
  }
  j->moved = to - j->offset;
  return true;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A file system that cannot seek for holes answers EINVAL or the like: everything is data then. */
static void run_extents(struct job *j) {
  uint64_t end = j->offset + j->length;
  int fd = j->leg->fd;

  while (j->moved < j->length && j->extent_count < EXTENTS_MAX) {
    uint64_t at = j->offset + j->moved;
    struct stat s;
    off_t to = j->leg->device ? -1 : lseek(fd, (off_t)at, SEEK_DATA);
    bool held = true;

    if (to >= 0) {
      held = add_extent(j, least(end, (uint64_t)to), true);
      if (held && j->moved < j->length) {
        to = lseek(fd, (off_t)(j->offset + j->moved), SEEK_HOLE);
        held = add_extent(j, to < 0 ? end : least(end, (uint64_t)to), false);
      }
    } else if (j->leg->device || errno == EINVAL || errno == EOPNOTSUPP) held = add_extent(j, end, false);
    else if (errno == ENXIO) {
      /* No data from here on. What lies beyond the end of the file is no hole: reading it is an error, and is left to show. */
      if (fstat(fd, &s) != 0) {
        j->error = errno;
        return;
      }
      if ((uint64_t)s.st_size > at) held = add_extent(j, least(end, (uint64_t)s.st_size), true);
      if (held) held = add_extent(j, end, false);
    } else {
      j->error = errno;
      return;
    }
    if (!held) {
      j->error = ENOMEM;
      return;
    }
  }
}

static void run_job(struct job *j) {
  switch (j->kind) {
    case JOB_READ: run_read(j); break;
    case JOB_WRITE: j->error = write_all(j, j->data, j->fua); break;
    case JOB_SYNC: break; /* run_syncs */
    case JOB_ZERO: run_zero(j); break;
    case JOB_EXTENTS: run_extents(j); break;
  }
}

static bool is_long(const struct job *j) { return (j->kind != JOB_READ && j->kind != JOB_WRITE) || j->fua || j->length > 65536; }

/* One job, or a few short ones when there are enough for all threads. Called with the lock held. */
static struct job *take_jobs(struct io_pool *p) {
  struct job *first = p->first, *last = first;
  unsigned count = 1;

  while (!is_long(last) && last->next != NULL && !is_long(last->next) && count < TAKE_MAX && count * p->threads < p->queued) {
    last = last->next;
    count += 1;
  }
  p->first = last->next;
  if (p->first == NULL) p->last = NULL;
  last->next = NULL;
  p->queued -= count;
  return first;
}

static void hand_back(struct engine *e, struct job *jobs, struct job *last) {
  struct io_pool *p = &e->pool;
  bool first;

  pthread_mutex_lock(&p->lock);
  first = p->done_first == NULL;
  if (first) p->done_first = jobs;
  else p->done_last->next = jobs;
  p->done_last = last;
  atomic_store_explicit(&p->some_done, true, memory_order_relaxed);
  if (first && !p->watched) uv_async_send(&e->async);
  pthread_mutex_unlock(&p->lock);
}

/* A group that is handed back may take the leg with it: it is touched after that only while others of it wait. */
static void run_syncs(struct engine *e, struct job *group) {
  struct leg *leg = group->leg;
  bool waits;

  pthread_mutex_lock(&leg->syncs);
  waits = leg->syncing;
  if (waits) {
    if (leg->sync_first == NULL) leg->sync_first = group;
    else leg->sync_last->next = group;
    leg->sync_last = group;
  }
  leg->syncing = true;
  pthread_mutex_unlock(&leg->syncs);
  while (!waits && group != NULL) {
    struct job *last = group, *next;

    sync_together(group);
    while (last->next != NULL) last = last->next;
    pthread_mutex_lock(&leg->syncs);
    next = leg->sync_first;
    leg->sync_first = NULL;
    leg->syncing = next != NULL;
    pthread_mutex_unlock(&leg->syncs);
    hand_back(e, group, last);
    group = next;
  }
}

static void *io_thread(void *argument) {
  struct engine *e = argument;
  struct io_pool *p = &e->pool;

  pthread_setname_np(pthread_self(), "netraid-io");
  pthread_mutex_lock(&p->lock);
  for (;;) {
    struct job *jobs, *last = NULL;

    while (p->first == NULL && !p->stop) pthread_cond_wait(&p->work, &p->lock);
    if (p->first == NULL) break;
    jobs = take_jobs(p);
    pthread_mutex_unlock(&p->lock);
    if (jobs->kind == JOB_SYNC) run_syncs(e, jobs);
    else {
      for (struct job *j = jobs; j != NULL; j = j->next) {
        run_job(j);
        last = j;
      }
      hand_back(e, jobs, last);
    }
    pthread_mutex_lock(&p->lock);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------ on the main thread */

int io_start(struct engine *e, unsigned threads) {
  struct io_pool *p = &e->pool;
  sigset_t all, before;
  int error = 0;

  if (threads < 1) threads = 1;
  if (threads > IO_THREADS_MAX) threads = IO_THREADS_MAX;
  error = pthread_mutex_init(&p->lock, NULL);
  if (error != 0) return error;
  error = pthread_cond_init(&p->work, NULL);
  if (error != 0) {
    pthread_mutex_destroy(&p->lock);
    return error;
  }
  p->ready = true;
  /* Signals are the main thread's. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (p->threads = 0; p->threads < threads; p->threads += 1) {
    error = pthread_create(&p->thread[p->threads], NULL, io_thread, e);
    if (error != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return p->threads > 0 ? 0 : error;
}

void io_stop(struct engine *e) {
  struct io_pool *p = &e->pool;

  if (!p->ready) return;
  pthread_mutex_lock(&p->lock);
  p->stop = true;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  for (unsigned i = 0; i < p->threads; i += 1) pthread_join(p->thread[i], NULL);
  p->threads = 0;
}

static struct job *job_take(struct engine *e) {
  struct job *j = e->spare_jobs;

  if (j == NULL) return calloc(1, sizeof *j);
  e->spare_jobs = j->next;
  memset(j, 0, sizeof *j);
  return j;
}

static void job_give(struct engine *e, struct job *j) {
  free(j->extents);
  j->extents = NULL;
  j->next = e->spare_jobs;
  e->spare_jobs = j;
}

void io_free(struct engine *e) {
  while (e->spare_jobs != NULL) {
    struct job *j = e->spare_jobs;
    e->spare_jobs = j->next;
    free(j);
  }
  for (unsigned i = 0; i < LEGS_MAX; i += 1) free(e->legs[i]);
  if (!e->pool.ready) return;
  pthread_cond_destroy(&e->pool.work);
  pthread_mutex_destroy(&e->pool.lock);
}

static struct leg *find(struct engine *e, uint32_t id) {
  struct leg *leg = id < LEGS_MAX ? e->legs[id] : NULL;

  return leg == NULL || leg->closing ? NULL : leg;
}

/* A sync that waits comes before durable writes that come after it. */
static int init_durable(pthread_rwlock_t *lock) {
  pthread_rwlockattr_t how;
  int error = pthread_rwlockattr_init(&how);

  if (error != 0) return error;
  error = pthread_rwlockattr_setkind_np(&how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  if (error == 0) error = pthread_rwlock_init(lock, &how);
  pthread_rwlockattr_destroy(&how);
  return error;
}

int leg_open(struct engine *e, int fd, bool device, bool punch, bool zero_range, uint32_t *id) {
  struct leg *leg;
  struct statfs s;
  uint32_t free_id = 1;
  int error;

  if (e->pool.threads == 0) return ESHUTDOWN;
  while (free_id < LEGS_MAX && e->legs[free_id] != NULL) free_id += 1;
  if (free_id == LEGS_MAX) return ENFILE;
  if (fstatfs(fd, &s) != 0) return errno;
  leg = calloc(1, sizeof *leg);
  if (leg == NULL) return ENOMEM;
  error = init_durable(&leg->durable);
  if (error == 0) {
    error = pthread_mutex_init(&leg->syncs, NULL);
    if (error != 0) pthread_rwlock_destroy(&leg->durable);
  }
  if (error != 0) {
    free(leg);
    return error;
  }
  leg->fd = fd;
  leg->id = free_id;
  leg->device = device;
  leg->inline_reads = !device && s.f_type == TMPFS_MAGIC ? INLINE_ALWAYS : INLINE_NOWAIT;
  atomic_init(&leg->can_punch, punch);
  atomic_init(&leg->can_zero_range, zero_range);
  atomic_init(&leg->can_dsync, true);
  atomic_init(&leg->failures, 0);
  e->legs[free_id] = leg;
  *id = free_id;
  return 0;
}

static void leg_end(struct engine *e, struct leg *leg) {
  e->legs[leg->id] = NULL;
  pthread_rwlock_destroy(&leg->durable);
  pthread_mutex_destroy(&leg->syncs);
  free(leg);
}

bool leg_close(struct engine *e, uint32_t id) {
  struct leg *leg = find(e, id);

  if (leg == NULL) return true;
  leg->closing = true;
  if (leg->operations > 0) return false;
  leg_end(e, leg);
  return true;
}

static void tell_idle(struct engine *e, uint32_t id) {
  napi_handle_scope scope;
  napi_value receiver, f, argument, unused, error;

  if (e->dead || napi_open_handle_scope(e->env, &scope) != napi_ok) return;
  if (napi_get_reference_value(e->env, e->receiver, &receiver) == napi_ok && napi_get_reference_value(e->env, e->on_leg_idle, &f) == napi_ok &&
      napi_create_uint32(e->env, id, &argument) == napi_ok &&
      napi_make_callback(e->env, e->context, receiver, f, 1, &argument, &unused) == napi_pending_exception &&
      napi_get_and_clear_last_exception(e->env, &error) == napi_ok) {
    napi_fatal_exception(e->env, error);
  }
  napi_close_handle_scope(e->env, scope);
}

static void finish(struct engine *e, struct job *j) {
  struct leg *leg = j->leg;
  uint32_t given = 0;
  unsigned value = VALUE_NONE;

  if (j->kind == JOB_READ && j->error == 0) given = j->slot;
  else if (j->kind == JOB_EXTENTS && j->error == 0) {
    size_t bytes = j->extent_count * 3 * sizeof(double);
    given = handle_allocate(e, bytes);
    value = VALUE_EXTENTS;
    if (given == 0) j->error = ENOMEM;
    else if (bytes > 0) memcpy(handle_data(e, given), j->extents, bytes);
  }
  if (j->slot != 0 && j->slot != given) handle_release(e, j->slot);
  event_done(e, j->op, j->error, (double)j->moved, given, j->error == 0 ? value : VALUE_NONE);
  job_give(e, j);
  leg->operations -= 1;
  if (leg->operations == 0 && leg->closing) {
    uint32_t id = leg->id;
    leg_end(e, leg);
    tell_idle(e, id);
  }
}

bool io_look(struct engine *e) {
  struct io_pool *p = &e->pool;
  struct job *j;

  pthread_mutex_lock(&p->lock);
  j = p->done_first;
  p->done_first = NULL;
  p->done_last = NULL;
  atomic_store_explicit(&p->some_done, false, memory_order_relaxed);
  pthread_mutex_unlock(&p->lock);
  if (j == NULL) return false;
  while (j != NULL) {
    struct job *next = j->next;
    e->jobs_in_flight -= 1;
    finish(e, j);
    j = next;
  }
  if (e->jobs_in_flight == 0 && !e->dead) uv_unref((uv_handle_t *)&e->async);
  return true;
}

void io_on_done(uv_async_t *h) { io_look(h->data); }

void io_watch(struct engine *e, bool on) {
  struct io_pool *p = &e->pool;

  pthread_mutex_lock(&p->lock);
  p->watched = on;
  pthread_mutex_unlock(&p->lock);
  if (!on) io_look(e);
}

void io_kick(struct engine *e) {
  struct io_pool *p = &e->pool;
  unsigned count = e->batch_count;

  if (count == 0) return;
  if (e->jobs_in_flight == 0) uv_ref((uv_handle_t *)&e->async);
  e->jobs_in_flight += count;
  pthread_mutex_lock(&p->lock);
  if (p->first == NULL) p->first = e->batch_first;
  else p->last->next = e->batch_first;
  p->last = e->batch_last;
  p->queued += count;
  if (count > 1) pthread_cond_broadcast(&p->work);
  else pthread_cond_signal(&p->work);
  pthread_mutex_unlock(&p->lock);
  e->batch_first = NULL;
  e->batch_last = NULL;
  e->batch_count = 0;
}

static void queue(struct engine *e, struct job *j) {
  j->next = NULL;
  if (e->batch_last == NULL) e->batch_first = j;
  else e->batch_last->next = j;
  e->batch_last = j;
  e->batch_count += 1;
}

static int start(struct engine *e, double op, uint32_t id, enum job_kind kind, uint64_t offset, double length, struct job **job) {
  struct leg *leg = find(e, id);
  struct job *j;

  if (leg == NULL) return ESHUTDOWN;
  j = job_take(e);
  if (j == NULL) return ENOMEM;
  j->leg = leg;
  j->kind = kind;
  j->op = op;
  j->offset = offset;
  j->length = (uint64_t)length;
  j->failures_before = atomic_load_explicit(&leg->failures, memory_order_acquire);
  leg->operations += 1;
  *job = j;
  return 0;
}

/* True when it is over, one way or the other. */
static bool read_in_place(struct job *j) {
  struct leg *leg = j->leg;

  while (leg->inline_reads != INLINE_NEVER && j->length <= INLINE_READ_MAX_BYTES && j->moved < j->length) {
    struct iovec v = {.iov_base = j->data + j->moved, .iov_len = step_of(j)};
    int flags = leg->inline_reads == INLINE_NOWAIT ? RWF_NOWAIT : 0;
    ssize_t n = preadv2(leg->fd, &v, 1, (off_t)(j->offset + j->moved), flags);
    if (n > 0) j->moved += (uint64_t)n;
    else if (n < 0 && errno == EINTR) continue;
    else {
      if (n < 0 && errno == EOPNOTSUPP) leg->inline_reads = INLINE_NEVER;
      /* A thread goes on, and meets the end or the error again if there is one. */
      return false;
    }
  }
  return j->moved == j->length;
}

int leg_read(struct engine *e, double op, uint32_t leg, uint64_t offset, double length) {
  struct job *j;
  uint32_t slot;
  int error;

  if (find(e, leg) == NULL) return ESHUTDOWN;
  slot = handle_allocate(e, (size_t)length);
  if (slot == 0) return ENOMEM;
  error = start(e, op, leg, JOB_READ, offset, length, &j);
  if (error != 0) {
    handle_release(e, slot);
    return error;
  }
  j->slot = slot;
  j->data = handle_data(e, slot);
  if (read_in_place(j)) finish(e, j);
  else queue(e, j);
  return 0;
}

int leg_write(struct engine *e, double op, uint32_t leg, uint64_t offset, double length, uint32_t slot, size_t at, bool fua) {
  struct job *j;
  int error = start(e, op, leg, length > 0 ? JOB_WRITE : JOB_SYNC, offset, length, &j);

  if (error != 0) return error;
  j->slot = slot;
  j->data = length > 0 ? handle_data(e, slot) + at : NULL;
  j->fua = fua;
  if (length > 0 || fua) queue(e, j);
  else finish(e, j);
  return 0;
}

int leg_sync(struct engine *e, double op, uint32_t leg) {
  struct job *j;
  int error = start(e, op, leg, JOB_SYNC, 0, 0, &j);

  if (error == 0) queue(e, j);
  return error;
}

int leg_zero(struct engine *e, double op, uint32_t leg, uint64_t offset, double length, bool punch, bool fua) {
  struct job *j;
  int error = start(e, op, leg, length > 0 ? JOB_ZERO : JOB_SYNC, offset, length, &j);

  if (error != 0) return error;
  j->punch = punch;
  j->fua = fua;
  if (length > 0 || fua) queue(e, j);
  else finish(e, j);
  return 0;
}

int leg_extents(struct engine *e, double op, uint32_t leg, uint64_t offset, double length) {
  struct job *j;
  int error = start(e, op, leg, JOB_EXTENTS, offset, length, &j);

  if (error != 0) return error;
  if (length > 0) queue(e, j);
  else finish(e, j);
  return 0;
}
