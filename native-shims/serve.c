/*
 * Plain writes of connections, and where there are marks their reads too, received, executed and answered by threads of their own
 * (netraid-serve): they ask nothing that TypeScript would have to decide, and its turn, the hand-over to an I/O thread and the way back are
 * most of what they cost. A connection has a thread for itself; but an export's clients, which are served together, the sockets of all or
 * none, share one where they are more than there are processors.
 *
 *   main thread --lends the sockets--> poll, recv -> touched -> allowed? -> pwrite -> touched -> answers, send
 *   (lend.c)                                     `-> pread ----------------------------------^
 *   main thread <--gives them back, with what it received and has not used, at the first request of anything else-- thread
 *
 * Of a client that is alone, a write to a region without a mark waits here: the region is asked for (`asks`), together with those of what has
 * come behind it, and TypeScript, which alone decides on marks, allows it once that is durable. Meanwhile nothing behind it is executed.
 *
 * Invariants:
 * - one side at a time has the sockets: the main thread lends them when nothing of the connections is in hand, and the threads give them
 *   back, all of them before any is touched there, with all that they have received and not used, and with the answers that have not left
 * - of several clients there is one order (order.c). What the main thread does not take because a connection has reached its limits is no
 *   more in order than it was
 * - a write begins only after its bit is set and `ending` was still false (both sequentially consistent): whoever sets `ending` and then
 *   takes the bits knows of all that may still begin, and whoever takes them after `quiet`, of all. In between, one that is under way
 *   may have had its bit taken before: its end sets it again
 * - long writes of a client that is alone are given back: receiving them here and writing them there at the same time is quicker; so are
 *   reads that have to wait. Where several connections have a thread each, that receives and writes while the bytes are warm
 * - a write that fails is given back whole, and fails again where it is judged
 * - a thread touches its own record, what others' records show, the leg's descriptor and the bits, nothing else
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "serve.h"

/* Of a long write, so much is to have come before its thread is woken. */
#define WAKES_BY_BYTES (64u * 1024)
#define SPIN_REQUESTS_MAX 4u
/* While some have to wait for marks: after so many more is received, so that its marks are asked for while these are executed. */
#define PUMP_BY 4u
#define ASKED_AGAIN_MAX 2u
#define RELAXES 20u
/* A disk makes marks durable in less than so many times the engine's spin, or it is not waited for awake. */
#define MARKS_SPINS 8u

/* ------------------------------------------------------------------------------------------------------------ the leg */

static void set_bit(uint32_t *word, uint32_t bit) {
  if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & bit) == 0) __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
}

/* What is under way is known by its bit before it begins, and once more when it has ended. */
static void touch(const struct serve_rules *r, uint64_t offset, uint64_t length) {
  uint64_t first = offset / r->region_bytes, last = (offset + length - 1) / r->region_bytes;

  for (uint64_t region = first; region <= last; region += 1) {
    uint64_t word = region / 32;
    set_bit(r->touched + word, 1u << region % 32);
    set_bit(r->summary + word / 1024, 1u << word / 32 % 32);
  }
}

/*
 * Whether a write that has said what it touches may go on: whoever takes a region's mark away clears `allowed` first, and then finds this
 * write in `touched` or in `under_way`.
 */
static bool is_allowed(const struct serve_rules *r, uint64_t offset, uint64_t length) {
  uint64_t last = (offset + length - 1) / r->region_bytes;

  for (uint64_t region = offset / r->region_bytes; region <= last; region += 1) {
    if ((__atomic_load_n(r->allowed + region / 32, __ATOMIC_SEQ_CST) & 1u << region % 32) == 0) return false;
  }
  return true;
}

static void set_under_way(const struct seat *t, uint64_t offset, uint64_t length) {
  const struct serve_rules *r = &t->s->rules;
  uint64_t first = offset / r->region_bytes, last = (offset + length - 1) / r->region_bytes;

  if (t->under_way == NULL) return;
  for (uint64_t region = first; region <= last; region += 1) __atomic_store_n(t->under_way + (region - first), (uint32_t)region + 1, __ATOMIC_SEQ_CST);
}

static void clear_under_way(const struct seat *t, uint64_t offset, uint64_t length) {
  uint64_t region_bytes = t->s->rules.region_bytes, words = (offset + length - 1) / region_bytes - offset / region_bytes + 1;

  if (t->under_way == NULL) return;
  for (uint64_t i = 0; i < words; i += 1) __atomic_store_n(t->under_way + i, 0, __ATOMIC_SEQ_CST);
}

/* More are told. */
static bool has_words(const struct seat *t, uint64_t offset, uint64_t length) {
  uint64_t region_bytes = t->s->rules.region_bytes;

  return t->under_way == NULL || (offset + length - 1) / region_bytes - offset / region_bytes < t->s->rules.under_way_max;
}

/* What is not in memory is somebody else's: several can be waited for at a time there. */
static bool read_in(struct seat *t, uint8_t *into, uint64_t offset, size_t length) {
  const struct serve *s = t->s;

  for (size_t done = 0; done < length;) {
    struct iovec v = {.iov_base = into + done, .iov_len = length - done};
    ssize_t n = preadv2(s->leg_fd, &v, 1, (off_t)(offset + done), s->read_flags);
    if (n > 0) done += (size_t)n;
    else if (n == 0 || errno != EINTR) {
      if (n < 0 && errno == EOPNOTSUPP) t->reads = false;
      return false;
    }
  }
  return true;
}

static bool write_out(const struct serve *s, const uint8_t *data, uint64_t offset, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = pwrite(s->leg_fd, data + done, length - done, (off_t)(offset + done));
    if (n > 0) done += (size_t)n;
    else if (n == 0 || errno != EINTR) return false;
  }
  return true;
}

/* ----------------------------------------------------------------------------------------------------------- requests */

static uint64_t now_ns(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void answer(struct seat *t, const uint8_t *cookie) {
  uint8_t *p = t->answers + t->answers_length;
  size_t length = t->structured ? CHUNK_BYTES : SIMPLE_REPLY_BYTES;

  if (t->answers_length == 0) t->answered_at_ns = now_ns();
  memset(p, 0, length);
  if (t->structured) {
    put32(p, CHUNK_MAGIC);
    put16(p + 4, REPLY_FLAG_DONE);
    put16(p + 6, CHUNK_NONE);
  } else put32(p, SIMPLE_REPLY_MAGIC);
  memcpy(p + 8, cookie, 8);
  if (t->seal != 0) put32(p + length, crc_update(0, p, length));
  order_answered(t, length + t->seal, true);
}

enum step { STEP_SERVED, STEP_MORE, STEP_FULL, STEP_WAITS, STEP_OTHER };

static bool is_ours(const struct seat *t, const uint8_t *p, uint64_t offset, uint64_t length) {
  const struct serve_rules *r = &t->s->rules;
  unsigned cmd = get16(p + 6);

  return get32(p) == REQUEST_MAGIC && get16(p + 4) == 0 && (cmd == CMD_WRITE || (cmd == CMD_READ && t->reads && t->seal == 0)) && length > 0 &&
         length <= t->payload_max && length <= (cmd == CMD_WRITE ? t->longest : t->longest_read) && offset <= r->size && length <= r->size - offset &&
         offset % r->block_bytes == 0 && length % r->block_bytes == 0 && (t->seal == 0 || is_sealed(0, p, REQUEST_BYTES));
}

static enum step served(struct seat *t, size_t whole) {
  atomic_fetch_add_explicit(&t->answered, 1, memory_order_relaxed);
  t->by->of_late += 1;
  t->pos += whole;
  t->asked_again = 0;
  t->long_whole = whole >= LONG_BODY_BYTES ? whole : 0;
  return STEP_SERVED;
}

/* One region at a time, and only where nobody else's requests would have to keep an order with what waits. */
static bool may_ask(const struct seat *t, uint64_t offset, uint64_t length) {
  const struct serve_rules *r = &t->s->rules;

  return t->asks != NULL && t->s->count == 1 && offset / r->region_bytes == (offset + length - 1) / r->region_bytes;
}

static enum step serve_write(struct seat *t, const uint8_t *p, size_t head, uint64_t offset, size_t length) {
  struct serve *s = t->s;
  bool well;

  /* What was never touched has nothing to be told. */
  if (may_ask(t, offset, length) && !is_allowed(&s->rules, offset, length)) return STEP_WAITS;
  if (!has_words(t, offset, length) || !order_begins(t, offset, offset + length)) return STEP_OTHER;
  set_under_way(t, offset, length);
  touch(&s->rules, offset, length);
  if (atomic_load(&s->ending) || (s->rules.allowed != NULL && !is_allowed(&s->rules, offset, length))) {
    clear_under_way(t, offset, length);
    order_ended(t);
    return may_ask(t, offset, length) ? STEP_WAITS : STEP_OTHER;
  }
  well = write_out(s, p + head, offset, length);
  touch(&s->rules, offset, length);
  clear_under_way(t, offset, length);
  order_ended(t);
  if (!well) return STEP_OTHER;
  answer(t, p + 8);
  return served(t, head + length + t->seal);
}

/* As one chunk, or a simple reply, and its data. */
static enum step serve_read(struct seat *t, const uint8_t *p, uint64_t offset, size_t length) {
  struct serve *s = t->s;
  size_t head = t->structured ? CHUNK_BYTES + OFFSET_DATA_BYTES : SIMPLE_REPLY_BYTES;
  uint8_t *to = t->answers + t->answers_length;
  bool well, piped = length >= LONG_BODY_BYTES;

  if (atomic_load(&s->ending)) return STEP_OTHER;
  if (t->under_way != NULL) __atomic_store_n(t->under_way, SERVE_READS, __ATOMIC_SEQ_CST);
  well = piped ? piped_read(t, offset, length) : read_in(t, to + head, offset, length);
  if (t->under_way != NULL) __atomic_store_n(t->under_way, 0, __ATOMIC_SEQ_CST);
  if (!well) return STEP_OTHER;
  if (t->answers_length == 0) t->answered_at_ns = now_ns();
  memset(to, 0, head);
  memcpy(to + 8, p + 8, 8);
  if (t->structured) {
    put32(to, CHUNK_MAGIC);
    put16(to + 4, REPLY_FLAG_DONE);
    put16(to + 6, CHUNK_OFFSET_DATA);
    put32(to + 16, OFFSET_DATA_BYTES + (uint32_t)length);
    put64(to + CHUNK_BYTES, offset);
  } else put32(to, SIMPLE_REPLY_MAGIC);
  order_answered(t, piped ? head : head + length, false);
  return served(t, REQUEST_BYTES);
}

/* Behind what is in the pipe nothing is put. */
static size_t room_for_answers(const struct seat *t) { return t->piped > 0 ? 0 : t->s->answers_max - t->answers_length; }

/* The next request: served, not here as a whole yet, for when there is room for its answer, or somebody else's. */
static enum step serve_next(struct seat *t) {
  size_t left = t->fill - t->pos, head = REQUEST_BYTES + t->seal, whole;
  uint8_t *p = t->buffer + t->pos;
  uint64_t offset, length;
  bool write;

  t->need = head;
  order_next(t, head);
  if (left < head) return STEP_MORE;
  offset = get64(p + 16);
  length = get32(p + 24);
  write = get16(p + 6) == CMD_WRITE;
  if (!is_ours(t, p, offset, length)) return STEP_OTHER;
  if (CHUNK_BYTES + OFFSET_DATA_BYTES + SEAL_BYTES + (write ? 0 : (size_t)length) > room_for_answers(t)) return STEP_FULL;
  whole = write ? head + (size_t)length + t->seal : head;
  t->need = whole;
  if (left < whole) {
    order_next(t, whole);
    return STEP_MORE;
  }
  if (!write) return serve_read(t, p, offset, (size_t)length);
  if (t->seal != 0 && !is_sealed(0, p + head, (size_t)length)) return STEP_OTHER;
  return serve_write(t, p, head, offset, (size_t)length);
}

/* -------------------------------------------------------------------------------------------------------------- asking */

static void tell(struct serve *s) {
  atomic_store(&s->e->serves_told, true);
  uv_async_send(&s->e->async);
}

/*
 * Asks for the marks that writes in hand lack, up to the first request of anything else; false: there is one, which is not to wait. What is
 * asked for twice, because two writes are for one region, is answered twice.
 */
static bool ask(struct seat *t) {
  const struct serve_rules *r = &t->s->rules;
  uint32_t asked = __atomic_load_n(t->asks + ASKS_ASKED, __ATOMIC_RELAXED), before = asked;
  uint32_t room = r->asks_max - (asked - __atomic_load_n(t->asks + ASKS_ANSWERED, __ATOMIC_SEQ_CST));
  size_t head = REQUEST_BYTES + t->seal;
  bool ours = true;

  if (t->scanned < t->pos) t->scanned = t->pos;
  while (t->fill - t->scanned >= head) {
    const uint8_t *p = t->buffer + t->scanned;
    uint64_t offset = get64(p + 16), length = get32(p + 24);
    uint32_t region = (uint32_t)(offset / r->region_bytes);
    size_t whole = head + (size_t)length + t->seal;

    ours = is_ours(t, p, offset, length) && get16(p + 6) == CMD_WRITE;
    if (!ours || t->fill - t->scanned < whole) break;
    if (may_ask(t, offset, length) && !is_allowed(r, offset, length) &&
        (asked == before || t->asks[ASKS_FIRST + (asked - 1) % r->asks_max] != region)) {
      if (room == 0) break;
      room -= 1;
      t->asks[ASKS_FIRST + asked % r->asks_max] = region;
      asked += 1;
    }
    t->scanned += whole;
  }
  if (asked != before) {
    __atomic_store_n(t->asks + ASKS_ASKED, asked, __ATOMIC_SEQ_CST);
    /* Whoever is busy with what was asked for before looks again when that is answered. */
    if (atomic_load(&t->listens)) tell(t->s);
  }
  return ours;
}

/* Nothing is waited for any more; or at least not for the next write's mark. */
static bool is_answered(const struct seat *t) {
  const uint8_t *p = t->buffer + t->pos;

  return __atomic_load_n(t->asks + ASKS_ASKED, __ATOMIC_RELAXED) == __atomic_load_n(t->asks + ASKS_ANSWERED, __ATOMIC_SEQ_CST) ||
         is_allowed(&t->s->rules, get64(p + 16), get32(p + 24));
}

/*
 * The next write lacks its mark, unless it has got it in this moment: then it waits as well, but not asleep. False: the mark is not to be had
 * here, or something else is not to wait for it.
 */
static bool waits(struct seat *t) {
  /* It was answered before, and its mark has gone again, or could not be written. */
  if (t->scanned > t->pos && is_answered(t) && !is_allowed(&t->s->rules, get64(t->buffer + t->pos + 16), get32(t->buffer + t->pos + 24))) {
    if (t->asked_again == ASKED_AGAIN_MAX) return false;
    t->asked_again += 1;
    t->scanned = t->pos;
  }
  t->waits = true;
  t->lacks = true;
  return ask(t);
}

/* --------------------------------------------------------------------------------------------------------- the sockets */

/* In the pipe as well: what is there may leave with the last of the answers. */
static bool has_free(const struct seat *t) { return t->answers_free > t->answers_sent || (t->piped > 0 && t->answers_free == t->answers_length); }

/* Those that may; false: they can not leave, nor will they; the socket's error is kept. */
static bool send_answers(struct seat *t) {
  bool all = t->answers_free == t->answers_length;
  int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (all && t->piped > 0 ? MSG_MORE : 0);

  while (t->answers_sent < t->answers_free) {
    ssize_t n = send(t->fd, t->answers + t->answers_sent, t->answers_free - t->answers_sent, flags);
    if (n > 0) {
      t->answers_sent += (size_t)n;
      has_moved(t, (size_t)n);
    } else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    else {
      if (t->error == 0) t->error = n < 0 ? ktls_errno(t->ktls, errno) : EIO;
      return false;
    }
  }
  if (all && !piped_send(t)) return false;
  /* Room for more. */
  if (t->answers_sent < t->answers_length) {
    if (t->answers_sent < t->s->answers_max / 2) return true;
    memmove(t->answers, t->answers + t->answers_sent, t->answers_length - t->answers_sent);
  }
  t->answers_length -= t->answers_sent;
  t->answers_held -= t->answers_sent;
  t->answers_free = 0;
  t->answers_sent = 0;
  return true;
}

enum received { RECEIVED_NOTHING, RECEIVED, RECEIVED_MORE, RECEIVED_END, RECEIVED_NO_ROOM };

/* The next is expected to be so long, of which as much is received and a header, so that little of what follows is ever moved; 0: any length. */
static size_t long_expected(const struct seat *t) { return t->need >= LONG_BODY_BYTES ? t->need : t->long_whole; }

/* END: the stream is over, which the main thread will meet itself, or broken, which the kernel tells once. MORE: there may be more. */
static enum received receive(struct seat *t) {
  size_t left = t->fill - t->pos, expected = long_expected(t), room;
  ssize_t n;

  if (left == 0 || t->need > SERVE_BUFFER_BYTES - t->pos || t->fill == SERVE_BUFFER_BYTES) {
    memmove(t->buffer, t->buffer + t->pos, left);
    t->scanned = t->scanned > t->pos ? t->scanned - t->pos : 0;
    t->pos = 0;
    t->fill = left;
  }
  room = SERVE_BUFFER_BYTES - t->fill;
  if (room == 0) return RECEIVED_NO_ROOM;
  if (expected > 0) {
    size_t limit = (expected > left ? expected - left : 0) + REQUEST_BYTES + t->seal;
    if (limit < room) room = limit;
  }
  order_receives(t);
  do {
    n = socket_recv(t->fd, t->ktls, t->buffer + t->fill, room);
  } while (n < 0 && errno == EINTR);
  order_received(t, n > 0 ? (size_t)n : 0);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return RECEIVED_NOTHING;
  if (n < 0 && t->error == 0) t->error = errno;
  if (n <= 0) {
    t->over = true;
    return RECEIVED_END;
  }
  t->fill += (size_t)n;
  has_moved(t, (size_t)n);
  /* Of TLS a record comes at a time. */
  return t->ktls || (size_t)n == room ? RECEIVED_MORE : RECEIVED;
}

/* ---------------------------------------------------------------------------------------------------------- the thread */

/* Behind what is in hand; else making room would cost more than what is gained. */
static bool can_take_more(const struct seat *t) { return t->fill < SERVE_BUFFER_BYTES || t->pos >= SERVE_BUFFER_BYTES / 4; }

/* Of late something had to wait for marks: they are asked for as soon as they are known to be lacking. */
static bool pump(struct seat *t) {
  enum received r;

  t->pumped += 1;
  if (t->pumped < PUMP_BY) return true;
  t->pumped = 0;
  if (!can_take_more(t)) return true;
  r = receive(t);
  /* What is not to wait stays behind what is executed now: it is met there. */
  if (r == RECEIVED || r == RECEIVED_MORE) (void)ask(t);
  return r != RECEIVED_END;
}

/* Executes what is in hand of one; false: the sockets are to go back. */
static bool execute_of(struct seat *t) {
  struct serve *s = t->s;
  enum step step;
  size_t room;

  atomic_store_explicit(&t->full, false, memory_order_relaxed);
  atomic_store_explicit(&t->stalls, false, memory_order_relaxed);
  t->lacks_room = false;
  do {
    t->waits = false;
    do {
      if (atomic_load_explicit(&s->parking, memory_order_relaxed)) return false;
      step = serve_next(t);
      if (step == STEP_SERVED && t->by->count == 1 && now_ns() - t->answered_at_ns >= s->wait_ns) {
        (void)order_let_go(t);
        if (!send_answers(t)) return false;
      }
      if (step == STEP_SERVED && t->lacks && !pump(t)) return false;
    } while (step == STEP_SERVED);
    if (step == STEP_OTHER || (step == STEP_WAITS && !waits(t))) return false;
    if (step == STEP_MORE) t->lacks = false;
    if (step != STEP_FULL) return true;
    room = room_for_answers(t);
    (void)order_let_go(t);
    if (!send_answers(t)) return false;
    if (t->piped > 0 && !order_may_stall(t) && !piped_back(t)) return false;
  } while (room_for_answers(t) > room);
  t->lacks_room = true;
  if (s->count == 1 || t->piped > 0) return true;
  /* The others do not wait for one that takes no answers. */
  return t->answers_sent == t->answers_free && order_may_be_full(t);
}

/* The same of all that one serves. */
static bool execute(struct server *w) {
  for (unsigned i = 0; i < w->count; i += 1) {
    if (!execute_of(&w->first[i])) return false;
  }
  return true;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

static bool has_room_for_more(const struct seat *t) { return t->fill - t->pos < t->need; }

/* Takes in what has come; true: something has, or a stream has ended, which `over` tells. */
static bool look(struct server *w, bool *over) {
  struct pollfd p[TOGETHER_MAX];
  bool came = false;

  if (w->count > 1) {
    for (unsigned i = 0; i < w->count; i += 1) p[i] = (struct pollfd){.fd = has_room_for_more(&w->first[i]) ? w->first[i].fd : -1, .events = POLLIN};
    if (poll(p, w->count, 0) <= 0) return false;
  }
  for (unsigned i = 0; i < w->count; i += 1) {
    enum received r;
    if (w->count > 1 ? p[i].revents == 0 : !has_room_for_more(&w->first[i])) continue;
    r = receive(&w->first[i]);
    if (r == RECEIVED_NOTHING) continue;
    came = true;
    if (r == RECEIVED_END) *over = true;
  }
  return came;
}

enum kept { KEPT_NONE, KEPT_HELD, KEPT_FREE };

/* Whether there are answers that have not left, and of these some that may. */
static enum kept kept(const struct server *w) {
  enum kept kept = KEPT_NONE;

  for (unsigned i = 0; i < w->count; i += 1) {
    const struct seat *t = &w->first[i];
    if (has_free(t)) return KEPT_FREE;
    if (t->answers_length > t->answers_sent) kept = KEPT_HELD;
  }
  return kept;
}

static void let_go(struct server *w) {
  for (unsigned i = 0; i < w->count; i += 1) (void)order_let_go(&w->first[i]);
}

static bool expects_long(const struct server *w) {
  for (unsigned i = 0; i < w->count; i += 1) {
    if (w->first[i].long_whole > 0) return true;
  }
  return false;
}

static bool is_wanted(const struct serve *s) { return atomic_load(&s->ending) || atomic_load(&s->parking); }

/*
 * After few requests the next one is often some microseconds away: it is waited for awake, which saves a wake-up. True: something has come, or
 * may leave, or a stream has ended.
 */
static bool awake(struct server *w, bool *over) {
  struct serve *s = w->s;
  bool held = kept(w) == KEPT_HELD;
  uint64_t until;

  if (s->rules.allowed == NULL || s->e->spin_ns == 0 || w->of_late > SPIN_REQUESTS_MAX * w->count || expects_long(w)) return false;
  if (awake_skips(&w->for_more)) return false;
  until = now_ns() + s->e->spin_ns;
  do {
    if (look(w, over)) {
      w->for_more.misses = 0;
      return true;
    }
    if (held) {
      let_go(w);
      if (kept(w) == KEPT_FREE) return true;
      /* Another thread is at it: to be asked for less often, but not to give the processor away, which was measured to take far longer. */
      for (unsigned i = 0; i < RELAXES; i += 1) relax();
    }
  } while (!is_wanted(s) && now_ns() < until);
  awake_missed(&w->for_more);
  return false;
}

/* Of what is long a header would be taken at a time, again and again. */
static bool takes_meanwhile(const struct seat *t) {
  size_t expected = long_expected(t);

  return can_take_more(t) && (expected == 0 || t->fill - t->pos < expected + REQUEST_BYTES + t->seal);
}

/*
 * While a mark is made durable, those of what comes meanwhile are asked for, and the write goes on as soon as it may. Whoever makes it durable,
 * and the client, may need this processor. True: the mark is answered, or something has come that is not to wait, or a stream has ended.
 */
static bool awake_for_marks(struct server *w, bool *over) {
  struct serve *s = w->s;
  struct seat *t = &w->first[0];
  uint64_t until;

  if (s->e->spin_ns == 0 || awake_skips(&w->for_marks)) return false;
  until = now_ns() + MARKS_SPINS * s->e->spin_ns;
  do {
    enum received r;
    if (is_answered(t)) {
      w->for_marks.misses = 0;
      return true;
    }
    r = takes_meanwhile(t) ? receive(t) : RECEIVED_NOTHING;
    *over = r == RECEIVED_END;
    if (*over || ((r == RECEIVED || r == RECEIVED_MORE) && !ask(t))) return true;
    sched_yield();
  } while (!is_wanted(s) && now_ns() < until);
  awake_missed(&w->for_marks);
  return false;
}

/* Each wake-up costs both sides. The main thread is woken by any byte. */
static void wake_by(struct seat *t, size_t bytes) {
  int value = (int)bytes;

  if (t->wakes_by == bytes || t->ktls) return;
  if (setsockopt(t->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value) == 0) t->wakes_by = bytes;
}

/* After all that is whole in hand was executed: what is left is the rest of a request, or answers that nobody has taken yet. */
static void set_awaits(struct seat *t) {
  /* What waits for its mark, or for room, has come. */
  short events = has_free(t) ? POLLOUT : t->fill > t->pos && t->fill - t->pos < t->need && !t->waits ? POLLIN : 0;

  atomic_store_explicit(&t->awaits, events, memory_order_relaxed);
}

/* False: something has changed meanwhile. */
static bool may_sleep(struct server *w) {
  struct serve *s = w->s;
  struct seat *t = &w->first[0];

  for (unsigned i = 0; i < w->count; i += 1) {
    if (!order_may_sleep(&w->first[i])) return false;
  }
  /* Whoever answers stores that first and looks second: one of both sees the other. */
  if (!t->waits) return true;
  atomic_store(&s->sleeps, true);
  return !is_answered(t);
}

static void has_slept(struct server *w) {
  if (w->first[0].waits) atomic_store(&w->s->sleeps, false);
  for (unsigned i = 0; i < w->count; i += 1) order_slept(&w->first[i]);
}

/* After a sleep; false: it is to go back. */
static bool go_on(struct seat *t, const struct pollfd *p) {
  if (p->revents == 0) return true;
  if ((p->events & POLLIN) != 0) return receive(t) != RECEIVED_END;
  if ((p->revents & (POLLERR | POLLHUP)) == 0) return true;
  /* One that has hung up while its write waited has all that it sent executed, where the end is met. */
  if (!t->waits || t->answers_length > 0 || (p->revents & POLLERR) != 0) t->error = ECONNRESET;
  return false;
}

/* Asleep, until something of a socket can go on, or somebody wants this thread; false: they are to go back. */
static bool asleep(struct server *w) {
  struct pollfd p[TOGETHER_MAX + 1];
  bool well = true, may;

  for (unsigned i = 0; i < w->count; i += 1) {
    struct seat *t = &w->first[i];
    short events = has_free(t) ? POLLOUT : 0;
    /* One that has no room for answers would go on with what is in hand first. */
    if (has_room_for_more(t)) events |= POLLIN;
    wake_by(t, t->need >= WAKES_BY_BYTES + (t->fill - t->pos) ? WAKES_BY_BYTES : 1);
    p[i] = (struct pollfd){.fd = t->fd, .events = events};
    set_awaits(t);
  }
  p[w->count] = (struct pollfd){.fd = w->wake, .events = POLLIN};
  may = may_sleep(w);
  if (may && poll(p, w->count + 1, -1) < 0) {
    may = false;
    if (errno != EINTR) {
      w->first[0].error = errno;
      well = false;
    }
  }
  has_slept(w);
  if (!may) return well;
  if (p[w->count].revents != 0) {
    uint64_t count;
    /* `ending`, or what else is looked at after this, is what it was written for. */
    if (read(w->wake, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR) {
      w->first[0].error = errno;
      return false;
    }
  }
  for (unsigned i = 0; i < w->count; i += 1) {
    if (!go_on(&w->first[i], &p[i])) well = false;
  }
  return well;
}

/* Answers leave as far as they may, and `room` says whether somebody who lacked some has it; false: they can not. */
static bool answer_all(struct server *w, bool *room) {
  for (unsigned i = 0; i < w->count; i += 1) {
    struct seat *t = &w->first[i];
    size_t before = room_for_answers(t);
    bool more = order_let_go(t);

    if (!send_answers(t)) return false;
    /* Or what is left is held by others than those that were found not to be full (order_may_be_full). */
    if (t->lacks_room && (more || room_for_answers(t) > before)) *room = true;
  }
  return true;
}

/* Serves until the sockets are to go back, with what of the answers has not left. */
static void serve_lent(struct server *w) {
  struct serve *s = w->s;
  bool on = true;

  for (;;) {
    bool room = false;

    on = on && execute(w);
    /* Not only before this sleeps: others may keep it awake for long. */
    for (unsigned i = 0; i < w->count && on; i += 1) set_awaits(&w->first[i]);
    if (atomic_load(&s->ending)) {
      on = false;
      if (!w->quiet_told && s->count == 1) {
        w->quiet_told = true;
        pthread_mutex_lock(&s->lock);
        s->quiet = true;
        pthread_mutex_unlock(&s->lock);
        tell(s);
      }
    }
    if (!on) serve_park(s);
    if (!answer_all(w, &room)) {
      serve_park(s);
      return;
    }
    if (!on) return;
    if (room) continue;
    if (kept(w) != KEPT_FREE) {
      bool over = false, here = w->first[0].waits ? awake_for_marks(w, &over) : awake(w, &over);
      w->of_late = 0;
      on = !over;
      if (here) continue;
    }
    on = asleep(w) && on;
  }
}

/* Until the sockets are lent, or the end; false: the end. */
static bool wait_for_sockets(struct server *w) {
  struct serve *s = w->s;

  for (;;) {
    struct pollfd p = {.fd = w->wake, .events = POLLIN};
    uint64_t count;
    /* First: what is lent before it ends is given back. */
    bool lent, ending = atomic_load(&s->ending);

    pthread_mutex_lock(&s->lock);
    lent = w->lent;
    pthread_mutex_unlock(&s->lock);
    if (lent) return true;
    if (ending) return false;
    if (poll(&p, 1, -1) > 0 && read(w->wake, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR) {
      atomic_store(&s->ending, true);
      for (unsigned i = 0; i < s->servers_count; i += 1) server_wake(&s->servers[i]);
    }
  }
}

/* The last one gives all of them back. */
static void give_back(struct server *w) {
  struct serve *s = w->s;
  bool last;

  for (unsigned i = 0; i < w->count; i += 1) {
    wake_by(&w->first[i], 1);
    (void)piped_back(&w->first[i]);
  }
  pthread_mutex_lock(&s->lock);
  w->lent = false;
  s->lent -= 1;
  last = s->lent == 0;
  if (last) s->back = true;
  pthread_mutex_unlock(&s->lock);
  if (last) tell(s);
}

void *serve_thread(void *server) {
  struct server *w = server;
  struct serve *s = w->s;

  pthread_setname_np(pthread_self(), "netraid-serve");
  while (wait_for_sockets(w)) {
    w->quiet_told = false;
    serve_lent(w);
    give_back(w);
  }
  pthread_mutex_lock(&s->lock);
  s->gone += 1;
  pthread_mutex_unlock(&s->lock);
  tell(s);
  return NULL;
}
