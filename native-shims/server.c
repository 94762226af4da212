/*
 * The server's role: requests out of a byte stream, replies back into it.
 *
 *   header (28, extended 32) --admitted?--> payload where it lies --> REQUEST event          reply: header, data --> out list
 *                               no: stalled at the header
 *
 * Invariants:
 * - a request counts against the connection's limits from its header until its reply is with the kernel; one alone is
 *   always admitted
 * - a stream that lost its place (wrong magic, too long a payload, a damaged header) ends its own connection and nothing else
 * - with checksums, nothing of a request is told before what came of it matches
 * - a request is dead once its connection forgot it: a later reply is ESHUTDOWN
 */
#include <errno.h>
#include "conn.h"

/* The NBD error that says what a local errno means; what NBD has no word for is EIO. */
static uint32_t wire_error(const struct conn *c, int error) {
  /* Only a request that came damaged is answered so: TypeScript makes what a device ends with a number of NBD's. */
  if (error == EBADMSG && c->seal != 0) return EBADMSG;
  switch (error) {
    case 0: case EPERM: case EIO: case ENOMEM: case EINVAL: case ENOSPC: case EOVERFLOW: case ENOTSUP: case ESHUTDOWN: return (uint32_t)error;
    case EACCES: case EROFS: return EPERM;
    case EFBIG: case EDQUOT: return ENOSPC;
    default: return EIO;
  }
}

static struct sreq *request_take(struct conn *c) {
  struct engine *e = c->e;
  uint32_t slot = e->request_free;
  struct sreq *r;

  if (slot != UINT32_MAX) e->request_free = e->requests[slot].next_free;
  else if (e->request_top < REQUESTS_MAX) slot = e->request_top++;
  else return NULL;
  r = &e->requests[slot];
  memset(r, 0, sizeof *r);
  r->conn = c;
  r->next = c->requests;
  if (r->next != NULL) r->next->prev = r;
  c->requests = r;
  c->in_flight += 1;
  e->shared.request_id[slot] = e->request_serial * REQUEST_SLOTS + slot;
  e->shared.request_state[slot] =
      (uint8_t)((c->structured ? REQUEST_STRUCTURED : 0) | (c->extended ? REQUEST_EXTENDED : 0) | (c->seal != 0 ? REQUEST_SEALED : 0));
  e->request_serial = e->request_serial < SERIAL_MAX ? e->request_serial + 1 : 1;
  return r;
}

static void request_give(struct sreq *r) {
  struct conn *c = r->conn;
  struct engine *e = c->e;
  uint32_t slot = (uint32_t)(r - e->requests);

  if (r->prev != NULL) r->prev->next = r->next;
  else c->requests = r->next;
  if (r->next != NULL) r->next->prev = r->prev;
  c->in_flight -= 1;
  room_give(c, r->held);
  r->conn = NULL;
  e->shared.request_id[slot] = 0;
  r->next_free = e->request_free;
  e->request_free = slot;
}

static double request_name(const struct conn *c, const struct sreq *r) { return c->e->shared.request_id[r - c->e->requests]; }

/* One whose payload did not come to its end was never a request. */
static void drop_incoming(struct conn *c) {
  struct sreq *r = c->incoming;

  if (r == NULL) return;
  c->incoming = NULL;
  events_unpromise(c->e);
  request_give(r);
}

void server_stop(struct conn *c) {
  c->receiving = false;
  serve_leave(c);
  drop_incoming(c);
  room_forget(c);
  c->pos = c->fill;
  c->unit = UNIT_HEAD;
  c->need = request_bytes(c) + c->seal;
  /* What still comes is read and thrown away: so the peer's end is noticed, and no unread byte turns our end into a reset. */
  c->stalled = false;
  c->settles = false;
}

void server_forget_unanswered(struct conn *c) {
  struct sreq *next;

  for (struct sreq *r = c->requests; r != NULL; r = next) {
    next = r->next;
    if (!r->replying) request_give(r);
  }
}

static void end_reply(struct conn *c, struct sreq *r, int error) {
  handle_release(c->e, r->slot);
  event_done(c->e, r->op, error, (double)r->length, 0, VALUE_NONE);
  request_give(r);
}

void server_finish(struct conn *c, int error) {
  serve_leave(c);
  drop_incoming(c);
  room_forget(c);
  server_forget_unanswered(c);
  while (c->requests != NULL) end_reply(c, c->requests, error == 0 ? ECONNRESET : error);
}

void server_sent(struct conn *c, struct out *o) {
  c->replying -= 1;
  end_reply(c, (struct sreq *)o, 0);
  if (c->state == CONN_LINGER) {
    if (c->replying == 0 && c->tail == NULL) conn_finish(c, 0);
  } else if (c->stalled) c->read_on = true;
}

/* ---------------------------------------------------------------------------------------------------------- receiving */

static void payload_complete(struct conn *c) {
  struct sreq *r = c->incoming;
  uint32_t seal = r->length > 0 ? c->seal : 0;
  bool damaged = seal != 0 && !is_sealed(0, c->slab->data + c->pos, (size_t)r->length);
  uint32_t slot = damaged ? 0 : conn_slice(c, (size_t)r->length);

  if (slot == 0 && !damaged) {
    conn_close(c, ENOMEM);
    return;
  }
  c->incoming = NULL;
  c->pos += (size_t)r->length + seal;
  c->last_body = (size_t)r->length;
  c->unit = UNIT_HEAD;
  c->need = request_bytes(c) + c->seal;
  event_request(c->e, c->id, request_name(c, r), damaged ? CMD_DAMAGED : r->cmd, c->incoming_flags, r->offset, r->length, slot);
}

static void on_header(struct conn *c, const uint8_t *p) {
  struct engine *e = c->e;
  uint16_t flags = get16(p + 4), cmd = get16(p + 6);
  uint64_t offset = get64(p + 16), length = c->extended ? get64(p + 24) : get32(p + 24);
  bool payload = has_payload(c, cmd, flags);
  uint64_t held = !payload && cmd != CMD_READ ? 0 : length < c->payload_max ? length : c->payload_max;
  struct sreq *r;
  uint32_t slot;

  if (c->seal != 0 && !is_sealed(0, p, request_bytes(c))) {
    conn_close(c, EPROTO);
    return;
  }
  /* With extended headers a WRITE must say that its payload follows. One that does not leaves open what the bytes behind it are. */
  if (get32(p) != (c->extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC) || (payload && length > c->payload_max) || (cmd == CMD_WRITE && !payload)) {
    conn_close(c, EINVAL);
    return;
  }
  if (serve_settles(c, cmd, length)) {
    c->stalled = true;
    return;
  }
  if (c->in_flight > 0 && (c->in_flight >= c->requests_max || c->held + held > c->bytes_max)) {
    c->stalled = true;
    return;
  }
  if (!room_fits(c, held)) {
    c->stalled = true;
    room_wait(c);
    return;
  }
  room_forget(c);
  if (!events_promise(e)) {
    conn_close(c, ENOMEM);
    return;
  }
  r = request_take(c);
  if (r == NULL) {
    events_unpromise(e);
    conn_close(c, ENOMEM);
    return;
  }
  c->pos += request_bytes(c) + c->seal;
  memcpy(r->cookie, p + 8, sizeof r->cookie);
  r->cmd = cmd;
  r->offset = offset;
  r->length = length;
  r->held = held;
  room_hold(c, held);
  slot = (uint32_t)(r - e->requests);
  e->shared.request_cmd[slot] = cmd;
  e->shared.request_length[slot] = (double)length;
  if (payload) {
    c->incoming = r;
    c->incoming_flags = flags;
    c->unit = UNIT_BODY;
    c->need = length > 0 ? (size_t)length + c->seal : 0;
    return;
  }
  c->last_body = 0;
  event_request(e, c->id, request_name(c, r), cmd, flags, offset, length, 0);
  /* The client sends nothing after DISC; requests before it are still answered. */
  if (cmd == CMD_DISC) server_stop(c);
}

void server_parse(struct conn *c) {
  while (c->state == CONN_OPEN && c->receiving && !c->stalled && c->fill - c->pos >= c->need) {
    if (c->unit == UNIT_BODY) payload_complete(c);
    else on_header(c, c->slab->data + c->pos);
  }
}

/* ------------------------------------------------------------------------------------------------------------ replies */

static struct sreq *begin_reply(struct engine *e, double op, double req) {
  double slot = req - (double)(uint64_t)(req / REQUEST_SLOTS) * REQUEST_SLOTS;
  struct sreq *r;

  if (!(slot >= 0 && slot < e->request_top) || req == 0) return NULL;
  r = &e->requests[(uint32_t)slot];
  if (r->conn == NULL || e->shared.request_id[(uint32_t)slot] != req || r->replying) return NULL;
  r->replying = true;
  r->op = op;
  r->conn->replying += 1;
  return r;
}

/* Answers where the first `fixed` bytes of the chunk's payload of `length` go. */
static uint8_t *put_chunk(struct sreq *r, unsigned type, uint32_t length, unsigned fixed) {
  uint8_t *p = r->out.head;
  unsigned head = chunk_bytes(r->conn);

  put32(p, r->conn->extended ? EXTENDED_CHUNK_MAGIC : CHUNK_MAGIC);
  put16(p + 4, REPLY_FLAG_DONE);
  put16(p + 6, (uint16_t)type);
  memcpy(p + 8, r->cookie, sizeof r->cookie);
  if (r->conn->extended) {
    put64(p + 16, r->offset);
    put64(p + 24, length);
  } else put32(p + 16, length);
  head = seal_head(r->conn, &r->out, 0, head);
  r->out.head_length = (uint8_t)(head + fixed);
  return p + head;
}

static void put_simple(struct sreq *r, uint32_t error) {
  put32(r->out.head, SIMPLE_REPLY_MAGIC);
  put32(r->out.head + 4, error);
  memcpy(r->out.head + 8, r->cookie, sizeof r->cookie);
  r->out.head_length = seal_head(r->conn, &r->out, 0, SIMPLE_REPLY_BYTES);
}

int conn_reply(struct engine *e, double op, double req, int error, uint32_t slot, size_t at, uint32_t length) {
  struct sreq *r = begin_reply(e, op, req);
  uint32_t crc = 0;
  uint8_t *p;

  if (r == NULL) return ESHUTDOWN;
  r->out.data_length = 0;
  if (!r->conn->structured) put_simple(r, wire_error(r->conn, error));
  else if (error != 0) {
    p = put_chunk(r, CHUNK_ERROR, ERROR_BYTES, ERROR_BYTES);
    put32(p, wire_error(r->conn, error));
    put16(p + 4, 0);
    r->out.head_length = seal_head(r->conn, &r->out, (size_t)(p - r->out.head), r->out.head_length);
  } else if (slot != 0) {
    p = put_chunk(r, CHUNK_OFFSET_DATA, OFFSET_DATA_BYTES + length, OFFSET_DATA_BYTES);
    put64(p, r->offset);
    if (r->conn->seal != 0) crc = crc_update(0, p, OFFSET_DATA_BYTES);
  } else put_chunk(r, CHUNK_NONE, 0, 0);
  if (slot != 0) {
    r->slot = slot;
    r->out.data = handle_data(e, slot) + at;
    r->out.data_length = length;
    seal_data(r->conn, &r->out, crc);
  }
  conn_push(r->conn, &r->out);
  return 0;
}

/* The handle holds whole chunks, headers and all, but for the cookie, and the offset that extended ones repeat; with checksums there is room for them. */
int conn_reply_status(struct engine *e, double op, double req, uint32_t slot, size_t length) {
  struct sreq *r = begin_reply(e, op, req);
  uint8_t *data;
  uint32_t head;

  if (r == NULL) return ESHUTDOWN;
  data = handle_data(e, slot);
  head = chunk_bytes(r->conn);
  for (size_t at = 0; at + head <= length;) {
    uint8_t *payload = data + at + head + r->conn->seal;
    size_t bytes = r->conn->extended ? (size_t)get64(data + at + 24) : get32(data + at + 16);
    memcpy(data + at + 8, r->cookie, sizeof r->cookie);
    if (r->conn->extended) put64(data + at + 16, r->offset);
    if (r->conn->seal != 0) {
      put32(data + at + head, crc_update(0, data + at, head));
      put32(payload + bytes, crc_update(0, payload, bytes));
    }
    at += head + bytes + 2 * r->conn->seal;
  }
  r->held += length;
  room_hold(r->conn, length);
  r->slot = slot;
  r->out.head_length = 0;
  r->out.data = data;
  r->out.data_length = length;
  conn_push(r->conn, &r->out);
  return 0;
}
