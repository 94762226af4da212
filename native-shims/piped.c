/*
 * Long READs of what is in the page cache, answered without a copy: the pages themselves go through a pipe into the socket.
 *
 *   leg --splice--> pipe --splice--> socket      behind the answers, of which the last is their header
 *                    `---read---> answers        when the socket goes back, or others wait, before the client has taken them
 *
 * Invariants:
 * - what is in the pipe comes behind all answers in hand, and no answer is put behind it
 * - the header is there only once all of the data is in the pipe
 * - what is not in the cache is not read here, where a disk would be waited for. It may have left the cache in the moment after that was
 *   asked; then this one client waits, as a write into a full page cache does
 * - a write that comes before the client has taken the pages shows in them. The client can not tell that from one that came before its READ: it
 *   has no answer yet. So nothing else may be read this way, a snapshot's blocks least of all
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "serve.h"

/* A page takes a place in it, however little of it is read; the number of places is a power of two. */
#define PIPE_BYTES (2 * PIPED_MAX_BYTES)
/* Where an answer does not fit, client and thread wait for each other twice in each. */
#define SEND_BUFFER_BYTES (512 * 1024)
/* Since Linux 6.5; older headers do not have it. The same number for all processors that this is built for. */
#define CACHESTAT 451

struct cachestat_range { uint64_t offset, length; };
struct cachestat { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

/* Closed ones are -1. */
void piped_close(struct seat *t) {
  for (unsigned i = 0; i < 2; i += 1) {
    if (t->pipe[i] >= 0) close(t->pipe[i]);
    t->pipe[i] = -1;
  }
  t->piped = 0;
}

static void no_more(struct seat *t) {
  piped_close(t);
  t->longest_read = LONG_BODY_BYTES - 1;
}

static void widen(int fd) {
  int domain = 0, bytes = SEND_BUFFER_BYTES, now = 0;
  socklen_t size = sizeof domain;

  /* TCP finds its own. */
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX) return;
  if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &size) != 0 || now >= 2 * bytes) return;
  /* Beyond what anybody may have; else as much as that. */
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static bool has_pipe(struct seat *t) {
  if (t->pipe[0] >= 0) return true;
  if (pipe2(t->pipe, O_CLOEXEC | O_NONBLOCK) != 0) t->pipe[0] = t->pipe[1] = -1;
  else if (fcntl(t->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) >= (int)PIPE_BYTES) {
    widen(t->fd);
    return true;
  }
  no_more(t);
  return false;
}

static bool is_cached(struct seat *t, uint64_t offset, size_t length) {
  struct cachestat_range range = {.offset = offset, .length = length};
  uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
  struct cachestat is;

  if (syscall(CACHESTAT, t->s->leg_fd, &range, &is, 0) != 0) {
    no_more(t);
    return false;
  }
  return is.cached == (offset + length - 1) / page_bytes - offset / page_bytes + 1;
}

bool piped_read(struct seat *t, uint64_t offset, size_t length) {
  loff_t at = (loff_t)offset;

  if (!has_pipe(t) || !is_cached(t, offset, length)) return false;
  while (t->piped < length) {
    ssize_t n = splice(t->s->leg_fd, &at, t->pipe[1], NULL, length - t->piped, SPLICE_F_NONBLOCK);
    if (n > 0) t->piped += (size_t)n;
    else if (n == 0 || errno != EINTR) {
      /* With what has come so far. */
      piped_close(t);
      return false;
    }
  }
  return true;
}

bool piped_send(struct seat *t) {
  while (t->piped > 0) {
    /* This flag is about the pipe. That the socket is not waited for is its own flag's doing, which libuv has set. */
    ssize_t n = splice(t->pipe[0], NULL, t->fd, NULL, t->piped, SPLICE_F_NONBLOCK);
    if (n > 0) {
      t->piped -= (size_t)n;
      has_moved(t, (size_t)n);
    } else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    else {
      if (t->error == 0) t->error = n < 0 ? errno : EIO;
      return false;
    }
  }
  return true;
}

bool piped_back(struct seat *t) {
  while (t->piped > 0) {
    ssize_t n = read(t->pipe[0], t->answers + t->answers_length, t->piped);
    bool held = t->answers_held == t->answers_length, free = t->answers_free == t->answers_length;
    if (n > 0) {
      t->piped -= (size_t)n;
      t->answers_length += (size_t)n;
      if (held) t->answers_held = t->answers_length;
      if (free) t->answers_free = t->answers_length;
    } else if (n == 0 || errno != EINTR) {
      /* Its header may have left. */
      if (t->error == 0) t->error = EIO;
      piped_close(t);
      return false;
    }
  }
  return true;
}
