/*
 * A block device of userspace when memory is short. The kernel makes room by writing dirty pages; those of a filesystem on our
 * device it can write through us alone. So we must not wait for memory that comes free when we have written:
 *
 *   ioFlusher()      of every thread: the kernel gives it memory without waiting for dirty pages     Linux 5.6, CAP_SYS_RESOURCE
 *   ioFlusherHere()  of the calling thread alone: what it starts inherits that, threads and programs alike
 *   lockMemory()     code, stack and small memory stay where they are once touched, and so do the tables and first slabs of
 *                    engines made from then on (memory_keep)                                  CAP_IPC_LOCK or RLIMIT_MEMLOCK
 *
 * Not by mlockall: V8 gives memory back by madvise(MADV_DONTNEED), which fails on locked memory, and ends the process then. Its
 * heap is kept from being swapped out by the control group (memory.swap.max), or by a machine without swap.
 *
 * All three are called on the main thread; each answers 0 or an errno.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "engine.h"

/* As Linux numbers them: a C library may be older than the kernel. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* No thread of Node's uses this one, and V8's let it through. */
#define TELL_SIGNAL (SIGRTMIN + 7)
#define TELL_MAX_MS 1000

static bool keeping; /* lockMemory() has been called */

/* ---------------------------------------------------------------------------------------------------------- threads */

static atomic_uint told, refused;

static void on_told(int signal) {
  int before = errno;

  (void)signal;
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) atomic_fetch_add(&refused, 1);
  atomic_fetch_add(&told, 1);
  errno = before;
}

/* Those that block the signal (Node has one, which waits for debuggers) do no work that anybody waits for. */
static bool listens(long thread) {
  char path[64], line[256];
  uint64_t blocked = 0;
  FILE *f;

  snprintf(path, sizeof path, "/proc/self/task/%ld/status", thread);
  f = fopen(path, "re");
  if (f == NULL) return false; /* it has ended */
  while (fgets(line, sizeof line, f) != NULL) {
    if (sscanf(line, "SigBlk: %" SCNx64, &blocked) == 1) break;
  }
  fclose(f);
  return (blocked >> (TELL_SIGNAL - 1) & 1) == 0;
}

/* The threads that Node started before any code of ours ran: each can set only its own flag, so each is asked by a signal. */
static int tell_threads(void) {
  struct sigaction action;
  const struct timespec moment = {0, 1000000};
  const long self = syscall(SYS_gettid);
  unsigned asked = 0;
  struct dirent *entry;
  DIR *tasks;

  memset(&action, 0, sizeof action);
  action.sa_handler = on_told;
  action.sa_flags = SA_RESTART;
  /* Never taken back: a signal that comes late must find it. */
  if (sigaction(TELL_SIGNAL, &action, NULL) != 0) return errno;
  tasks = opendir("/proc/self/task");
  if (tasks == NULL) return errno;
  atomic_store(&told, 0);
  atomic_store(&refused, 0);
  while ((entry = readdir(tasks)) != NULL) {
    long thread = strtol(entry->d_name, NULL, 10);
    if (thread > 0 && thread != self && listens(thread) && syscall(SYS_tgkill, getpid(), thread, TELL_SIGNAL) == 0) asked += 1;
  }
  closedir(tasks);
  for (unsigned ms = 0; atomic_load(&told) < asked; ms += 1) {
    if (ms == TELL_MAX_MS) return ETIMEDOUT;
    nanosleep(&moment, NULL);
  }
  return atomic_load(&refused) == 0 ? 0 : EPERM;
}

static int flusher_here(bool on) { return prctl(PR_SET_IO_FLUSHER, on ? 1 : 0, 0, 0, 0) == 0 ? 0 : errno; }

static int flusher_everywhere(void) {
  int error = flusher_here(true);

  return error == 0 ? tell_threads() : error;
}

/* ------------------------------------------------------------------------------------------------------------ memory */

static int keep(void *at, size_t bytes) { return syscall(SYS_mlock2, at, bytes, MLOCK_ONFAULT) == 0 ? 0 : errno; }

int memory_keep(void *at, size_t bytes) { return keeping ? keep(at, bytes) : 0; }

/* Code and its data come from files; `[heap]` is the C library's, not V8's. */
static bool is_kept(const char *inode, const char *name) {
  return strcmp(inode, "0") != 0 || strcmp(name, "[heap]") == 0 || strcmp(name, "[stack]") == 0;
}

/* As much as can be; the first errno. */
static int lock_mappings(void) {
  FILE *maps = fopen("/proc/self/maps", "re");
  char *line = NULL;
  size_t size = 0;
  int first = 0;

  if (maps == NULL) return errno;
  while (getline(&line, &size, maps) > 0) {
    uintptr_t from, to;
    char inode[24], name[16] = "";
    int error;

    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %23s %15s", &from, &to, inode, name) < 3 || !is_kept(inode, name)) continue;
    error = keep((void *)from, to - from);
    if (first == 0) first = error;
  }
  free(line);
  fclose(maps);
  return first;
}

/* ------------------------------------------------------------------------------------------------------------- N-API */

static napi_value from_errno(napi_env env, int error) {
  napi_value v;

  return napi_create_int32(env, error, &v) == napi_ok ? v : NULL;
}

static napi_value io_flusher(napi_env env, napi_callback_info info) { return from_errno(env, flusher_everywhere()); }

static napi_value io_flusher_here(napi_env env, napi_callback_info info) {
  napi_value v;
  size_t count = 1;
  bool on;

  if (napi_get_cb_info(env, info, &count, &v, NULL, NULL) != napi_ok || count < 1 || napi_get_value_bool(env, v, &on) != napi_ok) {
    napi_throw_type_error(env, NULL, "expected a boolean");
    return NULL;
  }
  return from_errno(env, flusher_here(on));
}

static napi_value lock_memory(napi_env env, napi_callback_info info) {
  keeping = true;
  return from_errno(env, lock_mappings());
}

napi_value pressure_init(napi_env env, napi_value exports) {
  static const struct { const char *name; napi_callback f; } all[] = {
    {"ioFlusher", io_flusher}, {"ioFlusherHere", io_flusher_here}, {"lockMemory", lock_memory},
  };
  napi_value f;

  for (size_t i = 0; i < sizeof all / sizeof all[0]; i += 1) {
    if (napi_create_function(env, all[i].name, NAPI_AUTO_LENGTH, all[i].f, NULL, &f) != napi_ok ||
        napi_set_named_property(env, exports, all[i].name, f) != napi_ok) return NULL;
  }
  return exports;
}
