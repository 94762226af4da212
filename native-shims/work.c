/*
 * What operations on legs do, on an I/O thread.
 *
 * Invariants:
 * - short transfers are gone on with until complete; one that moves nothing is EIO
 * - the kernel tells an error of its writing back once to each open file: so durable work of a leg is done by one thread at a
 *   time, and whoever was asked for before one of them was told to have failed hears of that too
 * - durable work that comes while some is under way waits without a thread, and shares the next sync
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "legs.h"

#define EXTENTS_MAX 16384u
#define ZEROES_BYTES (256u * 1024)
#define STEP_MAX_BYTES (1u << 30)

static uint8_t zeroes[ZEROES_BYTES];

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

/* One step of a write; `data` NULL: zeroes. What pwritev2 answers, with errno. */
static ssize_t write_step(const struct job *j, const uint8_t *data, int flags) {
  struct iovec v = {.iov_len = step_of(j)};

  if (data == NULL && v.iov_len > ZEROES_BYTES) v.iov_len = ZEROES_BYTES;
  v.iov_base = data == NULL ? zeroes : (uint8_t *)(uintptr_t)data + j->moved;
  return pwritev2(j->leg->fd, &v, 1, (off_t)(j->offset + j->moved), flags);
}

static int write_all(struct job *j, const uint8_t *data) {
  while (j->moved < j->length) {
    ssize_t n = write_step(j, data, 0);
    if (n > 0) j->moved += (uint64_t)n;
    else if (n == 0) return EIO;
    else if (errno != EINTR) return errno;
  }
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
static bool is_refusal(const struct leg *leg, int error) {
  // EBUSY: kernels before 5.11 say so of a device when a page that the range shares with a write is dirty.
  return error == EOPNOTSUPP || (leg->device && (error == EINVAL || error == EBUSY));
}

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
  if (j->error == EOPNOTSUPP) j->error = write_all(j, NULL);
  else if (j->error == 0) j->moved = j->length;
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
    off_t size, to = j->leg->device ? -1 : lseek(fd, (off_t)at, SEEK_DATA);
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
      if ((size = lseek(fd, 0, SEEK_END)) < 0) {
        j->error = errno;
        return;
      }
      if ((uint64_t)size > at) held = add_extent(j, least(end, (uint64_t)size), true);
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

void run_job(struct job *j) {
  switch (j->kind) {
    case JOB_READ: run_read(j); break;
    case JOB_WRITE: j->error = write_all(j, j->data); break;
    case JOB_SYNC: break; /* run_durable */
    case JOB_ZERO: run_zero(j); break;
    case JOB_EXTENTS: run_extents(j); break;
  }
}

/* ------------------------------------------------------------------------------------------------------ durable work */

static void count_failure(struct job *j, int error) {
  j->error = error;
  j->counts = true;
  j->leg->failures += 1;
}

/* A write alone makes nothing durable but itself. False: the rest of it, and its sync, are still to be done. */
static bool write_durably(struct job *j) {
  struct leg *leg = j->leg;

  while (j->moved < j->length && atomic_load_explicit(&leg->can_dsync, memory_order_relaxed)) {
    ssize_t n = write_step(j, j->data, RWF_DSYNC);
    if (n > 0) j->moved += (uint64_t)n;
    else if (n == 0) {
      j->error = EIO;
      return true;
    } else if (errno == EOPNOTSUPP) {
      /* What was written durably stays so. */
      atomic_store_explicit(&leg->can_dsync, false, memory_order_relaxed);
    } else if (errno != EINTR) {
      /* The write's own error or its sync's: the kernel does not say which. */
      count_failure(j, errno);
      return true;
    }
  }
  return j->moved == j->length;
}

void run_durable(struct job *group) {
  struct leg *leg = group->leg;
  struct job *asking = NULL;

  if (group->next == NULL && group->kind == JOB_WRITE && group->failures_before == leg->failures && write_durably(group)) return;
  for (struct job *j = group; j != NULL; j = j->next) {
    if (j->kind != JOB_SYNC && j->error == 0) run_job(j);
  }
  for (struct job *j = group; j != NULL; j = j->next) {
    /* Whoever was asked for before a failure was told hears of it too: the kernel tells it once. */
    if (j->error == 0 && j->failures_before != leg->failures) j->error = EIO;
    if (j->error == 0 && asking == NULL) asking = j;
  }
  /* Never again after a failure: the kernel may have dropped what it could not write. EINTR promises nothing either way. */
  if (asking == NULL || fdatasync(leg->fd) == 0) return;
  count_failure(asking, errno);
  for (struct job *j = asking->next; j != NULL; j = j->next) {
    if (j->error == 0) j->error = asking->error;
  }
}
