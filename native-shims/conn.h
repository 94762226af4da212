/* What connections' parts share: the socket's side (conn.c), and the two roles (server.c, client.c). */
#ifndef NETRAID_CONN_H
#define NETRAID_CONN_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "crc.h"
#include "engine.h"
#include "ktls.h"

#define REQUEST_BYTES 28u
#define EXTENDED_REQUEST_BYTES 32u
#define SIMPLE_REPLY_BYTES 16u
#define CHUNK_BYTES 20u
#define EXTENDED_CHUNK_BYTES 32u
#define OFFSET_DATA_BYTES 8u
#define OFFSET_HOLE_BYTES 12u
#define ERROR_BYTES 6u
/* After each header and payload of a connection with checksums (src/nbd/wire/checksums.ts). */
#define SEAL_BYTES 4u
#define HEAD_MOST_BYTES 40u
/* Payloads from here on are long: received each by itself, of a client that is alone served by nobody without asking, and nothing to wait awake for. */
#define LONG_BODY_BYTES (48u * 1024)

/* Parts of one gathered send. */
#define IOV_MOST 128

#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_REPLY_MAGIC 0x67446698u
#define CHUNK_MAGIC 0x668e33efu
#define EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define EXTENDED_CHUNK_MAGIC 0x6e8a278cu

enum { CMD_READ = 0, CMD_WRITE = 1, CMD_DISC = 2, CMD_FLUSH = 3, CMD_BLOCK_STATUS = 7 };
enum { CMD_FLAG_FUA = 1 << 0, CMD_FLAG_PAYLOAD_LEN = 1 << 5 };
/* The engine's own word, see checksums.ts. */
enum { CMD_DAMAGED = 0xffff };
enum { REPLY_FLAG_DONE = 1 };
enum { CHUNK_NONE = 0, CHUNK_OFFSET_DATA = 1, CHUNK_OFFSET_HOLE = 2, CHUNK_BLOCK_STATUS = 5, CHUNK_BLOCK_STATUS_EXT = 6, CHUNK_ERROR_FLAG = 1 << 15, CHUNK_ERROR = (1 << 15) + 1 };

static inline ssize_t socket_recv(int fd, bool ktls, void *into, size_t length) {
  return ktls ? ktls_recv(fd, into, length) : recv(fd, into, length, MSG_DONTWAIT);
}

/* All of NBD is big-endian. */
static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static inline uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }
static inline void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static inline void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)(v >> 16)); put16(p + 2, (uint16_t)v); }
static inline void put64(uint8_t *p, uint64_t v) { put32(p, (uint32_t)(v >> 32)); put32(p + 4, (uint32_t)v); }

/* Something to send: a header, and bytes of a handle, and their checksum (the header's is part of it). First member of the request that it belongs to. */
struct out {
  struct out *next;
  const uint8_t *data;
  size_t data_length;
  uint8_t head_length, tail_length;
  uint8_t head[HEAD_MOST_BYTES];
  uint8_t tail[SEAL_BYTES];
};

/* A request that a server connection received. */
struct sreq {
  struct out out;
  struct conn *conn; /* NULL: free */
  struct sreq *prev, *next; /* of its connection */
  uint8_t cookie[8];
  uint64_t offset;
  uint64_t held;
  double op;
  uint64_t length;
  uint32_t slot; /* the reply's bytes */
  uint32_t next_free;
  uint16_t cmd;
  bool replying;
};

struct span { uint32_t from, to; };

/* A request that a client connection sends. */
struct creq {
  struct out out;
  struct creq *next; /* waiting, or spare */
  double op;
  uint64_t offset;
  uint64_t length;
  uint32_t held;
  uint32_t place; /* among those in flight */
  uint32_t serial;
  uint32_t payload; /* slot */
  uint32_t data;    /* slot */
  uint32_t server_error;
  uint16_t cmd;
  uint16_t flags;
  bool in_flight, sent, replied;
  /* Which bytes of a READ's answer have come, sorted, apart from each other. */
  struct span *covered;
  uint32_t covered_count, covered_cap;
  /* Block status as it came: for each context its kind of chunk and the length of its payload (4 bytes each, big-endian), and the payload. */
  uint8_t *status;
  size_t status_length;
  uint32_t status_contexts, status_descriptors;
};

enum conn_state { CONN_OPEN, CONN_LINGER, CONN_CLOSED };
/* What the bytes at `pos` are. `need` of them must lie together before they are looked at. */
enum unit { UNIT_HEAD, UNIT_BODY, UNIT_COPY, UNIT_SEAL };
enum body { BODY_DATA, BODY_PAYLOAD };

struct conn {
  struct engine *e;
  uint32_t id;
  bool server;
  bool structured;
  bool extended; /* headers of 32 bytes, lengths of 64 bits; then structured too */
  uint32_t seal; /* SEAL_BYTES, or 0 without checksums */
  uint32_t payload_max;
  uint32_t requests_max;
  uint64_t bytes_max;
  enum conn_state state;

  int fd; /* -1: not yet started, or over */
  bool ktls; /* the kernel secures it */
  bool end_said; /* of TLS */
  uv_poll_t poll;
  uv_timer_t timer;
  bool poll_open;
  int mask;
  int closing_handles;
  bool eof;
  bool blocked;   /* the kernel takes no more for now */
  bool draining;  /* CLOSED was told; what was sent before, and the peer's end, are waited for */
  bool read_on;
  bool abrupt;    /* no drain: a payload was cut off in the middle */
  bool is_dirty;
  struct conn *next_dirty;
  struct conn *all_prev, *all_next;

  struct slab *slab;
  size_t pos, fill, need;
  enum unit unit;
  size_t last_body;

  struct out *out_first, *out_last;
  size_t out_sent; /* of the first */
  struct send *send; /* what a thread was given of it (send.c); NULL: nothing ever */
  bool gives;        /* long sends to such a thread */
  uint8_t *tail;   /* of a client, headers that leave after CLOSED was told; of a server, answers that a thread of serve.c has left: they leave first */
  size_t tail_length, tail_sent;

  uint32_t in_flight;
  uint64_t held;
  double moved; /* bytes that came and went: it stands still as long as the peer does */

  /* server */
  struct sreq *requests;
  uint32_t replying;
  bool receiving;
  bool stalled;
  bool settles;        /* stalled until all of it is answered: it is to be lent then */
  uint32_t long_reads; /* that a thread could have answered without a copy, since it was lent last */
  struct sreq *incoming;
  uint16_t incoming_flags;
  uint64_t room_own, room_max; /* of what all hold together; 0: it takes no part */
  bool room_waits;
  struct conn *room_next;
  struct seat *seat;   /* whose thread takes its plain requests (serve.c) */
  bool lent;           /* the socket, to that thread */
  bool keep;           /* it met the stream's end or an error: that is for here */
  bool was_served;     /* a duplicate of the descriptor may still be open */

  /* client */
  struct creq **places;
  uint32_t places_cap;
  uint32_t *free_places;
  uint32_t free_count;
  uint32_t serial;
  struct creq *waiting_first, *waiting_last;
  struct creq *answered; /* whose answer is coming in */
  uint32_t told_when_sent; /* of those in the out list: answered already, or never to be */
  enum body body;
  uint16_t chunk_type, chunk_flags;
  bool copy_is_last; /* a simple reply's data: the answer is complete after it */
  uint8_t *copy_to;
  size_t copy_left;
  uint32_t crc; /* of the payload so far */
};

static inline uint32_t request_bytes(const struct conn *c) { return c->extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES; }
static inline uint32_t chunk_bytes(const struct conn *c) { return c->extended ? EXTENDED_CHUNK_BYTES : CHUNK_BYTES; }
/* Nothing follows DISC that would be looked at. */
static inline bool has_payload(const struct conn *c, unsigned cmd, unsigned flags) {
  return c->extended ? (flags & CMD_FLAG_PAYLOAD_LEN) != 0 && cmd != CMD_DISC : cmd == CMD_WRITE;
}
/* Whether the checksum behind these bytes is theirs; begun with what came before them. */
static inline bool is_sealed(uint32_t crc, const uint8_t *p, size_t length) { return crc_update(crc, p, length) == get32(p + length); }
/* Puts one behind what stands in the header from `from` on; returns the length with it. */
static inline uint8_t seal_head(const struct conn *c, struct out *o, size_t from, size_t length) {
  if (c->seal == 0) return (uint8_t)length;
  put32(o->head + length, crc_update(0, o->head + from, length - from));
  return (uint8_t)(length + SEAL_BYTES);
}
static inline void seal_data(const struct conn *c, struct out *o, uint32_t crc) {
  o->tail_length = c->seal != 0 && o->data_length > 0 ? SEAL_BYTES : 0;
  if (o->tail_length > 0) put32(o->tail, crc_update(crc, o->data, o->data_length));
}

/* conn.c */
struct conn *conn_find(struct engine *e, uint32_t id);
void conn_push(struct conn *c, struct out *o);
void conn_flush(struct conn *c);
bool conn_room(struct conn *c, size_t need); /* false: no memory, and the connection is closed */
/* A part of the slab at `pos` as a handle; 0: no memory. */
uint32_t conn_slice(struct conn *c, size_t length);
void conn_finish(struct conn *c, int error);
void conn_close(struct conn *c, int error);

void conn_hot(struct conn *c); /* what it brings is waited for awake */
void conn_update(struct conn *c); /* polls for what is wanted now */
bool conn_owe(struct conn *c, const uint8_t *answers, size_t length); /* to be sent before all else; false: no memory, and it is closed */
void conn_resume(struct conn *c, const uint8_t *bytes, size_t length); /* received for it by others; it is to be flushed then */

bool conn_may_lend(const struct conn *c); /* nothing of it is in hand, but for what is not parsed */
void conn_dirty(struct conn *c); /* it is flushed in this turn of the loop */
void conn_emptied(struct conn *c); /* all that it had received is elsewhere */

void conn_settled(struct conn *c, ssize_t bytes, int error); /* how a send has gone that was given; it may be over by that */

/* send.c */
bool send_give(struct conn *c, const struct iovec *parts, size_t count, bool all); /* `all`: of the out list; false: it is to be sent here */
bool send_settle(struct conn *c); /* true: nothing is under way, and what was is settled; it may be over by that */
bool send_has_all(const struct conn *c); /* of the out list */
void send_heed(struct conn *c); /* it is settled when it has ended; now, if it has */
void send_wait(struct conn *c); /* for as long as a call takes that does not block; what was not begun is not */
void send_end(struct conn *c); /* the same, and what has left is settled; why no more has is nobody's concern */

/* lend.c */
bool serve_settles(struct conn *c, uint16_t cmd, uint64_t length); /* before a request that is not parsed: true: that waits, for it is to be lent first */
bool serve_settled(struct conn *c); /* what it was stalled for may be over; false: it was not for that */
bool serve_takes_long(const struct conn *c); /* payloads of LONG_BODY_BYTES and more */
void serve_lend(struct conn *c); /* with those that are served together with it, where nothing of any is in hand */
void serve_recall(struct conn *c); /* lent: it is to be given back, and not lent any more */
void serve_leave(struct conn *c); /* the connection ends, or takes nothing more */
double serve_awaited(const struct conn *c);

/* room.c */
bool room_fits(const struct conn *c, uint64_t bytes);
void room_hold(struct conn *c, uint64_t bytes);
void room_give(struct conn *c, uint64_t bytes);
void room_wait(struct conn *c);
void room_forget(struct conn *c);

/* server.c */
void server_parse(struct conn *c);
void server_sent(struct conn *c, struct out *o);
void server_stop(struct conn *c);
void server_forget_unanswered(struct conn *c);
void server_finish(struct conn *c, int error);

/* client.c */
void client_parse(struct conn *c);
void client_sent(struct conn *c, struct out *o);
bool client_payload_unsent(struct conn *c);
void client_finish(struct conn *c, int error);

#endif
