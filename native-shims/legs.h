/* What the parts of legs share: their operations (jobs), the main thread's side (file.c), the threads (pool.c), the work (work.c). */
#ifndef NETRAID_LEGS_H
#define NETRAID_LEGS_H

#include "engine.h"

enum job_kind { JOB_READ, JOB_WRITE, JOB_SYNC, JOB_ZERO, JOB_EXTENTS };
enum inline_kind { INLINE_NEVER, INLINE_NOWAIT, INLINE_ALWAYS };

/* What of a leg may run beside each other: a leg that hangs holds as many threads as its lanes take, and no more. */
enum lane_kind {
  LANE_READS,   /* those that were not in the cache: several, so that a disk has more than one to choose from */
  LANE_WRITES,
  LANE_DURABLE, /* syncs, and what is to be durable when it is over: by one thread, all that wait together */
  LANE_LONG,    /* zeroing and extents */
  LANES
};

struct lane {
  struct lane *next; /* of those that a thread may take from */
  struct leg *leg;
  struct job *first, *last;
  unsigned queued, running;
  bool listed;
};

struct leg {
  int fd;
  bool device;
  bool closing;
  uint32_t id;
  unsigned operations;
  enum inline_kind inline_reads;
  /* Turned off by the first refusal, so that later ones are not asked in vain; by any thread. */
  atomic_bool can_punch, can_zero_range, can_dsync;
  /* Syncs and durable writes that have failed: counted by the one thread in the durable lane; and those of them that were told. */
  unsigned failures, failures_told;
  /* Guarded by the pool's lock. */
  struct lane lanes[LANES];
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
  unsigned failures_before; /* those told when it was asked for */
  bool counts;              /* its error is one of leg->failures */
  int error;
  double *extents; /* offset, length, hole; offset, ... */
  size_t extent_count, extent_cap;
};

#define SHORT_MAX_BYTES 65536u

static inline enum lane_kind lane_of(const struct job *j) {
  if (j->fua || j->kind == JOB_SYNC) return LANE_DURABLE;
  if (j->kind == JOB_READ) return LANE_READS;
  return j->kind == JOB_WRITE ? LANE_WRITES : LANE_LONG;
}

/* work.c, on an I/O thread: each job ends with its error and what it moved. */
void run_job(struct job *j);
void run_durable(struct job *group); /* of one leg, in the order they were asked for */

/* pool.c */
void pool_add(struct io_pool *p, struct job *jobs); /* of any legs */
void pool_free(struct io_pool *p);

#endif
