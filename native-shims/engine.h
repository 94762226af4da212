/*
 * The native engine behind src/io/types.ts `Engine`: what its parts share.
 *
 *   slab.c    memory: slabs that are reused, and the handles (integers) that TypeScript knows their bytes by
 *   engine.c  events out and operations in, once a loop iteration
 *   file.c    legs: operations, reads that cannot block in place
 *   pool.c    I/O threads, and which operation each takes        work.c    what operations do there
 *   conn.c    sockets: receiving into slabs, gathered sends, ends
 *   server.c  NBD requests in, replies out            client.c  requests out, replies in
 *   serve.c   plain writes and reads of connections, by threads of their own        lend.c    their sockets, lent and taken back
 *   order.c   the order among connections that are served together                  piped.c   long reads without a copy
 *   send.c    long sends, by threads of their own
 *   room.c    what the requests of clients may hold in all
 *   crc.c     checksums of headers and payloads between our own nodes
 *   pressure.c  what keeps us from waiting for ourselves when memory is short
 *   glue.c    N-API
 *
 * Rules of all parts:
 * - everything but the I/O threads runs on the main thread; they touch jobs, legs' flags, lanes and payload bytes, nothing else
 * - so do the threads of serve.c, which touch what they were lent, and those of send.c, which touch what they were given
 * - nothing here decides about a payload: TypeScript says where its bytes go, by handles, or for a connection's plain writes beforehand
 * - no outside input, errno or failed allocation ends the process: it is the error of that operation or connection
 * - TypeScript checks its own calls (handles live, ranges inside) before they come here, since only it can throw at the
 *   culprit; what is checked here again is what may have changed since
 */
#ifndef NETRAID_ENGINE_H
#define NETRAID_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <node_api.h>
#include <uv.h>

#define HANDLE_SLOT_BITS 20
#define HANDLES_MAX (1u << 18)
#define REQUEST_SLOTS 1048576.0 /* a request id is serial * 2^20 + slot */
#define SERIAL_MAX 8589934591.0 /* 2^33 - 1: beyond it a double does not tell the ids of neighbours apart */
#define REQUESTS_MAX (1u << 18)
#define CONNS_MAX 4096u
#define LEGS_MAX 4096u
#define RING_ENTRIES 4096u
#define RING_FIELDS 8u
#define BATCH_MAX 1024u
#define IO_THREADS_MAX 32
#define HOT_MAX 4u
#define LONG_OF_LATE 64u /* loop iterations */

/* ------------------------------------------------------------------------------------- memory shared with TypeScript */

enum { CTL_RING_COUNT, CTL_DELIVERING, CTL_VALUES, CTL_WORDS = 16 };
enum { REQUEST_REPLYING = 1, REQUEST_STRUCTURED = 2, REQUEST_EXTENDED = 4, REQUEST_SEALED = 8 }; /* request_state; the first is TypeScript's */
enum { STAT_HANDLES, STAT_BYTES, STAT_OPERATIONS, STAT_CONNECTIONS, STAT_WORDS };

struct shared {
  uint32_t *ctl;
  double *stats;
  double *ring;
  uint8_t *kind;
  uint32_t *conn;
  double *id;
  uint16_t *cmd;
  uint16_t *flags;
  double *offset;
  double *length;
  uint32_t *handle;
  int32_t *error;
  uint8_t *value_kind;
  int32_t *handle_refs;
  uint32_t *handle_generation;
  double *handle_length;
  double *request_id;
  double *request_length;
  uint16_t *request_cmd;
  uint8_t *request_state;
};

/* ------------------------------------------------------------------------------------------------------------ memory */

struct slab {
  uint8_t *data;
  size_t size;
  bool ahead;         /* one of the first, whose bytes are the engine's own (slabs_ahead) */
  uint32_t refs;      /* the handles in it, and the connection that receives into it */
  napi_ref view;      /* its ArrayBuffer, made when first asked for; then V8 frees the bytes, when nobody sees them */
  struct slab *next;  /* in the list of kept ones */
};

#define SLAB_LEVELS 23
#define SLABS_AHEAD_BYTES (1792u * 1024)

struct handle {
  struct slab *slab; /* NULL: no bytes */
  uint8_t *data;
  uint32_t next_free;
};

/* ------------------------------------------------------------------------------------------------------------ events */

enum { EVENT_REQUEST = 1, EVENT_DONE = 2, EVENT_CLOSED = 3 };
enum { VALUE_NONE, VALUE_KEPT, VALUE_EXTENTS, VALUE_STATUS };

struct event {
  double id;
  double offset;
  double length;
  uint32_t conn;
  uint32_t handle;
  int32_t error;
  uint16_t cmd;
  uint16_t flags;
  uint8_t kind;
  uint8_t value_kind;
};

struct conn;
struct job;
struct leg;
struct creq;

/* How waiting awake, by a thread, has gone of late. */
struct waits_awake {
  unsigned misses; /* in a row */
  unsigned skips;  /* waits that are still to be asleep after them */
};

#define AWAKE_SKIPS_MAX 1024u

/* This wait is to be asleep. */
static inline bool awake_skips(struct waits_awake *a) {
  if (a->skips == 0) return false;
  a->skips -= 1;
  return true;
}

/* It was in vain: the next ones are asleep, ever more of them. After a success `misses` is 0 again. */
static inline void awake_missed(struct waits_awake *a) {
  if (a->misses < 16) a->misses += 1;
  a->skips = a->misses < 2 ? 0 : 1u << (a->misses - 1);
  if (a->skips > AWAKE_SKIPS_MAX) a->skips = AWAKE_SKIPS_MAX;
}

struct lane;
struct serve;
struct send;
struct senders;

struct io_thread {
  pthread_t thread;
  pthread_cond_t wake;
  struct engine *engine;
  struct io_thread *next_idle;
  bool woken;
};

struct io_pool {
  pthread_mutex_t lock;
  struct lane *lane_first, *lane_last; /* with work, and room for a thread */
  struct io_thread *idle;              /* the last one first */
  struct job *done_first, *done_last;
  unsigned coming;                     /* threads that are about to look for work */
  bool stop;
  atomic_bool some_done; /* a hint, so that looking costs no lock */
  bool watched; /* the main thread looks for what is done, and needs no wake-up */
  bool ready; /* the lock exists */
  unsigned count;
  struct io_thread threads[IO_THREADS_MAX];
};

/* Bytes of the requests of connections that share. */
struct room {
  uint64_t held;
  struct conn *first, *last; /* in line */
  struct conn *admitting;    /* whose turn it is */
  bool freed;                /* since those in line were looked at */
};

struct engine {
  napi_env env;
  napi_ref receiver;
  napi_ref on_batch;
  napi_ref on_leg_idle;
  napi_async_context context;
  uv_loop_t *loop;
  uv_check_t check;
  uv_idle_t idle;
  uv_async_t async;
  bool dead;          /* the environment is going: no JavaScript is called any more */
  bool idle_on;
  uint64_t linger_ms;
  uint64_t spin_ns;
  struct waits_awake for_more, for_syncs;
  bool delivered;       /* in this loop iteration */
  size_t recent_peak;   /* events of the largest batch of late, times 16 */
  bool received;         /* by any connection, in this loop iteration */
  uint32_t hot[HOT_MAX]; /* connections that received last, in no order */
  unsigned hot_count, hot_next;
  unsigned long_of_late; /* a long payload came, so many loop iterations ago at most: copying is what takes the time */

  void *region;
  size_t region_size;
  struct shared shared;

  struct slab *kept[SLAB_LEVELS];
  size_t kept_bytes;
  uint8_t *ahead; /* SLABS_AHEAD_BYTES, not touched before the first connection */
  bool ahead_cut;
  int keep_error; /* of the first part of our memory that should stay, and can not be made to */
  struct handle *handles;
  uint32_t handle_free, handle_top;

  struct event *events;
  size_t event_head, event_count, event_cap, event_promised;

  struct sreq *requests;
  uint32_t request_free, request_top;
  double request_serial;

  struct conn *conns[CONNS_MAX];
  struct conn *all_conns; /* those that have told CLOSED too */
  uint32_t conn_serial;
  struct conn *dirty;
  struct room room;
  struct senders *senders; /* NULL: none */
  bool senders_tried;
  struct send *given;
  atomic_bool sends_told; /* a hint, as `some_done` is */
  struct creq *spare_creqs;
  unsigned asked; /* requests in flight of all clients' connections */
  uint8_t scratch[65536]; /* what is read to be thrown away */

  struct leg *legs[LEGS_MAX];
  struct job *spare_jobs;
  unsigned jobs_in_flight;
  unsigned syncs_begun, syncs_ended; /* here and at peers: what is to be durable when it is over; the difference is in flight */
  unsigned syncs_judged;             /* of those begun: whether they are waited for awake is decided */
  struct job *batch_first, *batch_last; /* begun in this turn, not yet given to the threads */
  unsigned batch_count;
  struct job *reads_first, *reads_last; /* for the next turn: enough was read in place in this one */
  uint64_t read_in_place;               /* bytes, in this turn */
  unsigned holds; /* who keep the loop alive by `async`: jobs in flight, as one; each of `serves` */
  bool jobs_hold;
  struct serve *serves;
  atomic_bool serves_told; /* a hint, as `some_done` is */
  bool serves_looking, serves_again;
  struct io_pool pool;
};

/* slab.c; a slot is the low part of a handle, 0 is none */
struct slab *slab_take(struct engine *e, size_t size);
void slab_release(struct engine *e, struct slab *s);
void slabs_ahead(struct engine *e); /* once: the memory that is there before it is needed */
uint32_t handle_over(struct engine *e, struct slab *s, uint8_t *data, size_t length); /* takes over a slab reference; 0: none free */
uint32_t handle_allocate(struct engine *e, size_t length);
void handle_release(struct engine *e, uint32_t slot);
void handle_free_slot(struct engine *e, uint32_t slot); /* the last reference is gone and counted */
static inline uint8_t *handle_data(struct engine *e, uint32_t slot) { return e->handles[slot].data; }
static inline uint32_t handle_name(struct engine *e, uint32_t slot) {
  return slot == 0 ? 0 : (e->shared.handle_generation[slot] << HANDLE_SLOT_BITS) | slot;
}

/* engine.c; every event to come has its room promised before what causes it begins */
bool events_promise(struct engine *e);
void events_unpromise(struct engine *e);
void event_request(struct engine *e, uint32_t conn, double id, unsigned cmd, unsigned flags, uint64_t offset, uint64_t length, uint32_t slot);
/* Operation 0 is nobody's. A handle given here goes to TypeScript with its reference. */
void event_done(struct engine *e, double op, int error, double length, uint32_t slot, unsigned value_kind);
void event_closed(struct engine *e, uint32_t conn, int error);
void engine_submit(struct engine *e);
void engine_on_check(uv_check_t *h);
void engine_wake(struct engine *e);
/* While anybody waits for `async`, the loop goes on. */
void engine_hold(struct engine *e);
void engine_let_go(struct engine *e);

/* file.c, pool.c; these return 0 when the operation has begun, else the errno that it ends with */
int leg_open(struct engine *e, int fd, bool device, bool punch, bool zero_range, uint32_t *leg);
bool leg_close(struct engine *e, uint32_t leg); /* true: idle already; else told later */
int leg_read(struct engine *e, double op, uint32_t leg, uint64_t offset, double length);
void leg_reads_go_on(struct engine *e);
int leg_write(struct engine *e, double op, uint32_t leg, uint64_t offset, double length, uint32_t slot, size_t at, bool fua);
int leg_sync(struct engine *e, double op, uint32_t leg);
int leg_zero(struct engine *e, double op, uint32_t leg, uint64_t offset, double length, bool punch, bool fua);
int leg_extents(struct engine *e, double op, uint32_t leg, uint64_t offset, double length);
void leg_release(struct engine *e, struct leg *leg); /* one of its operations is over */
void io_kick(struct engine *e); /* hands what was begun to the threads */
void io_on_done(uv_async_t *h);
void io_watch(struct engine *e, bool on); /* off: takes what is done, since nobody was woken for it */
bool io_look(struct engine *e); /* takes what is done; true when something was */
int io_start(struct engine *e, unsigned threads);
void io_stop(struct engine *e);
void io_free(struct engine *e);

/* lend.c, serve.c: what a thread takes, and where it says what that touches. */
#define SERVE_REFS 4
#define SERVE_READS 0xffffffffu /* src/io/types.ts UNDER_WAY_READ */
#define SERVE_REGIONS_MAX (1u << 28)
#define SERVE_UNDER_WAY_MAX 1024u
/* src/io/serve.ts ServeMarks.asks: how many were asked for, and answered, and a ring of regions. */
#define ASKS_ASKED 0
#define ASKS_ANSWERED 1
#define ASKS_FIRST 2
#define ASKS_MAX 4096u
struct serve_rules {
  uint64_t size, region_bytes;
  uint32_t block_bytes;
  uint32_t *touched;   /* a bit a region of `size` */
  uint32_t *summary;   /* a bit for each 32 words of it, set after theirs */
  uint32_t *allowed;   /* NULL, or a bit a region: it may be written to */
  uint32_t *under_way; /* of these, of one connection: where the write that is under way says so, a word for each of its regions */
  uint32_t under_way_max;
  uint32_t *asks;      /* NULL, or of one connection: where regions that are not allowed are asked for */
  uint32_t asks_max;   /* of them, a power of two */
  uint32_t clients;    /* connections that are served together; 1 without `allowed` */
  napi_ref refs[SERVE_REFS]; /* of the arrays */
};
int serve_begin(struct engine *e, uint32_t conn, uint32_t leg, const struct serve_rules *rules); /* takes over the references when it answers 0 */
void rules_release(napi_env env, struct serve_rules *r);
void serve_end(struct engine *e, double op, uint32_t conn);
void serve_heed(struct engine *e, double op, uint32_t conn); /* done when more is asked for */
void serve_heeded(struct engine *e, uint32_t conn);           /* what was asked for is answered */
double serve_answered(struct engine *e, uint32_t conn);
void serves_look(struct engine *e);
void serves_stop(struct engine *e);

/* send.c */
void sends_look(struct engine *e);
void sends_stop(struct engine *e); /* the environment is going: nothing is settled after this */

/* pressure.c: once touched it stays in memory, where the process has asked for that; 0 or an errno */
int memory_keep(void *at, size_t bytes);
napi_value pressure_init(napi_env env, napi_value exports);

/* conn.c, server.c, client.c: see conn.h */
/* What the handshake, and the session of two of our nodes, have agreed on. Never both extended and sealed. */
struct wire {
  bool server, structured, extended, sealed;
  uint32_t payload_max;
};
uint32_t conn_open(struct engine *e, const struct wire *w, uint32_t requests_max, double bytes_max);
void conn_share(struct engine *e, uint32_t id, double own, double all);
/* Below 0: nothing is expected from its peer; else a count of bytes that stands still as long as the peer does. */
double conn_awaited(struct engine *e, uint32_t id);
void room_look(struct engine *e); /* admits those in line for whom there is room now */
void conn_start(struct engine *e, uint32_t id, int fd, const uint8_t *early, size_t length);
void conn_close_id(struct engine *e, uint32_t id, int error);
void conn_stop_id(struct engine *e, uint32_t id);
void conn_close_all(struct engine *e, int error);
void conns_silence(struct engine *e); /* the environment is going */
void conns_flush(struct engine *e);
bool conn_look(struct engine *e, uint32_t id); /* receives if something has come; false: there is no such connection, or it is not read */
void conn_look_on(struct engine *e, uint32_t id); /* a server's: until nothing comes, or it takes no more for now */
bool conns_look(struct engine *e); /* that at all of them; false: there are too many to ask them all, or they can not be asked */
int conn_send(struct engine *e, double op, uint32_t id, unsigned cmd, unsigned flags, uint64_t offset, uint64_t length, uint32_t slot, size_t at);
int conn_reply(struct engine *e, double op, double req, int error, uint32_t slot, size_t at, uint32_t length);
int conn_reply_status(struct engine *e, double op, double req, uint32_t slot, size_t length);

#endif
