/*
 * A connection's socket: a descriptor taken over from Node, received into slabs, sent from where the bytes lie.
 *
 *   poll --readable--> recv into slab --> server_parse | client_parse --> events, handles of parts of the slab
 *   out list (headers in the requests, payloads in handles) --> sendmsg; EAGAIN: wait for writable
 *
 *   open -> [linger: replies already given leave] -> closed, CLOSED told -> [draining: till the peer's end] -> descriptor closed
 *
 * Invariants:
 * - a payload stays where it was received; only what lies across the end of a slab is moved, which is kept rare by receiving a
 *   long payload no further than its end
 * - at a limit nothing is received: what has come waits in the slab, the rest in the kernel and then with the peer
 * - nothing of a request's bytes is read after its DONE; nothing is told after CLOSED
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include "conn.h"

#define SLAB_BYTES (512u * 1024)
/* With less room than this left behind live handles, receiving moves to a new slab. */
#define ROOM_MIN_BYTES (64u * 1024)
/* Short requests are received many at a time; after a long payload, nothing but the next header. */
#define AHEAD_BYTES (256u * 1024)
#define RECEIVES_MAX 4
/* After CLOSED, a peer that never closes its side is not waited for longer. */
#define DRAIN_MS 10000
/* More are left to the loop. */
#define LOOKED_AT_MAX 32u

static void on_poll(uv_poll_t *h, int status, int events);

struct conn *conn_find(struct engine *e, uint32_t id) {
  struct conn *c = e->conns[id % CONNS_MAX];

  return c != NULL && c->id == id ? c : NULL;
}

uint32_t conn_open(struct engine *e, const struct wire *w, uint32_t requests_max, double bytes_max) {
  struct conn *c;
  uint32_t place = 0;

  slabs_ahead(e);
  while (place < CONNS_MAX && e->conns[place] != NULL) place += 1;
  if (place == CONNS_MAX || !events_promise(e)) return 0;
  c = calloc(1, sizeof *c);
  if (c == NULL) {
    events_unpromise(e);
    return 0;
  }
  /* An id comes again after 2^19 connections in its place; the highest bit is TypeScript's. */
  e->conn_serial = (e->conn_serial + 1) & 0x7ffff;
  if (e->conn_serial == 0) e->conn_serial = 1;
  c->e = e;
  c->id = e->conn_serial * CONNS_MAX + place;
  c->server = w->server;
  c->structured = w->structured;
  c->extended = w->extended;
  c->seal = w->sealed ? SEAL_BYTES : 0;
  c->payload_max = w->payload_max;
  c->requests_max = requests_max;
  c->bytes_max = bytes_max >= 9007199254740992.0 ? UINT64_MAX : (uint64_t)bytes_max;
  c->fd = -1;
  c->receiving = true;
  c->gives = !w->server;
  c->need = w->server ? request_bytes(c) + c->seal : 4;
  c->timer.data = c;
  uv_timer_init(e->loop, &c->timer);
  uv_unref((uv_handle_t *)&c->timer);
  e->conns[place] = c;
  c->all_next = e->all_conns;
  if (c->all_next != NULL) c->all_next->all_prev = c;
  e->all_conns = c;
  e->shared.stats[STAT_CONNECTIONS] += 1;
  return c->id;
}

void conn_share(struct engine *e, uint32_t id, double own, double all) {
  struct conn *c = conn_find(e, id);

  if (c == NULL || !c->server) return;
  c->room_own = (uint64_t)own;
  c->room_max = (uint64_t)all;
}

double conn_awaited(struct engine *e, uint32_t id) {
  const struct conn *c = conn_find(e, id);

  if (c == NULL || !c->server || c->fd < 0) return -1;
  if (c->lent && c->seat != NULL) return serve_awaited(c);
  if (c->out_first != NULL || c->tail != NULL) return c->moved;
  /* What waits for room waits for us. */
  return !c->stalled && (c->incoming != NULL || c->fill > c->pos) ? c->moved : -1;
}

/* ------------------------------------------------------------------------------------------------------------ the end */

static void conn_free(struct conn *c) {
  struct engine *e = c->e;

  if (c->is_dirty) {
    struct conn **p = &e->dirty;
    while (*p != c) p = &(*p)->next_dirty;
    *p = c->next_dirty;
  }
  if (c->all_prev != NULL) c->all_prev->all_next = c->all_next;
  else e->all_conns = c->all_next;
  if (c->all_next != NULL) c->all_next->all_prev = c->all_prev;
  free(c->send);
  free(c->tail);
  free(c->places);
  free(c->free_places);
  free(c);
}

static void on_handle_closed(uv_handle_t *h) {
  struct conn *c = h->data;

  c->closing_handles -= 1;
  if (c->closing_handles == 0) conn_free(c);
}

static void conn_destroy(struct conn *c) {
  c->draining = false;
  c->closing_handles = c->poll_open ? 2 : 1;
  if (c->poll_open) uv_close((uv_handle_t *)&c->poll, on_handle_closed);
  uv_close((uv_handle_t *)&c->timer, on_handle_closed);
  if (c->fd >= 0) {
    /* Another descriptor of it may be held up by a write. */
    if (c->was_served) (void)shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
  }
  c->fd = -1;
}

static bool is_reading(const struct conn *c) { return !c->eof && !c->stalled && !c->lent; }

/* Nothing of it is in hand: all that was parsed is answered, and the answers are with the kernel. After a long payload the next one is expected to be long too. */
bool conn_may_lend(const struct conn *c) {
  return c->state == CONN_OPEN && c->receiving && c->unit == UNIT_HEAD && c->in_flight == 0 && c->out_first == NULL && c->tail == NULL && !c->eof &&
         (!c->stalled || c->settles) && !c->blocked && (c->last_body < LONG_BODY_BYTES || serve_takes_long(c));
}

void conn_update(struct conn *c) {
  int mask = 0;

  if (!c->poll_open || c->fd < 0) return;
  if (c->seat != NULL && !c->lent && !c->keep && c->fill == c->pos && conn_may_lend(c)) serve_lend(c);
  if (c->draining || is_reading(c)) mask |= UV_READABLE;
  if (c->blocked) mask |= UV_WRITABLE;
  if (mask == c->mask) return;
  c->mask = mask;
  if (mask == 0) uv_poll_stop(&c->poll);
  else uv_poll_start(&c->poll, mask, on_poll);
}

static void on_drain_end(uv_timer_t *h) { conn_destroy(h->data); }

/* Sends what is left and our end; reading goes on, so that no unread byte turns our end into a reset. */
static void conn_drain(struct conn *c) {
  while (c->tail_sent < c->tail_length) {
    ssize_t n = send(c->fd, c->tail + c->tail_sent, c->tail_length - c->tail_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) c->tail_sent += (size_t)n;
    else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      c->blocked = true;
      conn_update(c);
      return;
    } else {
      conn_destroy(c);
      return;
    }
  }
  c->blocked = false;
  if (c->ktls) {
    if (!c->end_said && !ktls_say_end(c->fd)) c->blocked = true;
    else c->end_said = true;
  } else if (shutdown(c->fd, SHUT_WR) != 0) {
    conn_destroy(c);
    return;
  }
  conn_update(c);
}

static void drain_received(struct conn *c) {
  for (int i = 0; i < RECEIVES_MAX; i += 1) {
    ssize_t n = socket_recv(c->fd, c->ktls, c->e->scratch, sizeof c->e->scratch);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    conn_destroy(c);
    return;
  }
}

void conn_finish(struct conn *c, int error) {
  struct engine *e = c->e;

  if (c->state == CONN_CLOSED) return;
  /* What has left, and was answered, has been done. */
  send_end(c);
  c->state = CONN_CLOSED;
  uv_timer_stop(&c->timer);
  if (c->server) server_finish(c, error);
  else client_finish(c, error);
  c->out_first = NULL;
  c->out_last = NULL;
  c->blocked = false;
  slab_release(e, c->slab);
  c->slab = NULL;
  event_closed(e, c->id, error);
  e->shared.stats[STAT_CONNECTIONS] -= 1;
  e->conns[c->id % CONNS_MAX] = NULL;
  if (error == 0 && c->fd >= 0 && c->poll_open && !c->eof && !c->abrupt) {
    c->draining = true;
    uv_timer_start(&c->timer, on_drain_end, DRAIN_MS, 0);
    conn_drain(c);
  } else conn_destroy(c);
  engine_wake(e);
}

static void on_linger_end(uv_timer_t *h) { conn_finish(h->data, ETIMEDOUT); }

void conn_close(struct conn *c, int error) {
  if (c->state == CONN_CLOSED) return;
  if (error != 0) {
    conn_finish(c, error);
    return;
  }
  if (c->state == CONN_LINGER) return;
  if (!c->server) {
    c->gives = false;
    send_wait(c);
    conn_flush(c);
    if (c->state != CONN_CLOSED) conn_finish(c, 0);
    return;
  }
  if (c->lent) {
    /* Its thread gives the socket back, with the answers that have not left yet; then this is done again. */
    c->state = CONN_LINGER;
    serve_recall(c);
    uv_timer_start(&c->timer, on_linger_end, c->e->linger_ms, 0);
    return;
  }
  server_stop(c);
  server_forget_unanswered(c);
  c->state = CONN_LINGER;
  conn_flush(c);
  if (c->state == CONN_CLOSED) return;
  if (c->replying == 0 && c->tail == NULL) conn_finish(c, 0);
  else uv_timer_start(&c->timer, on_linger_end, c->e->linger_ms, 0);
}

void conn_close_id(struct engine *e, uint32_t id, int error) {
  struct conn *c = conn_find(e, id);

  if (c != NULL) conn_close(c, error);
}

void conn_stop_id(struct engine *e, uint32_t id) {
  struct conn *c = conn_find(e, id);

  if (c == NULL || !c->server || c->state != CONN_OPEN) return;
  if (c->lent) {
    /* Done as it is given back, with the answers that have not left yet. */
    c->receiving = false;
    serve_recall(c);
    return;
  }
  server_stop(c);
  conn_update(c);
}

void conn_close_all(struct engine *e, int error) {
  for (unsigned i = 0; i < CONNS_MAX; i += 1) {
    if (e->conns[i] != NULL) conn_finish(e->conns[i], error);
  }
}

void conns_silence(struct engine *e) {
  for (struct conn *c = e->all_conns; c != NULL; c = c->all_next) {
    if (c->closing_handles > 0) continue;
    if (c->poll_open) uv_poll_stop(&c->poll);
    uv_timer_stop(&c->timer);
  }
}

/* ------------------------------------------------------------------------------------------------------------ sending */

void conn_dirty(struct conn *c) {
  if (c->is_dirty) return;
  c->is_dirty = true;
  c->next_dirty = c->e->dirty;
  c->e->dirty = c;
}

void conn_push(struct conn *c, struct out *o) {
  o->next = NULL;
  if (c->out_last == NULL) c->out_first = o;
  else c->out_last->next = o;
  c->out_last = o;
  conn_dirty(c);
}

/* `all`: it is the whole out list. */
static size_t gather(const struct conn *c, struct iovec *v, bool *all) {
  size_t skip = c->out_sent, count = 0;
  struct out *o = c->out_first;

  for (; o != NULL && count + 3 <= IOV_MOST; o = o->next) {
    if (skip < o->head_length) {
      v[count].iov_base = o->head + skip;
      v[count].iov_len = o->head_length - skip;
      count += 1;
      skip = 0;
    } else skip -= o->head_length;
    if (skip < o->data_length) {
      v[count].iov_base = (void *)(uintptr_t)(o->data + skip);
      v[count].iov_len = o->data_length - skip;
      count += 1;
      skip = 0;
    } else skip -= o->data_length;
    if (skip < o->tail_length) {
      v[count].iov_base = o->tail + skip;
      v[count].iov_len = o->tail_length - skip;
      count += 1;
      skip = 0;
    } else skip -= o->tail_length;
  }
  *all = o == NULL;
  return count;
}

/* Whatever has left completely is told to its role, which may close the connection. */
static void sent(struct conn *c, size_t bytes) {
  c->out_sent += bytes;
  while (c->state != CONN_CLOSED && c->out_first != NULL) {
    struct out *o = c->out_first;
    size_t whole = o->head_length + o->data_length + o->tail_length;
    if (c->out_sent < whole) return;
    c->out_sent -= whole;
    c->out_first = o->next;
    if (c->out_first == NULL) c->out_last = NULL;
    if (c->server) server_sent(c, o);
    else client_sent(c, o);
  }
}

/* Who is silent holds no memory: of the slabs that are kept, the warmest is taken again. */
static void let_go_of_slab(struct conn *c) {
  if (c->slab == NULL || c->fill > c->pos || c->unit != UNIT_HEAD || c->slab->refs > 1) return;
  slab_release(c->e, c->slab);
  c->slab = NULL;
  c->pos = 0;
  c->fill = 0;
}

void conn_emptied(struct conn *c) {
  let_go_of_slab(c);
  conn_update(c);
}

bool conn_owe(struct conn *c, const uint8_t *answers, size_t length) {
  c->tail = malloc(length);
  if (c->tail == NULL) {
    conn_close(c, ENOMEM);
    return false;
  }
  memcpy(c->tail, answers, length);
  c->tail_length = length;
  c->tail_sent = 0;
  return true;
}

/* What a server's connection owes; false: not all of it has left. */
static bool tail_flush(struct conn *c) {
  while (c->tail_sent < c->tail_length) {
    ssize_t n = send(c->fd, c->tail + c->tail_sent, c->tail_length - c->tail_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      c->tail_sent += (size_t)n;
      c->moved += (double)n;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      c->blocked = true;
      return false;
    } else if (errno != EINTR) {
      conn_finish(c, ktls_errno(c->ktls, errno));
      return false;
    }
  }
  free(c->tail);
  c->tail = NULL;
  c->tail_length = 0;
  c->tail_sent = 0;
  if (c->state == CONN_LINGER && c->replying == 0) conn_finish(c, 0);
  return true;
}

/* How a send has gone. */
static void on_sent(struct conn *c, ssize_t bytes, int error) {
  if (bytes >= 0) {
    c->moved += (double)bytes;
    sent(c, (size_t)bytes);
  } else if (error == EAGAIN || error == EWOULDBLOCK) c->blocked = true;
  else if (error != EINTR) conn_finish(c, ktls_errno(c->ktls, error));
}

void conn_settled(struct conn *c, ssize_t bytes, int error) {
  on_sent(c, bytes, error);
  if (c->state != CONN_CLOSED && c->out_first != NULL) conn_dirty(c);
}

/* Sends what it can, or gives it to a thread; of what is under way there it is told when there is more. */
static void send_out(struct conn *c) {
  struct iovec v[IOV_MOST];

  while (c->tail == NULL && c->fd >= 0 && c->state != CONN_CLOSED && c->out_first != NULL && !c->blocked) {
    struct msghdr m = {.msg_iov = v};
    bool all;
    ssize_t n;

    if (!send_settle(c)) {
      if (!send_has_all(c)) send_heed(c);
      return;
    }
    if (c->state == CONN_CLOSED || c->out_first == NULL || c->blocked) return;
    m.msg_iovlen = gather(c, v, &all);
    /* Short ones, however many together, have left before a thread would be awake; and of one that is alone nothing is held up. */
    if (c->gives && c->out_first->data_length >= LONG_BODY_BYTES && c->e->asked > 1 && send_give(c, v, m.msg_iovlen, all)) return;
    n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    on_sent(c, n, errno);
  }
}

void conn_flush(struct conn *c) {
  if (c->server && c->tail != NULL && c->fd >= 0 && c->state != CONN_CLOSED && !c->blocked) (void)tail_flush(c);
  send_out(c);
  if (c->state == CONN_CLOSED) return;
  if (c->read_on) {
    c->read_on = false;
    if (c->stalled && c->state == CONN_OPEN && !serve_settled(c)) {
      c->stalled = false;
      server_parse(c);
    }
  }
  if (c->state != CONN_CLOSED) conn_emptied(c);
}

void conns_flush(struct engine *e) {
  while (e->dirty != NULL) {
    struct conn *c = e->dirty;
    e->dirty = c->next_dirty;
    c->is_dirty = false;
    conn_flush(c);
  }
  room_look(e);
}

/* ---------------------------------------------------------------------------------------------------------- receiving */

/* A long payload has a slab nearly to itself: larger ones, holding several, were measured to stay less warm. */
static size_t slab_bytes_for(const struct conn *c, size_t need) {
  size_t ahead = request_bytes(c) + c->seal;

  return need + ahead <= SLAB_BYTES ? SLAB_BYTES : need + ahead;
}

bool conn_room(struct conn *c, size_t need) {
  struct engine *e = c->e;
  size_t left = c->fill - c->pos;
  struct slab *s;

  if (c->slab != NULL) {
    if (left == 0 && c->slab->refs == 1) {
      c->pos = 0;
      c->fill = 0;
    }
    size_t want = left == 0 && need < ROOM_MIN_BYTES ? ROOM_MIN_BYTES : need;
    if (want <= c->slab->size - c->pos) return true;
  }
  s = slab_take(e, slab_bytes_for(c, need));
  if (s == NULL) {
    conn_close(c, ENOMEM);
    return false;
  }
  if (left > 0) memcpy(s->data, c->slab->data + c->pos, left);
  slab_release(e, c->slab);
  c->slab = s;
  c->pos = 0;
  c->fill = left;
  return true;
}

uint32_t conn_slice(struct conn *c, size_t length) {
  uint32_t slot;

  if (length == 0) return handle_over(c->e, NULL, NULL, 0);
  slot = handle_over(c->e, c->slab, c->slab->data + c->pos, length);
  if (slot != 0) c->slab->refs += 1;
  return slot;
}

static void parse(struct conn *c) {
  if (c->server) server_parse(c);
  else client_parse(c);
}

static void on_end_of_stream(struct conn *c) {
  c->eof = true;
  /* The peer may have had all of it, and have left, before the thread that sent it has said so. */
  send_end(c);
  if (c->server) conn_close(c, 0);
  /* An end in the middle of an answer, or with questions open, is not orderly. */
  else conn_finish(c, c->in_flight > 0 || c->waiting_first != NULL ? ECONNRESET : 0);
}

static size_t receive_limit(const struct conn *c) {
  size_t left = c->fill - c->pos, room = c->slab->size - c->fill;
  size_t need = c->unit == UNIT_COPY ? c->copy_left : c->need;
  size_t ahead = c->last_body >= LONG_BODY_BYTES || need >= LONG_BODY_BYTES ? request_bytes(c) + c->seal : AHEAD_BYTES;
  size_t limit = (need > left ? need - left : 0) + ahead;

  return limit < room ? limit : room;
}

static void conn_receive(struct conn *c) {
  /* What has left needs its memory no longer. */
  (void)send_settle(c);
  for (int i = 0; i < RECEIVES_MAX && c->state != CONN_CLOSED && is_reading(c); i += 1) {
    bool kept = c->state == CONN_OPEN && (!c->server || c->receiving);
    uint8_t *into = c->e->scratch;
    size_t limit = sizeof c->e->scratch;
    ssize_t n;

    if (kept) {
      if (!conn_room(c, c->unit == UNIT_COPY ? 1 : c->need)) return;
      into = c->slab->data + c->fill;
      limit = receive_limit(c);
    }
    n = socket_recv(c->fd, c->ktls, into, limit);
    if (n == 0) on_end_of_stream(c);
    else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      let_go_of_slab(c);
      return;
    }
    else if (n < 0 && errno != EINTR) conn_finish(c, errno);
    else if (n > 0) {
      c->moved += (double)n;
      c->keep = false;
      if (kept) {
        c->fill += (size_t)n;
        parse(c);
      }
      if ((size_t)n < limit) {
        let_go_of_slab(c);
        return;
      }
    }
  }
}

void conn_resume(struct conn *c, const uint8_t *bytes, size_t length) {
  if (c->state != CONN_OPEN) return;
  if (length > 0 && c->receiving) {
    if (!conn_room(c, length > c->need ? length : c->need)) return;
    memcpy(c->slab->data + c->fill, bytes, length);
    c->fill += length;
    parse(c);
  }
}

bool conn_look(struct engine *e, uint32_t id) {
  struct conn *c = conn_find(e, id);

  if (c == NULL || c->fd < 0 || !is_reading(c)) return false;
  conn_receive(c);
  if (c->state != CONN_CLOSED) conn_update(c);
  return true;
}

void conn_look_on(struct engine *e, uint32_t id) {
  double before;

  do {
    struct conn *c = conn_find(e, id);
    if (c == NULL || c->state != CONN_OPEN || !c->receiving) return;
    before = c->moved;
    if (!conn_look(e, id)) return;
    c = conn_find(e, id);
    if (c == NULL || c->moved == before) return;
  } while (true);
}

bool conns_look(struct engine *e) {
  struct pollfd p[LOOKED_AT_MAX];
  uint32_t ids[LOOKED_AT_MAX];
  unsigned count = 0;

  for (const struct conn *c = e->all_conns; c != NULL; c = c->all_next) {
    if (!c->server || c->fd < 0 || c->state != CONN_OPEN || !c->receiving || !is_reading(c)) continue;
    if (count == LOOKED_AT_MAX) return false;
    p[count] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    ids[count] = c->id;
    count += 1;
  }
  /* What one brings is in order. */
  if (count < 2) return true;
  if (poll(p, count, 0) < 0) return false;
  for (unsigned i = 0; i < count; i += 1) {
    if (p[i].revents != 0) conn_look_on(e, ids[i]);
  }
  return true;
}

/* Of the connections that a request passes through, each waits for the other: all of them are looked at while one is waited for. */
void conn_hot(struct conn *c) {
  struct engine *e = c->e;

  for (unsigned i = 0; i < e->hot_count; i += 1) {
    if (e->hot[i] == c->id) return;
  }
  if (e->hot_count < HOT_MAX) e->hot[e->hot_count++] = c->id;
  else {
    e->hot[e->hot_next] = c->id;
    e->hot_next = (e->hot_next + 1) % HOT_MAX;
  }
}

static void on_poll(uv_poll_t *h, int status, int events) {
  struct conn *c = h->data;

  if (status < 0) {
    /* The socket has an error, and libuv has stopped polling it. */
    c->mask = 0;
    events = UV_READABLE | UV_WRITABLE;
    if (!c->draining && !is_reading(c)) {
      int error = 0;
      socklen_t size = sizeof error;
      if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error == 0) error = ECONNRESET;
      conn_finish(c, error);
      return;
    }
  }
  if (c->draining) {
    if ((events & UV_WRITABLE) != 0 && c->blocked) conn_drain(c);
    if (c->draining && (events & UV_READABLE) != 0) drain_received(c);
    if (c->draining) conn_update(c);
    return;
  }
  if ((events & UV_WRITABLE) != 0) {
    c->blocked = false;
    conn_flush(c);
  }
  if (c->state != CONN_CLOSED && (events & UV_READABLE) != 0) {
    c->e->received = true;
    conn_hot(c);
    conn_receive(c);
    if (c->last_body >= LONG_BODY_BYTES) c->e->long_of_late = LONG_OF_LATE;
  }
  if (c->state != CONN_CLOSED) conn_update(c);
}

void conn_start(struct engine *e, uint32_t id, int fd, const uint8_t *early, size_t length) {
  struct conn *c = conn_find(e, id);
  int on = 1;

  if (c == NULL) {
    close(fd);
    return;
  }
  c->fd = fd;
  c->ktls = ktls_is_on(fd);
  /* Refused by sockets that are not TCP. */
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->poll.data = c;
  if (uv_poll_init(e->loop, &c->poll, fd) != 0) {
    conn_finish(c, EIO);
    return;
  }
  c->poll_open = true;
  if (length > 0) {
    if (!conn_room(c, length > c->need ? length : c->need)) return;
    memcpy(c->slab->data + c->fill, early, length);
    c->fill += length;
    parse(c);
  }
  if (c->state != CONN_CLOSED) conn_flush(c);
}
