/*
 * What the requests of clients may hold in all. Many clients that ask for much and read nothing would each fill its own limit.
 *
 *   header --in its own part, or in the room?--> admitted          given back --> those that wait, in their order
 *                 no: stalled, in line
 *
 * Invariants:
 * - a connection whose requests hold no more than its own part never waits for others
 * - with nothing held in all, the first in line is admitted, however much it wants
 */
#include "conn.h"

bool room_fits(const struct conn *c, uint64_t bytes) {
  const struct room *r = &c->e->room;

  if (c->room_max == 0 || bytes == 0 || c->held + bytes <= c->room_own) return true;
  if (r->first != NULL && r->admitting != c) return false;
  return r->held == 0 || r->held + bytes <= c->room_max;
}

void room_hold(struct conn *c, uint64_t bytes) {
  c->held += bytes;
  if (c->room_max != 0) c->e->room.held += bytes;
}

void room_give(struct conn *c, uint64_t bytes) {
  struct room *r = &c->e->room;

  c->held -= bytes;
  if (c->room_max == 0) return;
  r->held -= bytes;
  if (r->first != NULL) r->freed = true;
}

void room_wait(struct conn *c) {
  struct room *r = &c->e->room;

  if (c->room_waits) return;
  c->room_waits = true;
  c->room_next = NULL;
  if (r->last == NULL) r->first = c;
  else r->last->room_next = c;
  r->last = c;
}

void room_forget(struct conn *c) {
  struct room *r = &c->e->room;
  struct conn *before = NULL;

  if (!c->room_waits) return;
  for (struct conn *at = r->first; at != c; at = at->room_next) before = at;
  if (before == NULL) r->first = c->room_next;
  else before->room_next = c->room_next;
  if (r->last == c) r->last = before;
  c->room_waits = false;
  if (r->first != NULL) r->freed = true;
}

void room_look(struct engine *e) {
  struct room *r = &e->room;
  struct conn *c;

  if (!r->freed) return;
  r->freed = false;
  while ((c = r->first) != NULL) {
    r->admitting = c;
    c->stalled = false;
    server_parse(c);
    r->admitting = NULL;
    conn_update(c);
    if (r->first == c) return;
  }
}
