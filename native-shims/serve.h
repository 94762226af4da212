/* What the two sides of serve.c's threads share: the thread (serve.c), and who lends it sockets (lend.c). */
#ifndef NETRAID_SERVE_H
#define NETRAID_SERVE_H

#include "conn.h"
#include "legs.h"

#define SERVE_BUFFER_BYTES (512u * 1024)
/* Connections, of all threads. */
#define SERVES_MAX 64u

/* A connection that a thread serves. */
struct seat {
  struct serve *s;
  uint32_t conn;
  int fd; /* a duplicate: the connection's own may be closed while a write is under way */
  bool ktls, structured;
  uint32_t seal, payload_max, longest;
  uint32_t *under_way, *asks;
  napi_ref refs[SERVE_REFS];
  atomic_uint_least64_t answered, moved;
  atomic_short awaits; /* what its socket is polled for: POLLIN the rest of a request, POLLOUT that it takes answers; 0: nothing */

  /* The main thread's. */
  double op;      /* waits for `quiet` */
  double heeds;   /* waits for more to be asked for */
  uint32_t heard; /* so much was when that was last told */
  atomic_bool listens; /* `heeds` is waiting: who asks for more tells it */
  bool released;  /* its owner has ended it */

  /* The thread's, and the main thread's once the sockets are back. */
  uint8_t *buffer; /* for what comes, and behind that for answers */
  size_t pos, fill, need;
  size_t wakes_by;   /* SO_RCVLOWAT */
  size_t scanned;    /* up to here the marks of what is in hand are asked for */
  unsigned asked_again; /* for the next request's mark, since anything was served */
  bool waits;        /* for that */
  bool lacks;        /* of late something had to */
  unsigned pumped;   /* served since more was received in the midst of it */
  size_t long_whole; /* of the last request, if that was long: as much is received again and a header, so that little of what follows is ever moved */
  uint8_t *answers;
  size_t answers_length, answers_sent;
  bool writes_answered;    /* among them */
  uint64_t answered_at_ns; /* the oldest that has not left */
  bool over;               /* the stream has ended, or is broken */
  int error;               /* of the socket, met here */
};

/* A thread. */
struct serve {
  struct serve *next;
  struct engine *e;
  struct leg *leg;
  int leg_fd;
  int wake; /* an eventfd */
  pthread_t thread;
  struct serve_rules rules; /* but for what each seat has of its own */
  int read_flags;
  size_t answers_max;
  uint64_t wait_ns;
  unsigned count; /* of `rules.clients` seats, which are lent when all are there */

  atomic_bool ending;
  atomic_bool sleeps; /* it is to be woken when what it has asked for is answered */

  pthread_mutex_t lock;
  /* Guarded by it. */
  bool lent, back, quiet, gone;

  /* The main thread's. */
  bool silent; /* `quiet` was seen */
  bool joined;
  bool returning;                 /* what came back is being handed on */
  uint64_t answered_before;       /* it was lent last */
  uint32_t lend_skips, lend_wait; /* chances to lend that are left out: as many after a loan that was not worth it, and how many of them are left */

  /* The thread's. */
  bool left; /* answers to writes have left while requests of others were in hand: those come before all that comes now */
  bool quiet_told;
  bool reads; /* READs are served, as far as they need not wait */
  unsigned of_late; /* requests since something was waited for last */
  unsigned spin_misses, spin_skips;

  struct seat seats[];
};

void *serve_thread(void *serve);

#endif
