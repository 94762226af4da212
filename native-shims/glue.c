/*
 * N-API: makes engines, and gives TypeScript their calls. Hot paths do not come through here: operations go through the ring,
 * events and counts through shared arrays (engine.h). A wrong argument throws; nothing from outside does.
 *
 * An engine lives as long as the process, whose main thread alone makes them (native-shim.ts): its handler may be called at any
 * time until then.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "engine.h"
#include "conn.h"

#define ARGUMENTS_MAX 10

/* ------------------------------------------------------------------------------------------------- the shared memory */

/* Address space: a page costs memory when it is first used. */
static void *map_table(struct engine *e, size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int error;

  if (p == MAP_FAILED) return NULL;
  error = memory_keep(p, bytes);
  if (e->keep_error == 0) e->keep_error = error;
  return p;
}

struct part { void *at; size_t bytes; }; /* `at` a pointer of its own type */

static bool map_region(struct engine *e, napi_value *layout) {
  struct shared *s = &e->shared;
  struct part parts[] = {
    {&s->ctl, CTL_WORDS * sizeof *s->ctl},
    {&s->stats, STAT_WORDS * sizeof *s->stats},
    {&s->ring, (size_t)RING_ENTRIES * RING_FIELDS * sizeof *s->ring},
    {&s->kind, BATCH_MAX * sizeof *s->kind},
    {&s->conn, BATCH_MAX * sizeof *s->conn},
    {&s->id, BATCH_MAX * sizeof *s->id},
    {&s->cmd, BATCH_MAX * sizeof *s->cmd},
    {&s->flags, BATCH_MAX * sizeof *s->flags},
    {&s->offset, BATCH_MAX * sizeof *s->offset},
    {&s->length, BATCH_MAX * sizeof *s->length},
    {&s->handle, BATCH_MAX * sizeof *s->handle},
    {&s->error, BATCH_MAX * sizeof *s->error},
    {&s->value_kind, BATCH_MAX * sizeof *s->value_kind},
    {&s->handle_refs, HANDLES_MAX * sizeof *s->handle_refs},
    {&s->handle_generation, HANDLES_MAX * sizeof *s->handle_generation},
    {&s->handle_length, HANDLES_MAX * sizeof *s->handle_length},
    {&s->request_id, REQUESTS_MAX * sizeof *s->request_id},
    {&s->request_length, REQUESTS_MAX * sizeof *s->request_length},
    {&s->request_cmd, REQUESTS_MAX * sizeof *s->request_cmd},
    {&s->request_state, REQUESTS_MAX * sizeof *s->request_state},
  };
  const size_t count = sizeof parts / sizeof parts[0];
  size_t size = 0;

  for (size_t i = 0; i < count; i += 1) size += (parts[i].bytes + 63) & ~(size_t)63;
  e->region = map_table(e, size);
  if (e->region == NULL) return false;
  e->region_size = size;
  if (napi_create_array(e->env, layout) != napi_ok) return false;
  size = 0;
  for (size_t i = 0; i < count; i += 1) {
    napi_value v;
    uint8_t *at = (uint8_t *)e->region + size;
    memcpy(parts[i].at, &at, sizeof at);
    if (napi_create_double(e->env, (double)size, &v) != napi_ok || napi_set_element(e->env, *layout, (uint32_t)i, v) != napi_ok) return false;
    size += (parts[i].bytes + 63) & ~(size_t)63;
  }
  return true;
}

static void unmap_region(napi_env env, void *data, void *hint) {
  (void)env;
  munmap(data, (size_t)(uintptr_t)hint);
}

/* ----------------------------------------------------------------------------------------------------- life and death */

/* Of an engine that could not be made. */
static void engine_free(struct engine *e) {
  io_free(e);
  free(e->events);
  if (e->handles != NULL) munmap(e->handles, HANDLES_MAX * sizeof *e->handles);
  if (e->requests != NULL) munmap(e->requests, REQUESTS_MAX * sizeof *e->requests);
  if (e->ahead != NULL) munmap(e->ahead, SLABS_AHEAD_BYTES);
  free(e);
}

/*
 * The environment ends, and the process with it. What the I/O threads have begun is finished; nothing else is touched any
 * more: the ArrayBuffers of slabs may have been finalized already.
 */
static void on_end(void *argument) {
  struct engine *e = argument;

  e->dead = true;
  io_stop(e);
  serves_stop(e);
  sends_stop(e);
  conns_silence(e);
  uv_check_stop(&e->check);
  uv_idle_stop(&e->idle);
}

/* --------------------------------------------------------------------------------------------------------------- calls */

struct call {
  struct engine *e;
  napi_value v[ARGUMENTS_MAX];
};

/* False when fewer arguments came; an exception is pending then. */
static bool arguments(napi_env env, napi_callback_info info, size_t least, struct call *c) {
  size_t count = ARGUMENTS_MAX;
  void *data;

  if (napi_get_cb_info(env, info, &count, c->v, NULL, &data) == napi_ok && count >= least) {
    c->e = data;
    return true;
  }
  napi_throw_type_error(env, NULL, "too few arguments");
  return false;
}

static bool number(napi_env env, napi_value v, double *to) {
  if (napi_get_value_double(env, v, to) == napi_ok) return true;
  napi_throw_type_error(env, NULL, "expected a number");
  return false;
}

static bool u32(napi_env env, napi_value v, uint32_t *to) {
  double d;

  if (!number(env, v, &d)) return false;
  if (d >= 0 && d <= UINT32_MAX) {
    *to = (uint32_t)d;
    return true;
  }
  napi_throw_range_error(env, NULL, "expected an unsigned number of 32 bits");
  return false;
}

static bool boolean(napi_env env, napi_value v, bool *to) {
  if (napi_get_value_bool(env, v, to) == napi_ok) return true;
  napi_throw_type_error(env, NULL, "expected a boolean");
  return false;
}

static napi_value from_number(napi_env env, double d) {
  napi_value v;

  return napi_create_double(env, d, &v) == napi_ok ? v : NULL;
}

static napi_value call_submit(napi_env env, napi_callback_info info) {
  struct call c;

  if (arguments(env, info, 0, &c)) engine_submit(c.e);
  return NULL;
}

static napi_value call_listen(napi_env env, napi_callback_info info) {
  struct call c;

  if (arguments(env, info, 1, &c) && c.e->on_batch == NULL && napi_create_reference(env, c.v[0], 1, &c.e->on_batch) == napi_ok) engine_wake(c.e);
  return NULL;
}

static napi_value call_open(napi_env env, napi_callback_info info) {
  struct call c;
  struct wire w;
  uint32_t requests_max;
  double bytes_max;

  if (!arguments(env, info, 7, &c) || !boolean(env, c.v[0], &w.server) || !boolean(env, c.v[1], &w.structured) ||
      !boolean(env, c.v[2], &w.extended) || !boolean(env, c.v[3], &w.sealed) || !u32(env, c.v[4], &w.payload_max) ||
      !u32(env, c.v[5], &requests_max) || !number(env, c.v[6], &bytes_max)) return NULL;
  return from_number(env, conn_open(c.e, &w, requests_max, bytes_max));
}

static napi_value call_share(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;
  double own, all;

  if (!arguments(env, info, 3, &c) || !u32(env, c.v[0], &id) || !number(env, c.v[1], &own) || !number(env, c.v[2], &all)) return NULL;
  if (own >= 0 && all >= 0 && own < 9007199254740992.0 && all < 9007199254740992.0) conn_share(c.e, id, own, all);
  else napi_throw_range_error(env, NULL, "expected bytes");
  return NULL;
}

static napi_value call_awaited(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;

  if (!arguments(env, info, 1, &c) || !u32(env, c.v[0], &id)) return NULL;
  return from_number(env, conn_awaited(c.e, id));
}

/* The descriptor stays the caller's; the connection gets one of its own. */
static napi_value call_start(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id, fd;
  napi_typedarray_type type;
  size_t length, offset;
  void *early;
  napi_value buffer;
  int own;

  if (!arguments(env, info, 3, &c) || !u32(env, c.v[0], &id) || !u32(env, c.v[1], &fd)) return NULL;
  if (napi_get_typedarray_info(env, c.v[2], &type, &length, &early, &buffer, &offset) != napi_ok || type != napi_uint8_array) {
    napi_throw_type_error(env, NULL, "expected a Uint8Array");
    return NULL;
  }
  own = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) conn_close_id(c.e, id, errno);
  else conn_start(c.e, id, own, early, length);
  engine_wake(c.e);
  return NULL;
}

static napi_value call_close(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id, error;

  if (arguments(env, info, 2, &c) && u32(env, c.v[0], &id) && u32(env, c.v[1], &error)) conn_close_id(c.e, id, (int)error);
  return NULL;
}

static napi_value call_close_all(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t error;

  if (arguments(env, info, 1, &c) && u32(env, c.v[0], &error)) conn_close_all(c.e, (int)error);
  return NULL;
}

static napi_value call_stop_receiving(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;

  if (arguments(env, info, 1, &c) && u32(env, c.v[0], &id)) conn_stop_id(c.e, id);
  return NULL;
}

/* The elements of a Uint32Array of at least so many, referred to from `ref` on; NULL: it is none, which has been thrown. */
static uint32_t *shared_words(napi_env env, napi_value v, size_t words_min, napi_ref *ref) {
  napi_typedarray_type type;
  size_t words, offset;
  void *data;
  napi_value buffer;

  if (napi_get_typedarray_info(env, v, &type, &words, &data, &buffer, &offset) != napi_ok || type != napi_uint32_array) {
    napi_throw_type_error(env, NULL, "expected a Uint32Array");
    return NULL;
  }
  if (words < words_min) {
    napi_throw_range_error(env, NULL, "not a bit for each region");
    return NULL;
  }
  if (napi_create_reference(env, v, 1, ref) == napi_ok) return data;
  napi_throw_error(env, NULL, "no memory for a reference");
  return NULL;
}

/* Where regions are asked for, or undefined; false: it can't be that, which has been thrown. */
static bool asks_of(napi_env env, napi_value v, struct serve_rules *r) {
  napi_valuetype type;
  size_t words;

  if (napi_typeof(env, v, &type) != napi_ok) return false;
  if (type == napi_undefined) return true;
  r->asks = shared_words(env, v, ASKS_FIRST + 1, &r->refs[3]);
  if (r->asks == NULL || napi_get_typedarray_info(env, v, NULL, &words, NULL, NULL, NULL) != napi_ok) return false;
  words -= ASKS_FIRST;
  if (r->clients == 1 && words <= ASKS_MAX && (words & (words - 1)) == 0) {
    r->asks_max = (uint32_t)words;
    return true;
  }
  napi_throw_range_error(env, NULL, "expected a power of two of regions, of one client");
  return false;
}

/* (connection, leg, size, block bytes, region bytes, touched, allowed, under way, clients, asks), the last four undefined or none; 0 or an errno. */
static napi_value call_serve(napi_env env, napi_callback_info info) {
  struct call c;
  struct serve_rules r = {0};
  uint32_t id, leg;
  double size, region_bytes;
  uint64_t words;
  size_t under_way;
  napi_valuetype marks;
  int error;

  if (!arguments(env, info, 10, &c) || !u32(env, c.v[0], &id) || !u32(env, c.v[1], &leg) || !number(env, c.v[2], &size) ||
      !u32(env, c.v[3], &r.block_bytes) || !number(env, c.v[4], &region_bytes)) return NULL;
  if (!(size >= 0 && size <= 9007199254740991.0 && region_bytes >= 1 && r.block_bytes >= 1)) {
    napi_throw_range_error(env, NULL, "expected bytes");
    return NULL;
  }
  if (napi_typeof(env, c.v[6], &marks) != napi_ok) return NULL;
  r.size = (uint64_t)size;
  r.region_bytes = (uint64_t)region_bytes;
  /* Layout: src/io/touched.ts */
  words = r.size == 0 ? 0 : (r.size - 1) / r.region_bytes + 1;
  words = (words + 31) / 32;
  r.touched = shared_words(env, c.v[5], words + (words + 1023) / 1024, &r.refs[0]);
  if (r.touched == NULL) return NULL;
  r.summary = r.touched + words;
  r.clients = 1;
  if (marks != napi_undefined) {
    if (!u32(env, c.v[8], &r.clients)) {
      rules_release(env, &r);
      return NULL;
    }
    if (words > SERVE_REGIONS_MAX / 32) {
      rules_release(env, &r);
      return from_number(env, EINVAL);
    }
    r.allowed = shared_words(env, c.v[6], words, &r.refs[1]);
    if (r.allowed != NULL) r.under_way = shared_words(env, c.v[7], 1, &r.refs[2]);
    if (r.under_way != NULL && napi_get_typedarray_info(env, c.v[7], NULL, &under_way, NULL, NULL, NULL) == napi_ok) {
      /* Of a client that is alone a short write to several regions is told, as by an engine that can not let it wait for two marks. */
      r.under_way_max = r.clients == 1 ? 1 : under_way < SERVE_UNDER_WAY_MAX ? (uint32_t)under_way : SERVE_UNDER_WAY_MAX;
    }
    if (r.under_way == NULL || !asks_of(env, c.v[9], &r)) {
      rules_release(env, &r);
      return NULL;
    }
  }
  error = serve_begin(c.e, id, leg, &r);
  if (error != 0) rules_release(env, &r);
  return from_number(env, error);
}

static napi_value call_unserve(napi_env env, napi_callback_info info) {
  struct call c;
  double op;
  uint32_t id;

  if (!arguments(env, info, 2, &c) || !number(env, c.v[0], &op) || !u32(env, c.v[1], &id)) return NULL;
  if (op != 0 && !events_promise(c.e)) napi_throw_error(env, NULL, "no memory for another operation");
  else serve_end(c.e, op, id);
  return NULL;
}

static napi_value call_heed(napi_env env, napi_callback_info info) {
  struct call c;
  double op;
  uint32_t id;

  if (!arguments(env, info, 2, &c) || !number(env, c.v[0], &op) || !u32(env, c.v[1], &id)) return NULL;
  if (!events_promise(c.e)) napi_throw_error(env, NULL, "no memory for another operation");
  else serve_heed(c.e, op, id);
  return NULL;
}

static napi_value call_heeded(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;

  if (arguments(env, info, 1, &c) && u32(env, c.v[0], &id)) serve_heeded(c.e, id);
  return NULL;
}

static napi_value call_served(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;

  if (!arguments(env, info, 1, &c) || !u32(env, c.v[0], &id)) return NULL;
  return from_number(env, serve_answered(c.e, id));
}

static napi_value call_allocate(napi_env env, napi_callback_info info) {
  struct call c;
  double length;

  if (!arguments(env, info, 1, &c) || !number(env, c.v[0], &length)) return NULL;
  if (!(length >= 0 && length <= 9007199254740991.0)) {
    napi_throw_range_error(env, NULL, "no length");
    return NULL;
  }
  return from_number(env, handle_name(c.e, handle_allocate(c.e, (size_t)length)));
}

static void free_slab(napi_env env, void *data, void *hint) {
  struct slab *s = hint;

  (void)env;
  /* At the environment's end: an I/O thread may be writing from it. */
  if (s->refs > 0) return;
  if (!s->ahead) free(data);
  free(s);
}

/* One ArrayBuffer a slab, kept with it: when the slab goes, V8 frees the bytes once no JavaScript sees them. */
static bool slab_view(napi_env env, struct slab *s, napi_value *buffer) {
  if (s->view != NULL) return napi_get_reference_value(env, s->view, buffer) == napi_ok;
  if (napi_create_external_arraybuffer(env, s->data, s->size, free_slab, s, buffer) != napi_ok) return false;
  if (napi_create_reference(env, *buffer, 1, &s->view) == napi_ok) return true;
  /* The ArrayBuffer has the bytes now, and the engine has them too: of the two, a leak is the lesser evil. */
  s->refs += 1;
  return false;
}

static napi_value call_view(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t slot;
  struct handle *h;
  napi_value buffer, view;

  if (!arguments(env, info, 1, &c) || !u32(env, c.v[0], &slot)) return NULL;
  if (slot == 0 || slot >= c.e->handle_top || c.e->shared.handle_refs[slot] <= 0) {
    napi_throw_error(env, NULL, "the handle is not live");
    return NULL;
  }
  h = &c.e->handles[slot];
  if (h->slab == NULL) {
    if (napi_create_arraybuffer(env, 0, NULL, &buffer) == napi_ok && napi_create_typedarray(env, napi_uint8_array, 0, buffer, 0, &view) == napi_ok) return view;
  } else if (slab_view(env, h->slab, &buffer) &&
             napi_create_typedarray(env, napi_uint8_array, (size_t)c.e->shared.handle_length[slot], buffer, (size_t)(h->data - h->slab->data), &view) == napi_ok) {
    return view;
  }
  napi_throw_error(env, NULL, "no view of the handle can be made");
  return NULL;
}

static napi_value call_is_zero(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t slot;
  double offset, length, held;
  bool zero = true;
  napi_value v;

  if (!arguments(env, info, 3, &c) || !u32(env, c.v[0], &slot) || !number(env, c.v[1], &offset) || !number(env, c.v[2], &length)) return NULL;
  held = slot == 0 || slot >= c.e->handle_top || c.e->shared.handle_refs[slot] <= 0 ? -1 : c.e->shared.handle_length[slot];
  if (!(offset >= 0 && length >= 0 && offset + length <= held)) {
    napi_throw_range_error(env, NULL, "the handle has no such bytes");
    return NULL;
  }
  if (length > 0) {
    const uint8_t *data = c.e->handles[slot].data + (size_t)offset;
    /* Each byte is like the one after it, and the first is zero. */
    zero = data[0] == 0 && memcmp(data, data + 1, (size_t)length - 1) == 0;
  }
  return napi_get_boolean(env, zero, &v) == napi_ok ? v : NULL;
}

/* The leg, or an errno as a negative number. */
static napi_value call_leg_open(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t fd, id = 0;
  bool device, punch, zero_range;
  int error;

  if (!arguments(env, info, 4, &c) || !u32(env, c.v[0], &fd) || !boolean(env, c.v[1], &device) || !boolean(env, c.v[2], &punch) ||
      !boolean(env, c.v[3], &zero_range)) return NULL;
  error = leg_open(c.e, (int)fd, device, punch, zero_range, &id);
  return from_number(env, error == 0 ? (double)id : -(double)error);
}

static napi_value call_leg_close(napi_env env, napi_callback_info info) {
  struct call c;
  uint32_t id;
  napi_value v;

  if (!arguments(env, info, 1, &c) || !u32(env, c.v[0], &id)) return NULL;
  return napi_get_boolean(env, leg_close(c.e, id), &v) == napi_ok ? v : NULL;
}

/* No leg is open any more. */
static napi_value call_stop(napi_env env, napi_callback_info info) {
  struct call c;

  if (arguments(env, info, 0, &c)) io_stop(c.e);
  return NULL;
}

static const struct { const char *name; napi_callback f; } calls[] = {
  {"submit", call_submit}, {"listen", call_listen}, {"open", call_open}, {"share", call_share}, {"awaited", call_awaited}, {"start", call_start}, {"close", call_close},
  {"closeAll", call_close_all}, {"stopReceiving", call_stop_receiving}, {"serve", call_serve}, {"unserve", call_unserve}, {"heed", call_heed}, {"heeded", call_heeded}, {"served", call_served}, {"allocate", call_allocate}, {"view", call_view},
  {"isZero", call_is_zero},
  {"legOpen", call_leg_open}, {"legClose", call_leg_close}, {"stop", call_stop},
};

static bool start_handles(struct engine *e) {
  /* The first alone can fail. */
  if (uv_async_init(e->loop, &e->async, io_on_done) != 0 || uv_check_init(e->loop, &e->check) != 0 || uv_idle_init(e->loop, &e->idle) != 0) return false;
  e->check.data = e;
  e->idle.data = e;
  e->async.data = e;
  uv_check_start(&e->check, engine_on_check);
  uv_unref((uv_handle_t *)&e->check);
  uv_unref((uv_handle_t *)&e->async);
  return true;
}

/* createEngine(onLegIdle, ioThreads, lingerMs, spinMicroseconds) */
static napi_value create_engine(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value v[4], object, layout, buffer, name, f;
  uint32_t threads, linger_ms, spin_us;
  struct engine *e;

  if (napi_get_cb_info(env, info, &count, v, NULL, NULL) != napi_ok || count < 4) {
    napi_throw_type_error(env, NULL, "expected (onLegIdle, ioThreads, lingerMs, spinMicroseconds)");
    return NULL;
  }
  if (!u32(env, v[1], &threads) || !u32(env, v[2], &linger_ms) || !u32(env, v[3], &spin_us)) return NULL;
  e = calloc(1, sizeof *e);
  if (e == NULL) goto failed;
  e->env = env;
#ifdef M_MMAP_THRESHOLD
  /* Large slabs come from the kernel and go back to it. By itself glibc would learn from the first ones to carve them out of its heap, which never shrinks. */
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
#endif
  e->linger_ms = linger_ms;
  e->spin_ns = (uint64_t)spin_us * 1000;
  e->handle_top = 1;
  e->request_free = UINT32_MAX;
  e->request_serial = 1;
  e->handles = map_table(e, HANDLES_MAX * sizeof *e->handles);
  e->requests = map_table(e, REQUESTS_MAX * sizeof *e->requests);
  e->ahead = map_table(e, SLABS_AHEAD_BYTES);
  if (e->handles == NULL || e->requests == NULL || e->ahead == NULL || !map_region(e, &layout) || !events_promise(e)) goto failed;
  events_unpromise(e);
  if (napi_get_uv_event_loop(env, &e->loop) != napi_ok || napi_create_object(env, &object) != napi_ok ||
      napi_create_external_arraybuffer(env, e->region, e->region_size, unmap_region, (void *)(uintptr_t)e->region_size, &buffer) != napi_ok) goto failed;
  e->region = NULL;
  if (napi_set_named_property(env, object, "buffer", buffer) != napi_ok || napi_set_named_property(env, object, "layout", layout) != napi_ok ||
      napi_create_int32(env, e->keep_error, &f) != napi_ok || napi_set_named_property(env, object, "keepErrno", f) != napi_ok) goto failed;
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i += 1) {
    if (napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, calls[i].f, e, &f) != napi_ok ||
        napi_set_named_property(env, object, calls[i].name, f) != napi_ok) goto failed;
  }
  if (napi_create_string_utf8(env, "netraid", NAPI_AUTO_LENGTH, &name) != napi_ok || napi_create_reference(env, object, 1, &e->receiver) != napi_ok ||
      napi_create_reference(env, v[0], 1, &e->on_leg_idle) != napi_ok || napi_async_init(env, object, name, &e->context) != napi_ok) goto failed;
  if (io_start(e, threads) != 0 || !start_handles(e)) goto failed;
  if (napi_add_env_cleanup_hook(env, on_end, e) != napi_ok) {
    on_end(e);
    e = NULL;
    goto failed;
  }
  return object;

failed:
  if (e != NULL) {
    io_stop(e);
    if (e->region != NULL) munmap(e->region, e->region_size);
    engine_free(e);
  }
  napi_throw_error(env, NULL, "no memory or no threads for an engine");
  return NULL;
}

/* For tests, which hold both ways to compute it against zlib's: (bytes, by table). */
static napi_value call_crc32(napi_env env, napi_callback_info info) {
  struct call c;
  napi_typedarray_type type;
  size_t length, offset;
  void *bytes;
  napi_value buffer;
  bool by_table;

  if (!arguments(env, info, 2, &c) || !boolean(env, c.v[1], &by_table)) return NULL;
  if (napi_get_typedarray_info(env, c.v[0], &type, &length, &bytes, &buffer, &offset) != napi_ok || type != napi_uint8_array) {
    napi_throw_type_error(env, NULL, "expected a Uint8Array");
    return NULL;
  }
  return from_number(env, by_table ? crc_by_table(0, bytes, length) : crc_update(0, bytes, length));
}

napi_value fallocate_init(napi_env env, napi_value exports);
napi_value descriptor_init(napi_env env, napi_value exports);
napi_value door_init(napi_env env, napi_value exports);
napi_value ktls_init(napi_env env, napi_value exports);

/* Which sources this was built from (sources.cjs): a program made from others shares memory of another layout. */
#define TEXT_OF(x) #x
#define AS_TEXT(x) TEXT_OF(x)

NAPI_MODULE_INIT() {
  napi_value f;

  if (napi_create_string_utf8(env, AS_TEXT(NETRAID_SOURCES), NAPI_AUTO_LENGTH, &f) != napi_ok ||
      napi_set_named_property(env, exports, "sources", f) != napi_ok ||
      napi_create_function(env, "createEngine", NAPI_AUTO_LENGTH, create_engine, NULL, &f) != napi_ok ||
      napi_set_named_property(env, exports, "createEngine", f) != napi_ok ||
      napi_create_function(env, "crc32", NAPI_AUTO_LENGTH, call_crc32, NULL, &f) != napi_ok ||
      napi_set_named_property(env, exports, "crc32", f) != napi_ok) return NULL;
  if (fallocate_init(env, exports) == NULL || descriptor_init(env, exports) == NULL || door_init(env, exports) == NULL ||
      ktls_init(env, exports) == NULL) return NULL;
  return pressure_init(env, exports);
}
