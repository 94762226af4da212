/*
 * The order of what is asked by connections that are served together, by one thread or by several (serve.c): a client that has sent a write
 * once more, by another connection, and was answered, finds no later write of its overwritten by the first (M4).
 *
 *   write comes --came: where the other streams are--> executed --answer: held, until they have passed that--> may leave
 *
 * Invariants:
 * - no answer to a write leaves before every request that was whole in another socket, or in hand of its thread, when the write was received,
 *   is executed, or is the main thread's, which has all of them then
 * - writes that overlap are not under way together: each says where it writes, and then looks at the others; who finds one gives its own up,
 *   to the main thread, which has a lock of ranges
 * - nobody waits here for what a peer has not sent: of a request that is not whole nothing is waited for
 */
#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "serve.h"

#define NOT_KNOWN UINT64_MAX

void server_wake(struct server *w) {
  uint64_t one = 1;

  while (write(w->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

/* Every thread gives its sockets back, from its next request on. */
void serve_park(struct serve *s) {
  if (atomic_exchange(&s->parking, true)) return;
  for (unsigned i = 0; i < s->servers_count; i += 1) server_wake(&s->servers[i]);
}

/* The first request in hand that is not executed will be whole with so many bytes. */
void order_next(struct seat *t, size_t need) {
  struct serve *s = t->s;
  uint64_t at;

  if (s->count == 1) return;
  at = atomic_load_explicit(&t->received, memory_order_relaxed) - (t->fill - t->pos) + need;
  if (at == atomic_load_explicit(&t->whole_at, memory_order_relaxed)) return;
  /* Whoever goes to sleep stores that first, and looks at this second: one of both sees the other. */
  atomic_store(&t->whole_at, at);
  if (atomic_load(&s->watchers) == 0) return;
  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *o = &s->seats[i];
    if (o != t && atomic_load(&o->watches) && atomic_load(&o->held_by[t->index]) < at && atomic_exchange(&o->watches, false)) server_wake(o->by);
  }
}

void order_receives(struct seat *t) {
  if (t->s->count > 1) atomic_fetch_add(&t->receives, 1);
}

void order_received(struct seat *t, size_t bytes) {
  if (t->s->count == 1) return;
  atomic_fetch_add(&t->received, bytes);
  atomic_fetch_add(&t->receives, 1);
}

/*
 * Where the stream of a seat has come to: all that its thread has received, and what its socket holds. `vague`: or not as far, because its
 * thread has taken something out of the socket since that was asked; it is not known while it is about to. False: nor can it be.
 */
static bool stream_at(const struct seat *o, uint64_t *at, bool *vague) {
  unsigned before = atomic_load(&o->receives), after;
  uint64_t received;
  int queued = 0;

  if (ioctl(o->fd, FIONREAD, &queued) != 0) return false;
  /* In between: then both were true in one moment, if nothing was received meanwhile. */
  received = atomic_load(&o->received);
  after = atomic_load(&o->receives);
  if ((after & 1) != 0) {
    *at = NOT_KNOWN;
    *vague = true;
    return true;
  }
  if (after != before) {
    /* What it took out before `queued` was asked may not have been counted; now it is, perhaps together with some of `queued`. */
    received = atomic_load(&o->received);
    if (queued != 0) *vague = true;
  }
  *at = received + (uint64_t)queued;
  return true;
}

static bool has_passed(const struct seat *o, uint64_t at) { return at < atomic_load(&o->whole_at); }

/* Whether all others have passed where they are to be; what of that is more than has come is asked once more. */
static bool all_passed(struct seat *t) {
  struct serve *s = t->s;
  bool well = true, vague = false;

  for (unsigned i = 0; i < s->count; i += 1) {
    const struct seat *o = &s->seats[i];
    uint64_t at = atomic_load_explicit(&t->held_by[i], memory_order_relaxed);
    if (o == t || has_passed(o, at)) continue;
    if (t->vague) {
      uint64_t now;
      if (!stream_at(o, &now, &vague)) serve_park(s);
      else if (now < at) atomic_store(&t->held_by[i], at = now);
      if (has_passed(o, at)) continue;
    }
    well = false;
  }
  t->vague = t->vague && vague;
  return well;
}

bool order_let_go(struct seat *t) {
  size_t before = t->answers_free;

  for (;;) {
    if (t->answers_free < t->answers_held && !all_passed(t)) break;
    t->answers_free = t->answers_held;
    if (t->answers_held == t->answers_length) break;
    for (unsigned i = 0; i < t->s->count; i += 1) atomic_store(&t->held_by[i], t->came[i]);
    t->vague = t->came_vague;
    t->answers_held = t->answers_length;
  }
  return t->answers_free > before;
}

void order_answered(struct seat *t, size_t bytes, bool write) {
  bool free = t->s->count == 1 || (!write && t->answers_free == t->answers_length);

  t->answers_length += bytes;
  if (free) t->answers_free = t->answers_held = t->answers_length;
}

/* Whoever stalls says so, and then looks whether anybody watches: one of both sees the other. */
bool order_may_stall(struct seat *t) {
  if (t->s->count == 1) return true;
  if (t->by->count > 1 || t->answers_free < t->answers_length) return false;
  atomic_store(&t->stalls, true);
  return atomic_load(&t->s->watchers) == 0;
}

static void wake_stalled(const struct seat *t) {
  struct serve *s = t->s;

  for (unsigned i = 0; i < s->count; i += 1) {
    struct seat *o = &s->seats[i];
    if (o != t && atomic_load(&o->stalls) && !has_passed(o, atomic_load(&t->held_by[i]))) server_wake(o->by);
  }
}

/* True: it is to sleep, and is woken when one of the others has passed; after that, `order_slept`. */
bool order_may_sleep(struct seat *t) {
  if (t->answers_free == t->answers_length) return true;
  t->watching = true;
  atomic_store(&t->watches, true);
  atomic_fetch_add(&t->s->watchers, 1);
  wake_stalled(t);
  if (!order_let_go(t) && !t->vague && !atomic_load(&t->s->parking)) return true;
  order_slept(t);
  /* Not for long: another's thread is about to receive. */
  if (t->vague) sched_yield();
  return false;
}

void order_slept(struct seat *t) {
  if (!t->watching) return;
  t->watching = false;
  atomic_store(&t->watches, false);
  atomic_fetch_sub(&t->s->watchers, 1);
}

/* It has no room for more answers before those that are held have left; false: nor will another go on before that. */
bool order_may_be_full(struct seat *t) {
  struct serve *s = t->s;

  atomic_store(&t->full, true);
  for (unsigned i = 0; i < s->count; i += 1) {
    const struct seat *o = &s->seats[i];
    if (o != t && atomic_load(&o->full) && !has_passed(o, atomic_load(&t->held_by[i]))) return false;
  }
  return true;
}

static bool overlaps(const struct seat *o, uint64_t from, uint64_t to) {
  uint64_t from_there, to_there;

  /* One that has gone on meanwhile looks at this one. */
  do {
    to_there = atomic_load(&o->writes_to);
    from_there = atomic_load(&o->writes_from);
  } while (to_there != atomic_load(&o->writes_to));
  return to_there != 0 && from_there < to && from < to_there;
}

/* Before a write is executed; false: it is not to be, here. */
bool order_begins(struct seat *t, uint64_t from, uint64_t to) {
  struct serve *s = t->s;
  uint64_t received;

  if (s->count == 1) return true;
  received = atomic_load_explicit(&t->received, memory_order_relaxed);
  if (t->came_at != received) {
    t->came_at = received;
    t->came_vague = false;
    for (unsigned i = 0; i < s->count; i += 1) {
      if (&s->seats[i] != t && !stream_at(&s->seats[i], &t->came[i], &t->came_vague)) return false;
    }
  }
  atomic_store(&t->writes_from, from);
  atomic_store(&t->writes_to, to);
  for (unsigned i = 0; i < s->count; i += 1) {
    if (&s->seats[i] == t || !overlaps(&s->seats[i], from, to)) continue;
    order_ended(t);
    return false;
  }
  return true;
}

void order_ended(struct seat *t) {
  if (t->s->count > 1) atomic_store(&t->writes_to, 0);
}
