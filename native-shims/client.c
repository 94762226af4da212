/*
 * The client's role: many requests in flight, answers in any order.
 *
 *   send -> room? -> out list -> socket          cookie = (serial, place)
 *            no: waiting                           |
 *   DONE <-- creq <-- client_parse <-- slab <-- socket
 *
 * Invariants:
 * - an operation is done once its answer is complete and its payload has left: a server may refuse a WRITE early
 * - a successful READ has every byte from the server: one piece that is the whole answer stays where it was received, pieces
 *   are put together in a handle of their own; a gap, an overlap or anything malformed ends the connection with EINVAL
 * - every length and offset is checked before a byte is stored or room is made for it
 * - with checksums, a damaged header ends the connection with EPROTO, and a READ whose data was damaged ends with EBADMSG
 */
#include <errno.h>
#include <stdlib.h>
#include "conn.h"

/* An error is a number, a message of at most a string's length, and at most an offset. */
#define ERROR_PAYLOAD_MAX_BYTES (ERROR_BYTES + 4096u + 8u)
/* What a server should not exceed in one chunk; and of all chunks of an answer, which may be of several contexts. */
#define STATUS_CHUNK_DESCRIPTORS_MAX (1u << 20)
#define STATUS_DESCRIPTORS_MAX (2u << 20)
#define CONTEXTS_MAX 64u
/* Pieces of one answer apart from each other. */
#define SPANS_MAX 4096u

static struct creq *creq_take(struct engine *e) {
  struct creq *r = e->spare_creqs;
  struct span *covered;
  uint32_t cap;

  if (r == NULL) return calloc(1, sizeof *r);
  e->spare_creqs = r->next;
  covered = r->covered;
  cap = r->covered_cap;
  memset(r, 0, sizeof *r);
  r->covered = covered;
  r->covered_cap = cap;
  return r;
}

static void creq_give(struct engine *e, struct creq *r) {
  free(r->status);
  r->status = NULL;
  r->next = e->spare_creqs;
  e->spare_creqs = r;
}

static bool is_sync(const struct creq *r) { return r->cmd == CMD_FLUSH || (r->flags & CMD_FLAG_FUA) != 0; }

/* Takes `error` for the whole operation unless it is 0; the request's record is gone afterwards. */
static void retire(struct conn *c, struct creq *r, int error) {
  struct engine *e = c->e;
  uint32_t given = 0;
  unsigned value = VALUE_NONE;

  handle_release(e, r->payload);
  if (r->in_flight) {
    c->places[r->place] = NULL;
    c->free_places[c->free_count++] = r->place;
    c->in_flight -= 1;
    e->asked -= 1;
    if (is_sync(r)) e->syncs_ended += 1;
    c->held -= r->held;
  }
  if (error == 0 && r->status != NULL) {
    given = handle_allocate(e, r->status_length);
    value = VALUE_STATUS;
    if (given == 0) error = ENOMEM;
    else memcpy(handle_data(e, given), r->status, r->status_length);
  } else if (error == 0) given = r->data;
  if (r->data != given) handle_release(e, r->data);
  event_done(e, r->op, error, (double)r->length, given, error == 0 ? value : VALUE_NONE);
  creq_give(e, r);
}

static bool has_room(const struct conn *c, const struct creq *r) {
  return c->in_flight == 0 || (c->in_flight < c->requests_max && c->held + r->held <= c->bytes_max);
}

static bool grow_places(struct conn *c) {
  uint32_t cap = c->places_cap == 0 ? 64 : c->places_cap * 2;
  struct creq **places = realloc(c->places, cap * sizeof(*places));
  uint32_t *free_places;

  if (places == NULL) return false;
  c->places = places;
  free_places = realloc(c->free_places, cap * sizeof(*free_places));
  if (free_places == NULL) return false;
  c->free_places = free_places;
  for (uint32_t i = cap; i > c->places_cap; i -= 1) {
    places[i - 1] = NULL;
    free_places[c->free_count++] = i - 1;
  }
  c->places_cap = cap;
  return true;
}

static void transmit(struct conn *c, struct creq *r) {
  uint8_t *p = r->out.head;

  if (c->free_count == 0 && !grow_places(c)) {
    retire(c, r, ENOMEM);
    return;
  }
  r->place = c->free_places[--c->free_count];
  c->places[r->place] = r;
  r->in_flight = true;
  c->serial += 1;
  r->serial = c->serial;
  c->in_flight += 1;
  c->e->asked += 1;
  if (is_sync(r)) {
    c->e->syncs_begun += 1;
    conn_hot(c);
  }
  c->held += r->held;
  put32(p, c->extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC);
  put16(p + 4, r->flags);
  put16(p + 6, r->cmd);
  put32(p + 8, r->serial);
  put32(p + 12, r->place);
  put64(p + 16, r->offset);
  if (c->extended) put64(p + 24, r->length);
  else put32(p + 24, (uint32_t)r->length);
  r->out.head_length = seal_head(c, &r->out, 0, request_bytes(c));
  seal_data(c, &r->out, 0);
  /* DISC has no reply: it is done when it has left. */
  r->replied = r->cmd == CMD_DISC;
  if (r->replied) c->told_when_sent += 1;
  conn_push(c, &r->out);
}

int conn_send(struct engine *e, double op, uint32_t id, unsigned cmd, unsigned flags, uint64_t offset, uint64_t length, uint32_t slot, size_t at) {
  struct conn *c = conn_find(e, id);
  struct creq *r;
  bool carries;

  if (c == NULL || c->server || c->state != CONN_OPEN) return ESHUTDOWN;
  if (cmd == CMD_WRITE && c->extended) flags |= CMD_FLAG_PAYLOAD_LEN;
  carries = cmd == CMD_READ || has_payload(c, cmd, flags);
  if (slot != 0 && !has_payload(c, cmd, flags)) return EINVAL;
  if (length > (carries ? c->payload_max : c->extended ? UINT64_MAX : UINT32_MAX)) return EINVAL;
  r = creq_take(e);
  if (r == NULL) return ENOMEM;
  r->op = op;
  r->cmd = (uint16_t)cmd;
  r->flags = (uint16_t)flags;
  r->offset = offset;
  r->length = length;
  r->held = carries ? (uint32_t)length : 0;
  r->payload = slot;
  if (slot != 0) {
    r->out.data = handle_data(e, slot) + at;
    r->out.data_length = (size_t)length;
  }
  if (c->waiting_first == NULL && has_room(c, r)) transmit(c, r);
  else {
    if (c->waiting_first == NULL) c->waiting_first = r;
    else c->waiting_last->next = r;
    c->waiting_last = r;
  }
  return 0;
}

static void finish_request(struct conn *c, struct creq *r) {
  retire(c, r, (int)r->server_error);
  while (c->waiting_first != NULL && has_room(c, c->waiting_first)) {
    r = c->waiting_first;
    c->waiting_first = r->next;
    r->next = NULL;
    transmit(c, r);
  }
}

void client_sent(struct conn *c, struct out *o) {
  struct creq *r = (struct creq *)o;

  r->sent = true;
  handle_release(c->e, r->payload);
  r->payload = 0;
  if (!r->replied) return;
  c->told_when_sent -= 1;
  finish_request(c, r);
}

bool client_payload_unsent(struct conn *c) {
  for (struct out *o = c->out_first; o != NULL; o = o->next) {
    if (o->data_length > 0) return true;
  }
  return false;
}

/* Headers that have not left yet, such as DISC, still do after an orderly close. */
static void keep_tail(struct conn *c) {
  size_t length = 0, skip = c->out_sent;

  for (struct out *o = c->out_first; o != NULL; o = o->next) length += o->head_length;
  if (length == 0) return;
  c->tail = malloc(length);
  if (c->tail == NULL) {
    c->abrupt = true;
    return;
  }
  for (struct out *o = c->out_first; o != NULL; o = o->next) {
    memcpy(c->tail + c->tail_length, o->head + skip, o->head_length - skip);
    c->tail_length += o->head_length - skip;
    skip = 0;
  }
}

void client_finish(struct conn *c, int error) {
  int why = error == 0 ? ESHUTDOWN : error;

  if (error == 0 && client_payload_unsent(c)) c->abrupt = true;
  else if (error == 0) keep_tail(c);
  for (uint32_t i = 0; i < c->places_cap; i += 1) {
    if (c->places[i] != NULL) retire(c, c->places[i], why);
  }
  while (c->waiting_first != NULL) {
    struct creq *r = c->waiting_first;
    c->waiting_first = r->next;
    retire(c, r, why);
  }
}

/* ------------------------------------------------------------------------------------------------------------ answers */

static void malformed(struct conn *c) { conn_close(c, EINVAL); }

static void damaged(struct conn *c) { conn_close(c, EPROTO); }

static void next_reply(struct conn *c) {
  c->answered = NULL;
  c->unit = UNIT_HEAD;
  c->need = 4;
}

/* 0; EINVAL when some of it had come before; ENOMEM. */
static int cover(struct creq *r, uint32_t from, uint32_t to) {
  uint32_t i = r->covered_count;
  bool joins_before, joins_after;

  while (i > 0 && r->covered[i - 1].from >= from) i -= 1;
  if ((i > 0 && r->covered[i - 1].to > from) || (i < r->covered_count && r->covered[i].from < to)) return EINVAL;
  joins_before = i > 0 && r->covered[i - 1].to == from;
  joins_after = i < r->covered_count && r->covered[i].from == to;
  if (joins_before && joins_after) {
    r->covered[i - 1].to = r->covered[i].to;
    memmove(r->covered + i, r->covered + i + 1, (r->covered_count - i - 1) * sizeof *r->covered);
    r->covered_count -= 1;
  } else if (joins_before) r->covered[i - 1].to = to;
  else if (joins_after) r->covered[i].from = from;
  else {
    if (r->covered_count == r->covered_cap) {
      uint32_t cap = r->covered_cap == 0 ? 8 : r->covered_cap * 2;
      struct span *bigger = cap > SPANS_MAX ? NULL : realloc(r->covered, cap * sizeof *bigger);
      if (bigger == NULL) return ENOMEM;
      r->covered = bigger;
      r->covered_cap = cap;
    }
    memmove(r->covered + i + 1, r->covered + i, (r->covered_count - i) * sizeof *r->covered);
    r->covered[i].from = from;
    r->covered[i].to = to;
    r->covered_count += 1;
  }
  return 0;
}

/* Room for a piece of the answer, checked; false: the connection is closed. */
static bool place_piece(struct conn *c, struct creq *r, uint64_t offset, uint32_t length) {
  int error = EINVAL;

  if (offset >= r->offset && length <= r->length && offset - r->offset <= r->length - length) {
    uint32_t from = (uint32_t)(offset - r->offset);
    error = length == 0 ? 0 : cover(r, from, from + length);
    if (error == 0 && r->data == 0) {
      r->data = handle_allocate(c->e, (size_t)r->length);
      if (r->data == 0) error = ENOMEM;
    }
  }
  if (error == 0) return true;
  conn_close(c, error);
  return false;
}

static void replied(struct conn *c, struct creq *r) {
  if (r->server_error == 0) {
    bool whole = r->length == 0 || (r->covered_count == 1 && r->covered[0].from == 0 && r->covered[0].to == r->length);
    if ((r->cmd == CMD_READ && !whole) || (r->cmd == CMD_BLOCK_STATUS && r->status == NULL)) {
      malformed(c);
      return;
    }
    if (r->cmd == CMD_READ && r->data == 0) {
      r->data = handle_allocate(c->e, 0);
      if (r->data == 0) {
        conn_close(c, ENOMEM);
        return;
      }
    }
  }
  next_reply(c);
  r->replied = true;
  if (r->sent) {
    finish_request(c, r);
    return;
  }
  c->told_when_sent += 1;
  /* Perhaps it has, and nobody has looked. */
  send_heed(c);
}

static void chunk_complete(struct conn *c, struct creq *r) {
  if ((c->chunk_flags & REPLY_FLAG_DONE) != 0) replied(c, r);
  else next_reply(c);
}

/* Data of the answer follows: in place when it is all of it, else copied piece by piece. */
static void expect_data(struct conn *c, struct creq *r, uint64_t offset, uint32_t length) {
  if (length > 0 && length == r->length && offset == r->offset && r->covered_count == 0 && r->data == 0) {
    c->unit = UNIT_BODY;
    c->body = BODY_DATA;
    c->need = length + c->seal;
    return;
  }
  if (!place_piece(c, r, offset, length)) return;
  c->unit = UNIT_COPY;
  c->need = length > 0 ? 1 : 0;
  c->copy_to = length > 0 ? handle_data(c->e, r->data) + (offset - r->offset) : NULL;
  c->copy_left = length;
}

static void data_complete(struct conn *c, struct creq *r, bool well) {
  if (!well && r->server_error == 0) r->server_error = EBADMSG;
  if (c->copy_is_last) replied(c, r);
  else chunk_complete(c, r);
}

static struct creq *find_request(struct conn *c, const uint8_t *cookie) {
  uint32_t serial = get32(cookie), place = get32(cookie + 4);
  struct creq *r = place < c->places_cap ? c->places[place] : NULL;

  return r != NULL && r->serial == serial && !r->replied ? r : NULL;
}

static void on_simple(struct conn *c, const uint8_t *p) {
  uint32_t error = get32(p + 4);
  struct creq *r = find_request(c, p + 8);
  bool has_pieces = r != NULL && (r->data != 0 || r->server_error != 0 || r->status != NULL);
  bool must_be_chunks = r != NULL && (r->cmd == CMD_BLOCK_STATUS || (r->cmd == CMD_READ && c->structured));

  if (r == NULL || has_pieces || (must_be_chunks && error == 0)) {
    malformed(c);
    return;
  }
  c->pos += SIMPLE_REPLY_BYTES + c->seal;
  c->answered = r;
  c->crc = 0;
  r->server_error = error;
  c->last_body = 0;
  if (error == 0 && r->cmd == CMD_READ) {
    c->copy_is_last = true;
    c->last_body = (size_t)r->length;
    expect_data(c, r, r->offset, (uint32_t)r->length);
  } else replied(c, r);
}

static void on_chunk(struct conn *c, const uint8_t *p, size_t available) {
  uint16_t flags = get16(p + 4), type = get16(p + 6);
  uint64_t length = c->extended ? get64(p + 24) : get32(p + 16);
  uint32_t head = chunk_bytes(c) + c->seal;
  struct creq *r = find_request(c, p + 8);
  bool fits = false;

  if (r == NULL || (c->extended && get64(p + 16) != r->offset)) {
    malformed(c);
    return;
  }
  c->chunk_flags = flags;
  c->chunk_type = type;
  c->copy_is_last = false;
  if ((type & CHUNK_ERROR_FLAG) != 0) fits = length >= ERROR_BYTES && length <= ERROR_PAYLOAD_MAX_BYTES;
  else if (type == CHUNK_NONE) fits = length == 0 && (flags & REPLY_FLAG_DONE) != 0;
  else if (type == CHUNK_OFFSET_DATA && r->cmd == CMD_READ) fits = length > OFFSET_DATA_BYTES && length - OFFSET_DATA_BYTES <= r->length;
  else if (type == CHUNK_OFFSET_HOLE && r->cmd == CMD_READ) fits = length == OFFSET_HOLE_BYTES;
  else if (type == CHUNK_BLOCK_STATUS && r->cmd == CMD_BLOCK_STATUS) fits = length >= 1 && length <= 4 + STATUS_CHUNK_DESCRIPTORS_MAX * 8;
  else if (type == CHUNK_BLOCK_STATUS_EXT && r->cmd == CMD_BLOCK_STATUS && c->extended) fits = length >= 1 && length <= 8 + STATUS_CHUNK_DESCRIPTORS_MAX * 16;
  if (!fits) {
    malformed(c);
    return;
  }
  if (type == CHUNK_OFFSET_DATA) {
    if (available < head + OFFSET_DATA_BYTES) {
      c->need = head + OFFSET_DATA_BYTES;
      return;
    }
    c->pos += head + OFFSET_DATA_BYTES;
    c->crc = c->seal != 0 ? crc_update(0, p + head, OFFSET_DATA_BYTES) : 0;
    c->answered = r;
    c->last_body = (size_t)length;
    expect_data(c, r, get64(p + head), (uint32_t)(length - OFFSET_DATA_BYTES));
    return;
  }
  c->pos += head;
  c->answered = r;
  c->last_body = 0;
  if (type == CHUNK_NONE) chunk_complete(c, r);
  else {
    c->unit = UNIT_BODY;
    c->body = BODY_PAYLOAD;
    c->need = (size_t)length + c->seal;
  }
}

/* False: malformed, or no memory. What may pass here is what src/nbd/wire decodes. */
static bool add_status(struct creq *r, unsigned type, const uint8_t *p, uint32_t length) {
  bool extended = type == CHUNK_BLOCK_STATUS_EXT;
  uint32_t first = extended ? 8 : 4, each = extended ? 16 : 8, count = length < first ? 0 : (length - first) / each;
  uint8_t *bigger;

  if (count == 0 || first + count * each != length || r->status_contexts >= CONTEXTS_MAX) return false;
  if (extended && get32(p + 4) != 0 && get32(p + 4) != count) return false;
  if (r->status_descriptors + count > STATUS_DESCRIPTORS_MAX) return false;
  for (uint32_t at = first; at < length; at += each) {
    if (extended ? get64(p + at) == 0 : get32(p + at) == 0) return false;
  }
  for (size_t at = 0; at < r->status_length; at += 8 + get32(r->status + at + 4)) {
    if (get32(r->status + at + 8) == get32(p)) return false;
  }
  bigger = realloc(r->status, r->status_length + 8 + length);
  if (bigger == NULL) return false;
  r->status = bigger;
  put32(bigger + r->status_length, type);
  put32(bigger + r->status_length + 4, length);
  memcpy(bigger + r->status_length + 8, p, length);
  r->status_length += 8 + (size_t)length;
  r->status_contexts += 1;
  r->status_descriptors += count;
  return true;
}

static void on_payload(struct conn *c, struct creq *r, const uint8_t *p, uint32_t length) {
  if (c->seal != 0 && !is_sealed(0, p, length)) {
    damaged(c);
    return;
  }
  c->pos += length + c->seal;
  if ((c->chunk_type & CHUNK_ERROR_FLAG) != 0) {
    uint32_t error = get32(p);
    if ((uint32_t)ERROR_BYTES + get16(p + 4) > length) {
      malformed(c);
      return;
    }
    if (r->server_error == 0) r->server_error = error == 0 ? EINVAL : error;
  } else if (c->chunk_type == CHUNK_OFFSET_HOLE) {
    uint64_t offset = get64(p);
    uint32_t bytes = get32(p + 8);
    if (bytes == 0) {
      malformed(c);
      return;
    }
    if (!place_piece(c, r, offset, bytes)) return;
    memset(handle_data(c->e, r->data) + (offset - r->offset), 0, bytes);
  } else if (!add_status(r, c->chunk_type, p, length)) {
    malformed(c);
    return;
  }
  chunk_complete(c, r);
}

static void on_body(struct conn *c, const uint8_t *p) {
  struct creq *r = c->answered;
  uint32_t length = (uint32_t)c->need - c->seal;

  if (c->body == BODY_PAYLOAD) {
    on_payload(c, r, p, length);
    return;
  }
  if (c->seal != 0 && !is_sealed(c->crc, p, length)) {
    c->pos += length + c->seal;
    data_complete(c, r, false);
    return;
  }
  int error = cover(r, 0, length);
  if (error == 0) {
    r->data = conn_slice(c, length);
    if (r->data == 0) error = ENOMEM;
  }
  if (error != 0) {
    conn_close(c, error);
    return;
  }
  c->pos += length + c->seal;
  data_complete(c, r, true);
}

static void on_head(struct conn *c, const uint8_t *p, size_t available) {
  uint32_t magic = get32(p);
  bool simple = magic == SIMPLE_REPLY_MAGIC && !c->extended;
  bool chunk = c->extended ? magic == EXTENDED_CHUNK_MAGIC : magic == CHUNK_MAGIC && c->structured;
  size_t whole = simple ? SIMPLE_REPLY_BYTES : chunk_bytes(c);

  if (!simple && !chunk) {
    if (c->seal != 0) damaged(c);
    else malformed(c);
  } else if (available < whole + c->seal) c->need = whole + c->seal;
  else if (c->seal != 0 && !is_sealed(0, p, whole)) damaged(c);
  else if (simple) on_simple(c, p);
  else on_chunk(c, p, available);
}

void client_parse(struct conn *c) {
  while (c->state == CONN_OPEN && c->fill - c->pos >= c->need) {
    size_t available = c->fill - c->pos;
    const uint8_t *p = c->slab->data + c->pos;

    if (c->unit == UNIT_HEAD) on_head(c, p, available);
    else if (c->unit == UNIT_BODY) on_body(c, p);
    else if (c->unit == UNIT_SEAL) {
      c->pos += SEAL_BYTES;
      data_complete(c, c->answered, get32(p) == c->crc);
    } else {
      size_t n = available < c->copy_left ? available : c->copy_left;
      if (n > 0) memcpy(c->copy_to, p, n);
      if (c->seal != 0) c->crc = crc_update(c->crc, p, n);
      c->copy_to += n;
      c->copy_left -= n;
      c->pos += n;
      if (c->copy_left > 0) continue;
      if (c->seal != 0 && c->answered->length > 0) {
        c->unit = UNIT_SEAL;
        c->need = SEAL_BYTES;
      } else data_complete(c, c->answered, true);
    }
  }
}
