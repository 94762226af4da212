/*
 * Slabs: memory in powers of two, large ones in pages, kept for reuse up to a bound. Handles: integers for parts of slabs, counted by references.
 *
 *   handle = generation (12 bits) * 2^20 + slot (18 of 20 bits, from 1); 0 is "none"
 *
 * References, generations and lengths lie in memory shared with TypeScript, which checks and counts them without a call;
 * only when the last reference goes does the slot come back here. A slab's old content stays in it, so whoever allocates
 * fills the whole length before anybody reads it.
 */
#include <assert.h>
#include <stdlib.h>
#include "engine.h"

#define LEVEL_MIN 9
#define LEVEL_MAX (SLAB_LEVELS - 1) /* longer ones are not kept */
#define LEVEL_ROUND_MAX 19 /* what is longer has a page's tail for nothing, not up to half of it */
#define PAGE 4096u
#if defined(__SANITIZE_ADDRESS__)
#define KEPT_MAX_BYTES 0u /* so that a byte used after its release is noticed */
#else
#define KEPT_MAX_BYTES (32u * 1024 * 1024)
#endif

/*
 * What there is ahead: two slabs to receive into, and some for what is read. Enough to go on with while memory is short, and
 * below what a daemon that does anything keeps anyway.
 */
static const struct { size_t size; unsigned count; } ahead[] = {{512 * 1024, 2}, {128 * 1024, 4}, {16 * 1024, 8}, {4096, 32}};

static unsigned level_of(size_t size) {
  unsigned level = LEVEL_MIN;

  while (((size_t)1 << level) < size) level += 1;
  return level;
}

struct slab *slab_take(struct engine *e, size_t size) {
  struct slab *s;
  void *data;

  if (size <= (size_t)1 << LEVEL_MAX) {
    unsigned level = level_of(size);
    s = e->kept[level];
    if (s != NULL && s->size >= size) {
      e->kept[level] = s->next;
      e->kept_bytes -= s->size;
      s->refs = 1;
      return s;
    }
    size = level > LEVEL_ROUND_MAX ? (size + PAGE - 1) & ~(size_t)(PAGE - 1) : (size_t)1 << level;
  } else if (size > SIZE_MAX - PAGE) return NULL;
  s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  if (posix_memalign(&data, size >= PAGE ? PAGE : 64, size) != 0) {
    free(s);
    return NULL;
  }
  s->data = data;
  s->size = size;
  s->refs = 1;
  return s;
}

static void slab_keep(struct engine *e, struct slab *s) {
  unsigned level = level_of(s->size);

  s->next = e->kept[level];
  e->kept[level] = s;
  e->kept_bytes += s->size;
}

void slabs_ahead(struct engine *e) {
  uint8_t *at = e->ahead;

  if (e->ahead_cut || KEPT_MAX_BYTES == 0) return;
  e->ahead_cut = true;
  for (size_t i = 0; i < sizeof ahead / sizeof ahead[0]; i += 1) {
    for (unsigned n = 0; n < ahead[i].count; n += 1) {
      struct slab *s = calloc(1, sizeof *s);
      if (s == NULL) return;
      s->ahead = true;
      s->data = at;
      s->size = ahead[i].size;
      for (size_t page = 0; page < s->size; page += PAGE) ((volatile uint8_t *)at)[page] = 0;
      slab_keep(e, s);
      at += s->size;
    }
  }
  assert(at == e->ahead + SLABS_AHEAD_BYTES);
}

static void slab_free(struct engine *e, struct slab *s) {
  if (s->view != NULL) {
    /* The ArrayBuffer's finalizer frees the bytes, once no JavaScript can reach them. */
    napi_delete_reference(e->env, s->view);
    s->view = NULL;
    return;
  }
  free(s->data);
  free(s);
}

void slab_release(struct engine *e, struct slab *s) {
  if (s == NULL) return;
  s->refs -= 1;
  if (s->refs > 0) return;
  if (s->ahead || (s->size <= (size_t)1 << LEVEL_MAX && e->kept_bytes + s->size <= KEPT_MAX_BYTES)) {
    slab_keep(e, s);
    return;
  }
  slab_free(e, s);
}

uint32_t handle_over(struct engine *e, struct slab *s, uint8_t *data, size_t length) {
  struct handle *h;
  uint32_t slot = e->handle_free;

  if (slot != 0) e->handle_free = e->handles[slot].next_free;
  else if (e->handle_top < HANDLES_MAX) slot = e->handle_top++;
  else return 0;
  h = &e->handles[slot];
  h->slab = s;
  h->data = data;
  e->shared.handle_refs[slot] = 1;
  e->shared.handle_length[slot] = (double)length;
  e->shared.stats[STAT_HANDLES] += 1;
  e->shared.stats[STAT_BYTES] += (double)length;
  return slot;
}

uint32_t handle_allocate(struct engine *e, size_t length) {
  struct slab *s;
  uint32_t slot;

  if (length == 0) return handle_over(e, NULL, NULL, 0);
  s = slab_take(e, length);
  if (s == NULL) return 0;
  slot = handle_over(e, s, s->data, length);
  if (slot == 0) slab_release(e, s);
  return slot;
}

void handle_free_slot(struct engine *e, uint32_t slot) {
  struct handle *h = &e->handles[slot];

  slab_release(e, h->slab);
  h->slab = NULL;
  h->data = NULL;
  h->next_free = e->handle_free;
  e->handle_free = slot;
}

void handle_release(struct engine *e, uint32_t slot) {
  if (slot == 0) return;
  e->shared.handle_refs[slot] -= 1;
  if (e->shared.handle_refs[slot] > 0) return;
  e->shared.stats[STAT_HANDLES] -= 1;
  e->shared.stats[STAT_BYTES] -= e->shared.handle_length[slot];
  e->shared.handle_generation[slot] = (e->shared.handle_generation[slot] + 1) & 0xfff;
  handle_free_slot(e, slot);
}
