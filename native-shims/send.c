/*
 * Long sends of connections, by threads of their own (netraid-send): what a target gets is copied, and on loopback or by TLS much else done,
 * within the call, and meanwhile the main thread would receive nothing. Several targets are sent to at a time.
 *
 *   conn_flush --send_give--> queue -> sendmsg, which does not block -> done --> settled by whoever looks next: the next flush, the next
 *                                                                      `- told, where less has left, or somebody waits for it -> sends_look
 *
 * Invariants:
 * - a connection has one send under way at most, and until it is settled its out list loses nothing: the bytes stay, and the order
 * - a thread touches a send's record, the descriptor and the bytes it names, and none of them once it has said that it is done
 * - no connection ends while one is under way: that is waited for
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/uio.h>
#include "conn.h"

#define SENDERS_MAX 4u

enum send_state { SEND_IDLE, SEND_QUEUED, SEND_UNDER_WAY, SEND_DONE };

/* What a connection has given. */
struct send {
  struct send *next;       /* in the queue */
  struct send *next_given; /* the main thread's: those that are not settled */
  struct conn *conn;
  const struct out *last;  /* of the out list, when it was given; NULL: not all of that was */
  int fd;
  struct iovec parts[IOV_MOST];
  size_t count, bytes;
  bool heeded;
  ssize_t sent;
  int error;
  atomic_int state;
};

struct senders {
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  /* Guarded by it. */
  struct send *first, *last;
  unsigned idle;
  bool waited; /* for `done` */
  bool stop;
  /* The main thread's. */
  unsigned count;
  struct engine *e;
  pthread_t threads[SENDERS_MAX];
};

static void *send_thread(void *senders) {
  struct senders *p = senders;

  pthread_setname_np(pthread_self(), "netraid-send");
  pthread_mutex_lock(&p->lock);
  for (;;) {
    struct send *s;
    struct msghdr m = {0};
    bool tell;

    while (p->first == NULL && !p->stop) {
      p->idle += 1;
      pthread_cond_wait(&p->work, &p->lock);
      p->idle -= 1;
    }
    if (p->stop) break;
    s = p->first;
    p->first = s->next;
    if (p->first == NULL) p->last = NULL;
    atomic_store(&s->state, SEND_UNDER_WAY);
    pthread_mutex_unlock(&p->lock);
    m.msg_iov = s->parts;
    m.msg_iovlen = s->count;
    do {
      s->sent = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
      s->error = s->sent < 0 ? errno : 0;
    } while (s->error == EINTR);
    pthread_mutex_lock(&p->lock);
    tell = s->heeded || s->sent < 0 || (size_t)s->sent < s->bytes;
    atomic_store(&s->state, SEND_DONE);
    if (p->waited) pthread_cond_broadcast(&p->done);
    if (!tell) continue;
    atomic_store(&p->e->sends_told, true);
    pthread_mutex_unlock(&p->lock);
    uv_async_send(&p->e->async);
    pthread_mutex_lock(&p->lock);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

/* ------------------------------------------------------------------------------------------------ on the main thread */

/* As many as there are processors beside the one that this thread is on. */
static unsigned senders_wanted(void) {
  cpu_set_t set;
  unsigned others = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) - 1 : 0;

  return others < SENDERS_MAX ? others : SENDERS_MAX;
}

static bool init_lock(struct senders *p) {
  if (pthread_mutex_init(&p->lock, NULL) != 0) return false;
  if (pthread_cond_init(&p->work, NULL) == 0) {
    if (pthread_cond_init(&p->done, NULL) == 0) return true;
    pthread_cond_destroy(&p->work);
  }
  pthread_mutex_destroy(&p->lock);
  return false;
}

static void senders_free(struct senders *p) {
  pthread_cond_destroy(&p->work);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  free(p);
}

/* Tried once; without any, all is sent by the main thread. */
static void senders_start(struct engine *e) {
  struct senders *p;
  unsigned wanted = senders_wanted();
  sigset_t all, before;

  e->senders_tried = true;
  if (wanted == 0) return;
  p = calloc(1, sizeof *p);
  if (p == NULL) return;
  if (!init_lock(p)) {
    free(p);
    return;
  }
  p->e = e;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (p->count < wanted && pthread_create(&p->threads[p->count], NULL, send_thread, p) == 0) p->count += 1;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (p->count > 0) e->senders = p;
  else senders_free(p);
}

bool send_give(struct conn *c, const struct iovec *parts, size_t count, bool all) {
  struct engine *e = c->e;
  struct senders *p;
  struct send *s = c->send;
  bool wake;

  if (!e->senders_tried) senders_start(e);
  p = e->senders;
  if (p == NULL) return false;
  if (s == NULL) {
    s = calloc(1, sizeof *s);
    if (s == NULL) return false;
    s->conn = c;
    c->send = s;
  }
  memcpy(s->parts, parts, count * sizeof *parts);
  s->count = count;
  s->bytes = 0;
  for (size_t i = 0; i < count; i += 1) s->bytes += parts[i].iov_len;
  s->fd = c->fd;
  s->last = all ? c->out_last : NULL;
  /* Else its next look may be at the answer, which may wait for what is still to be sent, or never come. */
  s->heeded = !all || c->told_when_sent > 0;
  s->next = NULL;
  s->next_given = e->given;
  e->given = s;
  atomic_store(&s->state, SEND_QUEUED);
  pthread_mutex_lock(&p->lock);
  if (p->last == NULL) p->first = s;
  else p->last->next = s;
  p->last = s;
  wake = p->idle > 0;
  pthread_mutex_unlock(&p->lock);
  if (wake) pthread_cond_signal(&p->work);
  return true;
}

static bool is_given(const struct conn *c) { return c->send != NULL && atomic_load(&c->send->state) != SEND_IDLE; }

/* Nothing is given any more. */
static void take_back(struct conn *c) {
  struct send **at = &c->e->given;

  while (*at != c->send) at = &(*at)->next_given;
  *at = c->send->next_given;
  atomic_store(&c->send->state, SEND_IDLE);
}

/* True: nothing is under way, and what was is settled; the connection may have ended by that. */
bool send_settle(struct conn *c) {
  const struct send *s = c->send;

  if (!is_given(c)) return true;
  if (atomic_load(&s->state) != SEND_DONE) return false;
  take_back(c);
  conn_settled(c, s->sent, s->error);
  return true;
}

void send_heed(struct conn *c) {
  struct senders *p = c->e->senders;
  struct send *s = c->send;
  bool done;

  if (!is_given(c)) return;
  pthread_mutex_lock(&p->lock);
  done = atomic_load(&s->state) == SEND_DONE;
  s->heeded = true;
  pthread_mutex_unlock(&p->lock);
  if (done) (void)send_settle(c);
}

bool send_has_all(const struct conn *c) { return c->send->last == c->out_last; }

void send_wait(struct conn *c) {
  struct senders *p = c->e->senders;
  struct send *s = c->send;

  if (!is_given(c)) return;
  pthread_mutex_lock(&p->lock);
  if (atomic_load(&s->state) == SEND_QUEUED) {
    struct send **at = &p->first, *before = NULL;
    while (*at != s) {
      before = *at;
      at = &(*at)->next;
    }
    *at = s->next;
    if (p->last == s) p->last = before;
    s->sent = 0;
    s->error = 0;
    atomic_store(&s->state, SEND_DONE);
  }
  p->waited = true;
  while (atomic_load(&s->state) != SEND_DONE) pthread_cond_wait(&p->done, &p->lock);
  p->waited = false;
  pthread_mutex_unlock(&p->lock);
}

void send_end(struct conn *c) {
  if (!is_given(c)) return;
  send_wait(c);
  take_back(c);
  if (c->send->sent > 0) conn_settled(c, c->send->sent, 0);
}

void sends_look(struct engine *e) {
  struct send *s;

  atomic_store(&e->sends_told, false);
  /* Settling one may settle others, or end them. */
  do {
    for (s = e->given; s != NULL && atomic_load(&s->state) != SEND_DONE;) s = s->next_given;
    if (s != NULL) (void)send_settle(s->conn);
  } while (s != NULL);
}

/* What was not begun never is. */
void sends_stop(struct engine *e) {
  struct senders *p = e->senders;

  if (p == NULL) return;
  pthread_mutex_lock(&p->lock);
  p->stop = true;
  pthread_mutex_unlock(&p->lock);
  pthread_cond_broadcast(&p->work);
  for (unsigned i = 0; i < p->count; i += 1) pthread_join(p->threads[i], NULL);
  senders_free(p);
  e->senders = NULL;
  atomic_store(&e->sends_told, false);
}
