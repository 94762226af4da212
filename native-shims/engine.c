/*
 * Events out, operations in.
 *
 *   connections, legs --event_*--> queue --once a loop iteration--> batch arrays --one call--> TypeScript's handler
 *   TypeScript --stores--> ring --after the handler, or at the end of the turn--> engine_submit --> connections, legs
 *
 * Room in the queue is promised before anything begins that will end with an event, so that an event is never lost for want
 * of memory. Beside what is promised there is room for one ring of operations that fail because nothing could be promised.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "engine.h"

#define EVENTS_FIRST (4u * RING_ENTRIES)
/* Batches delivered in one loop iteration, before sockets and timers get their turn. */
#define DELIVERIES_MAX 8
/* Spinning is for few requests at a time: with many, a short sleep gathers more of them, and costs less for each. */
#define SPIN_PEAK_MAX (2 * 16)
#define SPIN_ROUNDS_MAX 64
#define SPIN_JOBS_MAX 2
/* That many are waited for so much longer than anything else. */
#define SPIN_SYNCS_MAX 3u
#define SYNC_SPINS 10u

enum { OP_COMPLETE = 1, OP_FREE, OP_READ, OP_WRITE, OP_SYNC, OP_ZERO, OP_EXTENTS, OP_SEND, OP_REPLY, OP_REPLY_STATUS, OP_CLOSED };

static bool events_grow(struct engine *e) {
  size_t cap = e->event_cap == 0 ? EVENTS_FIRST : e->event_cap * 2;
  struct event *bigger = realloc(e->events, cap * sizeof *bigger);

  if (bigger == NULL) return false;
  e->events = bigger;
  e->event_cap = cap;
  return true;
}

bool events_promise(struct engine *e) {
  if (e->event_promised + RING_ENTRIES >= e->event_cap && !events_grow(e)) return false;
  e->event_promised += 1;
  return true;
}

void events_unpromise(struct engine *e) { e->event_promised -= 1; }

static struct event *event_next(struct engine *e) {
  struct event *v;

  if (e->event_head + e->event_count == e->event_cap) {
    memmove(e->events, e->events + e->event_head, e->event_count * sizeof *e->events);
    e->event_head = 0;
  }
  v = &e->events[e->event_head + e->event_count];
  e->event_count += 1;
  memset(v, 0, sizeof *v);
  return v;
}

void event_request(struct engine *e, uint32_t conn, double id, unsigned cmd, unsigned flags, uint64_t offset, uint64_t length, uint32_t slot) {
  struct event *v = event_next(e);

  v->kind = EVENT_REQUEST;
  v->conn = conn;
  v->id = id;
  v->cmd = (uint16_t)cmd;
  v->flags = (uint16_t)flags;
  v->offset = (double)offset;
  v->length = (double)length;
  v->handle = handle_name(e, slot);
}

void event_done(struct engine *e, double op, int error, double length, uint32_t slot, unsigned value_kind) {
  struct event *v;

  if (op == 0) return;
  e->shared.stats[STAT_OPERATIONS] -= 1;
  v = event_next(e);
  v->kind = EVENT_DONE;
  v->id = op;
  v->error = error;
  v->length = error == 0 ? length : 0;
  v->handle = handle_name(e, slot);
  v->value_kind = (uint8_t)value_kind;
}

void event_closed(struct engine *e, uint32_t conn, int error) {
  struct event *v = event_next(e);

  v->kind = EVENT_CLOSED;
  v->conn = conn;
  v->error = error;
}

/* ---------------------------------------------------------------------------------------------------------- delivery */

static void fill_batch(struct engine *e, size_t count) {
  struct shared *s = &e->shared;
  uint32_t values = 0;

  for (size_t i = 0; i < count; i += 1) {
    const struct event *v = &e->events[e->event_head + i];
    s->kind[i] = v->kind;
    s->conn[i] = v->conn;
    s->id[i] = v->id;
    s->cmd[i] = v->cmd;
    s->flags[i] = v->flags;
    s->offset[i] = v->offset;
    s->length[i] = v->length;
    s->handle[i] = v->handle;
    s->error[i] = v->error;
    s->value_kind[i] = v->value_kind;
    if (v->value_kind != VALUE_NONE) values += 1;
  }
  s->ctl[CTL_VALUES] = values;
  e->event_promised -= count;
  e->event_count -= count;
  e->event_head = e->event_count == 0 ? 0 : e->event_head + count;
}

static void deliver(struct engine *e) {
  size_t count = e->event_count < BATCH_MAX ? e->event_count : BATCH_MAX;
  napi_handle_scope scope;
  napi_value receiver, handler, argument, unused, error;

  if (napi_open_handle_scope(e->env, &scope) != napi_ok) return;
  if (napi_get_reference_value(e->env, e->receiver, &receiver) == napi_ok &&
      napi_get_reference_value(e->env, e->on_batch, &handler) == napi_ok &&
      napi_create_uint32(e->env, (uint32_t)count, &argument) == napi_ok) {
    fill_batch(e, count);
    e->shared.ctl[CTL_DELIVERING] = 1;
    if (napi_make_callback(e->env, e->context, receiver, handler, 1, &argument, &unused) == napi_pending_exception &&
        napi_get_and_clear_last_exception(e->env, &error) == napi_ok) {
      napi_fatal_exception(e->env, error);
    }
    e->shared.ctl[CTL_DELIVERING] = 0;
  }
  napi_close_handle_scope(e->env, scope);
}

static void on_idle(uv_idle_t *h) { (void)h; }

/* The loop must not sleep while events wait: an idle handle that is running keeps it from that. */
void engine_wake(struct engine *e) {
  bool wanted = e->event_count > 0 && e->on_batch != NULL;

  if (e->dead || wanted == e->idle_on) return;
  e->idle_on = wanted;
  if (wanted) uv_idle_start(&e->idle, on_idle);
  else uv_idle_stop(&e->idle);
}

void engine_hold(struct engine *e) {
  if (e->holds++ == 0 && !e->dead) uv_ref((uv_handle_t *)&e->async);
}

void engine_let_go(struct engine *e) {
  if (--e->holds == 0 && !e->dead) uv_unref((uv_handle_t *)&e->async);
}

static void deliver_all(struct engine *e) {
  for (int i = 0; i < DELIVERIES_MAX && e->event_count > 0 && e->on_batch != NULL && !e->dead; i += 1) {
    e->delivered = true;
    e->recent_peak -= e->recent_peak / 16;
    if (e->recent_peak < e->event_count * 16) e->recent_peak = e->event_count * 16;
    deliver(e);
    engine_submit(e);
  }
  conns_flush(e);
}

/* A few: quick disks take hardly longer for one than a sleep and a wake-up do. */
static bool waits_for_syncs(const struct engine *e) {
  unsigned syncs = e->syncs_begun - e->syncs_ended;

  return syncs > 0 && syncs <= SPIN_SYNCS_MAX;
}

/*
 * Until when syncs are waited for awake, where that was `until` before; 0: they are not. Each one is begun to be waited for once, whatever else
 * comes meanwhile: only the end of a sync is a success. `ended`: how many had ended when this was asked last.
 */
static uint64_t syncs_until(struct engine *e, uint64_t until, unsigned *ended) {
  bool success = until != 0 && *ended != e->syncs_ended, begins;

  if (success) e->for_syncs.misses = 0;
  *ended = e->syncs_ended;
  if (!waits_for_syncs(e)) return 0;
  begins = success || (e->syncs_begun != e->syncs_judged && !awake_skips(&e->for_syncs));
  e->syncs_judged = e->syncs_begun;
  return begins ? uv_hrtime() + SYNC_SPINS * e->spin_ns : until;
}

/*
 * While batches have few events the next one is often some microseconds away: it is waited for awake, which saves two wake-ups.
 * When that was in vain, the next spins are left out, ever more of them; the first success brings spinning back. What is not delivered here
 * is by the next iteration, once the loop has polled.
 */
static void spin(struct engine *e) {
  uint64_t now, until, for_syncs, end;
  unsigned ended = e->syncs_ended;
  bool found = false, for_more;

  if (e->spin_ns == 0 || e->dead || !e->delivered || e->recent_peak > SPIN_PEAK_MAX || e->event_count > 0) return;
  if (e->jobs_in_flight > SPIN_JOBS_MAX || (e->jobs_in_flight == 0 && !e->received && !waits_for_syncs(e))) return;
  if (e->long_of_late > 0) {
    e->long_of_late -= 1;
    return;
  }
  for_syncs = syncs_until(e, 0, &ended);
  for_more = for_syncs == 0;
  if (for_more && ((e->jobs_in_flight == 0 && !e->received) || awake_skips(&e->for_more))) return;
  io_watch(e, true);
  now = uv_hrtime();
  until = now + e->spin_ns;
  end = now + (SYNC_SPINS + SPIN_ROUNDS_MAX) * e->spin_ns;
  while ((now < until || for_syncs != 0) && now < end && e->recent_peak <= SPIN_PEAK_MAX && !e->dead) {
    if (atomic_load_explicit(&e->pool.some_done, memory_order_relaxed)) io_look(e);
    if (atomic_load_explicit(&e->serves_told, memory_order_relaxed)) serves_look(e);
    if (atomic_load_explicit(&e->sends_told, memory_order_relaxed)) sends_look(e);
    for (unsigned i = 0; i < e->hot_count && e->event_count == 0;) {
      if (conn_look(e, e->hot[i])) i += 1;
      else e->hot[i] = e->hot[--e->hot_count];
    }
    if (e->event_count > 0) {
      found = true;
      /* No answer leaves before what others have sent already is in hand, as it is where the loop has polled (M4). */
      if (!conns_look(e)) break;
      deliver_all(e);
      until = uv_hrtime() + e->spin_ns;
      for_syncs = syncs_until(e, for_syncs, &ended);
    } else if (for_syncs != 0) {
      /* Whoever is to answer may need this processor. */
      sched_yield();
    }
    now = uv_hrtime();
    if (for_syncs != 0 && now >= for_syncs) {
      awake_missed(&e->for_syncs);
      for_syncs = 0;
    }
  }
  io_watch(e, false);
  if (!for_more) return;
  if (found) e->for_more.misses = 0;
  else awake_missed(&e->for_more);
}

void engine_on_check(uv_check_t *h) {
  struct engine *e = h->data;

  deliver_all(e);
  spin(e);
  e->delivered = false;
  e->received = false;
  engine_wake(e);
}

/* -------------------------------------------------------------------------------------------------------- operations */

/* Whatever the operation was given is given back. */
static void drop_reference(struct engine *e, const double *f) {
  switch ((int)f[0]) {
    case OP_WRITE: handle_release(e, (uint32_t)f[5]); break;
    case OP_SEND: handle_release(e, (uint32_t)f[6]); break;
    case OP_REPLY: handle_release(e, (uint32_t)f[4]); break;
    case OP_REPLY_STATUS: handle_release(e, (uint32_t)f[3]); break;
    default: break;
  }
}

static int begin(struct engine *e, const double *f) {
  double op = f[1];

  switch ((int)f[0]) {
    case OP_READ: return leg_read(e, op, (uint32_t)f[2], (uint64_t)f[3], f[4]);
    case OP_WRITE: return leg_write(e, op, (uint32_t)f[2], (uint64_t)f[3], f[4], (uint32_t)f[5], (size_t)f[6], f[7] != 0);
    case OP_SYNC: return leg_sync(e, op, (uint32_t)f[2]);
    case OP_ZERO: return leg_zero(e, op, (uint32_t)f[2], (uint64_t)f[3], f[4], f[5] != 0, f[6] != 0);
    case OP_EXTENTS: return leg_extents(e, op, (uint32_t)f[2], (uint64_t)f[3], f[4]);
    case OP_SEND: {
      uint32_t word = (uint32_t)f[3]; /* command, then flags */
      return conn_send(e, op, (uint32_t)f[2], word >> 16, word & 0xffff, (uint64_t)f[4], (uint64_t)f[5], (uint32_t)f[6], (size_t)f[7]);
    }
    case OP_REPLY: return conn_reply(e, op, f[2], (int)f[3], (uint32_t)f[4], (size_t)f[5], (uint32_t)f[6]);
    case OP_REPLY_STATUS: return conn_reply_status(e, op, f[2], (uint32_t)f[3], (size_t)f[4]);
    default: return EINVAL;
  }
}

/* False: there is no room left even to say that there is none. */
static bool take(struct engine *e, const double *f) {
  int error;

  if (f[0] == OP_FREE) {
    handle_free_slot(e, (uint32_t)f[2]);
    return true;
  }
  if (f[0] == OP_CLOSED || f[1] != 0) {
    if (!events_promise(e)) {
      if (e->event_promised >= e->event_cap) return false;
      e->event_promised += 1;
      if (f[0] != OP_CLOSED && f[0] != OP_COMPLETE) {
        drop_reference(e, f);
        event_done(e, f[1], ENOMEM, 0, 0, VALUE_NONE);
        return true;
      }
    }
  }
  if (f[0] == OP_CLOSED) event_closed(e, (uint32_t)f[2], (int)f[3]);
  else if (f[0] == OP_COMPLETE) event_done(e, f[1], (int)f[2], f[3], 0, (unsigned)f[4]);
  else {
    error = begin(e, f);
    if (error != 0) {
      drop_reference(e, f);
      event_done(e, f[1], error, 0, 0, VALUE_NONE);
    }
  }
  return true;
}

void engine_submit(struct engine *e) {
  uint32_t count, taken = 0;

  /* First: a leg that is closed may become idle with them, and JavaScript that is told of it fills the ring, or has it emptied. */
  leg_reads_go_on(e);
  count = e->shared.ctl[CTL_RING_COUNT];
  if (count > RING_ENTRIES) count = RING_ENTRIES;
  while (taken < count && take(e, e->shared.ring + (size_t)taken * RING_FIELDS)) taken += 1;
  if (taken < count) {
    memmove(e->shared.ring, e->shared.ring + (size_t)taken * RING_FIELDS, (size_t)(count - taken) * RING_FIELDS * sizeof(double));
  }
  e->shared.ctl[CTL_RING_COUNT] = count - taken;
  /* To targets and clients before the local leg: their way is longer. */
  conns_flush(e);
  io_kick(e);
  engine_wake(e);
}
