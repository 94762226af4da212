/* What the two sides of serve.c's threads share: the thread (serve.c), and who lends it sockets (lend.c). */
#ifndef NETRAID_SERVE_H
#define NETRAID_SERVE_H

#include "conn.h"
#include "legs.h"

#define SERVE_BUFFER_BYTES (512u * 1024)
/* The longest READ that is answered from a pipe (piped.c). */
#define PIPED_MAX_BYTES (256u * 1024)
/* Connections, of all threads. */
#define SERVES_MAX 64u

/* Connections of one client, or of one export's clients, that are served together. */
#define TOGETHER_MAX 16u

/* A connection that is served. */
struct seat {
  struct serve *s;
  struct server *by;
  unsigned index; /* among those of `s` */
  uint32_t conn;
  int fd; /* a duplicate: the connection's own may be closed while a write is under way */
  bool ktls, structured;
  uint32_t seal, payload_max, longest, longest_read;
  uint32_t *under_way, *asks;
  napi_ref refs[SERVE_REFS];
  atomic_uint_least64_t answered, moved;
  atomic_short awaits; /* what its socket is polled for: POLLIN the rest of a request, POLLOUT that it takes answers; 0: nothing */

  /* What other threads of `s` look at, too. Positions in its stream are bytes that were received of it since it was lent. */
  atomic_uint_least64_t received;
  atomic_uint receives; /* odd: right now */
  atomic_uint_least64_t whole_at; /* the first request that is not executed is whole here, as far as that is known */
  atomic_uint_least64_t writes_from, writes_to; /* in the leg; nothing: 0, 0 */
  atomic_bool watches; /* its thread sleeps until another has passed one of `held_by` */
  atomic_bool full;    /* it does not go on before that */
  atomic_bool stalls;  /* it does not go on before its client has taken what is in the pipe, unless it is woken */
  atomic_uint_least64_t held_by[TOGETHER_MAX]; /* where each of the others has to have passed before more answers leave */

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
  bool lacks_room;   /* for the next request's answer */
  bool lacks;        /* of late something had to */
  unsigned pumped;   /* served since more was received in the midst of it */
  size_t long_whole; /* of the last request, if that was long: as much is received again and a header, so that little of what follows is ever moved */
  bool reads;        /* READs are served, as far as they need not wait */
  uint8_t *answers;
  size_t answers_length, answers_sent;
  int pipe[2];       /* -1: none so far */
  size_t piped;      /* so much is in it, behind the answers */
  uint64_t answered_at_ns; /* the oldest that has not left */
  /* answers_sent <= answers_free <= answers_held <= answers_length: those that may leave, and those that `held_by` is about */
  size_t answers_free, answers_held;
  bool watching;                     /* `watches` was set */
  bool vague;                        /* of `held_by` one may be more than has come */
  uint64_t came[TOGETHER_MAX];       /* what `held_by` will be for the rest: where each of the others was when this one's last write had come */
  bool came_vague;
  uint64_t came_at;                  /* `received`, then */
  bool over;                         /* the stream has ended, or is broken */
  int error;                         /* of the socket, met here */
};

/* A thread, and what it serves: `count` seats of `s` from `first` on. */
struct server {
  struct serve *s;
  struct seat *first;
  unsigned count;
  int wake; /* an eventfd */
  pthread_t thread;
  bool lent; /* guarded by the lock of `s` */

  /* The thread's. */
  unsigned of_late; /* requests since something was waited for last */
  struct waits_awake for_more, for_marks;
  bool quiet_told;
};

/* Connections that are served together. */
struct serve {
  struct serve *next;
  struct engine *e;
  struct leg *leg;
  int leg_fd;
  struct serve_rules rules; /* but for what each seat has of its own */
  int read_flags;
  size_t answers_max;
  uint64_t wait_ns;
  unsigned count; /* of `rules.clients` seats, which are lent when all are there */
  bool alone;     /* each seat has a server of its own; else one has them all */
  unsigned servers_count;
  struct server servers[TOGETHER_MAX];

  atomic_bool ending;
  atomic_bool parking;  /* the sockets are to go back, all of them */
  atomic_uint watchers; /* seats that have said so */
  atomic_bool sleeps;   /* who serves the one seat there is: it is to be woken when what it has asked for is answered */

  pthread_mutex_t lock;
  /* Guarded by it. */
  bool back, quiet;
  unsigned lent, gone; /* so many servers */

  /* The main thread's. */
  bool settling; /* nothing more is begun of any: they are to be lent when all is answered */
  bool silent; /* `quiet` was seen */
  bool joined;
  bool returning;                 /* what came back is being handed on */
  uint64_t answered_before;       /* it was lent last */
  uint32_t lend_skips, lend_wait; /* chances to lend that are left out: as many after a loan that was not worth it, and how many of them are left */

  struct seat seats[];
};

void *serve_thread(void *server);

/* Nothing is awaited of one that has just done its part; of others it is meanwhile, however busy this thread is with this one. */
static inline void has_moved(struct seat *t, size_t bytes) {
  atomic_fetch_add_explicit(&t->moved, (uint64_t)bytes, memory_order_relaxed);
  atomic_store_explicit(&t->awaits, 0, memory_order_relaxed);
}

/* piped.c */
bool piped_read(struct seat *t, uint64_t offset, size_t length); /* into the pipe, which is empty; false: nothing of it */
bool piped_send(struct seat *t); /* after all answers; false: the socket's error is kept */
bool piped_back(struct seat *t); /* to the answers, which have room for it; false: some of it is lost, and so is the connection */
void piped_close(struct seat *t);

/* order.c */
void server_wake(struct server *w);
void serve_park(struct serve *s);
void order_next(struct seat *t, size_t need); /* of the first request in hand; those before it are executed */
void order_receives(struct seat *t);
void order_received(struct seat *t, size_t bytes);
bool order_begins(struct seat *t, uint64_t from, uint64_t to); /* a write; false: not here */
void order_ended(struct seat *t);
void order_answered(struct seat *t, size_t bytes, bool write); /* more answers are there, behind the last */
bool order_let_go(struct seat *t);                             /* true: `answers_free` is more now */
bool order_may_sleep(struct seat *t);                          /* false: something has changed meanwhile */
void order_slept(struct seat *t);
bool order_may_stall(struct seat *t);   /* until its client has taken what is in the pipe; false: others would wait for that */
bool order_may_be_full(struct seat *t); /* false: it would be for good */

#endif
