/*
 * Legs: files and block devices, opened and locked by TypeScript, read and written here. This is the main thread's side.
 *
 *   leg_*  --job--> lane of its leg (pool.c) --> I/O thread (work.c) --done list, one wake-up--> io_on_done --> DONE
 *      read: first in place, when it cannot block (RWF_NOWAIT, or a file in memory); of long ones some a turn, so that each leaves warm
 *
 * Invariants:
 * - a sync begins after everything whose DONE was given before the call: that has been written by then
 * - a payload's bytes are referred to by the job until its DONE
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include "legs.h"

/* Longer reads go to a thread: copying them would hold the loop up. */
#define INLINE_READ_MAX_BYTES (512u * 1024)
/* So much is read in place before what was read leaves: while it is warm, and while its reader takes it the next is read. */
#define INLINE_READS_BYTES (256u * 1024)

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
  pool_free(&e->pool);
}

static struct leg *find(struct engine *e, uint32_t id) {
  struct leg *leg = id < LEGS_MAX ? e->legs[id] : NULL;

  return leg == NULL || leg->closing ? NULL : leg;
}

int leg_open(struct engine *e, int fd, bool device, bool punch, bool zero_range, uint32_t *id) {
  struct leg *leg;
  struct statfs s;
  uint32_t free_id = 1;

  if (e->pool.count == 0) return ESHUTDOWN;
  while (free_id < LEGS_MAX && e->legs[free_id] != NULL) free_id += 1;
  if (free_id == LEGS_MAX) return ENFILE;
  if (fstatfs(fd, &s) != 0) return errno;
  leg = calloc(1, sizeof *leg);
  if (leg == NULL) return ENOMEM;
  leg->fd = fd;
  leg->id = free_id;
  leg->device = device;
  leg->inline_reads = !device && s.f_type == TMPFS_MAGIC ? INLINE_ALWAYS : INLINE_NOWAIT;
  atomic_init(&leg->can_punch, punch);
  atomic_init(&leg->can_zero_range, zero_range);
  atomic_init(&leg->can_dsync, true);
  for (unsigned i = 0; i < LANES; i += 1) leg->lanes[i].leg = leg;
  e->legs[free_id] = leg;
  *id = free_id;
  return 0;
}

static void leg_end(struct engine *e, struct leg *leg) {
  e->legs[leg->id] = NULL;
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

void leg_release(struct engine *e, struct leg *leg) {
  leg->operations -= 1;
  if (leg->operations == 0 && leg->closing) {
    uint32_t id = leg->id;
    leg_end(e, leg);
    tell_idle(e, id);
  }
}

static void finish(struct engine *e, struct job *j) {
  struct leg *leg = j->leg;
  uint32_t given = 0;
  unsigned value = VALUE_NONE;

  if (j->counts) leg->failures_told += 1;
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
  leg_release(e, leg);
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
    if (lane_of(j) == LANE_DURABLE) e->syncs_ended += 1;
    finish(e, j);
    j = next;
  }
  if (e->jobs_in_flight == 0 && e->jobs_hold) {
    e->jobs_hold = false;
    engine_let_go(e);
  }
  return true;
}

void io_on_done(uv_async_t *h) {
  struct engine *e = h->data;

  io_look(e);
  if (e->serves != NULL) serves_look(e);
  if (atomic_load_explicit(&e->sends_told, memory_order_relaxed)) sends_look(e);
}

void io_watch(struct engine *e, bool on) {
  struct io_pool *p = &e->pool;

  pthread_mutex_lock(&p->lock);
  p->watched = on;
  pthread_mutex_unlock(&p->lock);
  if (!on) io_look(e);
}

void io_kick(struct engine *e) {
  struct job *jobs = e->batch_first;

  if (jobs == NULL) return;
  if (!e->jobs_hold) engine_hold(e);
  e->jobs_hold = true;
  e->jobs_in_flight += e->batch_count;
  for (const struct job *j = jobs; j != NULL; j = j->next) {
    if (lane_of(j) == LANE_DURABLE) e->syncs_begun += 1;
  }
  e->batch_first = NULL;
  e->batch_last = NULL;
  e->batch_count = 0;
  pool_add(&e->pool, jobs);
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

  if (leg == NULL || e->pool.count == 0) return ESHUTDOWN;
  j = job_take(e);
  if (j == NULL) return ENOMEM;
  j->leg = leg;
  j->kind = kind;
  j->op = op;
  j->offset = offset;
  j->length = (uint64_t)length;
  j->failures_before = leg->failures_told;
  leg->operations += 1;
  *job = j;
  return 0;
}

/* True when it is over, one way or the other. */
static bool read_in_place(struct job *j) {
  struct leg *leg = j->leg;

  while (leg->inline_reads != INLINE_NEVER && j->length <= INLINE_READ_MAX_BYTES && j->moved < j->length) {
    struct iovec v = {.iov_base = j->data + j->moved, .iov_len = (size_t)(j->length - j->moved)};
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

static void begin_read(struct engine *e, struct job *j) {
  j->slot = handle_allocate(e, (size_t)j->length);
  if (j->slot == 0) {
    j->error = ENOMEM;
    finish(e, j);
    return;
  }
  j->data = handle_data(e, j->slot);
  if (read_in_place(j)) {
    e->read_in_place += j->length;
    finish(e, j);
  } else queue(e, j);
}

int leg_read(struct engine *e, double op, uint32_t leg, uint64_t offset, double length) {
  struct job *j;
  int error = start(e, op, leg, JOB_READ, offset, length, &j);

  if (error != 0) return error;
  if (e->reads_first == NULL && e->read_in_place < INLINE_READS_BYTES) {
    begin_read(e, j);
    return 0;
  }
  j->next = NULL;
  if (e->reads_first == NULL) e->reads_first = j;
  else e->reads_last->next = j;
  e->reads_last = j;
  return 0;
}

/* What has waited here has not waited alone: an event of what was read before it is still to be delivered, and after that comes this. */
void leg_reads_go_on(struct engine *e) {
  e->read_in_place = 0;
  while (e->reads_first != NULL && e->read_in_place < INLINE_READS_BYTES) {
    struct job *j = e->reads_first;
    e->reads_first = j->next;
    begin_read(e, j);
  }
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
