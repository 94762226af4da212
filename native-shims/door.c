/*
 * A listening socket whose connections are judged before anything is made of them: one that is not let in costs a few microseconds,
 * where a socket of Node's costs some hundreds.
 *
 *   poll --readable--> accept4, ACCEPTS_MAX at most --one call--> JavaScript: takes what it lets in --> the others are closed
 *
 *   openDoor(fd, onCome)   listens on a duplicate of the descriptor, which somebody has bound and made listen; throws when there is no
 *                          memory or no descriptor. The object that it answers has
 *     fds                  an Int32Array: of those that have come, their descriptors; -1 is put in the place of one that is taken
 *     close()              the descriptor is closed at once
 *   onCome(remotes)        an array of ADDRESS:PORT, whose descriptors are in `fds`
 *
 * Invariants:
 * - in one turn of the loop no more are accepted than ACCEPTS_MAX: who has been let in gets its turn
 * - whoever can not be accepted for want of a descriptor is closed by means of a spare one, so that it does not wait in the queue for
 *   ever and the loop does not spin; where there is none, or no memory, nothing is accepted for PAUSE_MS
 * - a descriptor is closed by exactly one of both sides, also when `onCome` throws in the middle
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <node_api.h>
#include <uv.h>

/* One that is let in costs some hundreds of microseconds: whoever is inside waits for no more of them. */
#define ACCEPTS_MAX 4
#define PAUSE_MS 100
/* An address, the name of an interface, a port. */
#define REMOTE_BYTES (INET6_ADDRSTRLEN + 1 + IF_NAMESIZE + 1 + 6)

struct door {
  napi_env env;
  napi_ref object, on_come, array;
  napi_async_context context;
  uv_poll_t poll;
  uv_timer_t pause;
  int fd;
  int spare; /* -1: none to be had */
  int32_t *fds; /* of the Int32Array */
  int closing_handles;
  bool closing, over;
};

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_storage storage;
};

static void on_readable(uv_poll_t *h, int status, int events);

/* As Node writes them. False: it is no peer of TCP. */
static bool describe(const union address *from, char *to) {
  char host[INET6_ADDRSTRLEN], name[IF_NAMESIZE];

  if (from->any.sa_family == AF_INET) {
    if (inet_ntop(AF_INET, &from->v4.sin_addr, host, sizeof host) == NULL) return false;
    snprintf(to, REMOTE_BYTES, "%s:%u", host, (unsigned)ntohs(from->v4.sin_port));
    return true;
  }
  if (from->any.sa_family != AF_INET6 || inet_ntop(AF_INET6, &from->v6.sin6_addr, host, sizeof host) == NULL) return false;
  if (IN6_IS_ADDR_LINKLOCAL(&from->v6.sin6_addr) && from->v6.sin6_scope_id > 0 && if_indextoname(from->v6.sin6_scope_id, name) != NULL)
    snprintf(to, REMOTE_BYTES, "%s%%%s:%u", host, name, (unsigned)ntohs(from->v6.sin6_port));
  else snprintf(to, REMOTE_BYTES, "%s:%u", host, (unsigned)ntohs(from->v6.sin6_port));
  return true;
}

/* ----------------------------------------------------------------------------------------------------------- accepting */

static void on_pause_end(uv_timer_t *h) {
  struct door *d = h->data;

  uv_poll_start(&d->poll, UV_READABLE, on_readable);
}

static void pause_accepting(struct door *d) {
  uv_poll_stop(&d->poll);
  uv_timer_start(&d->pause, on_pause_end, PAUSE_MS, 0);
}

static int spare_descriptor(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* Who waits first is let go. False: there is no way to. */
static bool turn_away(struct door *d) {
  int fd;

  if (d->spare < 0) d->spare = spare_descriptor();
  if (d->spare < 0) return false;
  close(d->spare);
  fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  d->spare = spare_descriptor();
  return fd >= 0;
}

/* Those that have come, in `fds` and `remotes`. */
static uint32_t accept_some(struct door *d, char remotes[][REMOTE_BYTES]) {
  uint32_t count = 0;

  for (int i = 0; i < ACCEPTS_MAX; i += 1) {
    union address from;
    socklen_t size = sizeof from;
    int fd = accept4(d->fd, &from.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
      if (describe(&from, remotes[count])) d->fds[count++] = fd;
      else close(fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      if (turn_away(d)) continue;
      pause_accepting(d);
      break;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      pause_accepting(d);
      break;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    /* Else one that has gone already: the next may be there. */
  }
  return count;
}

static napi_value array_of(napi_env env, char remotes[][REMOTE_BYTES], uint32_t count) {
  napi_value array, text;

  if (napi_create_array_with_length(env, count, &array) != napi_ok) return NULL;
  for (uint32_t i = 0; i < count; i += 1) {
    if (napi_create_string_latin1(env, remotes[i], NAPI_AUTO_LENGTH, &text) != napi_ok || napi_set_element(env, array, i, text) != napi_ok) return NULL;
  }
  return array;
}

static void tell(struct door *d, char remotes[][REMOTE_BYTES], uint32_t count) {
  napi_handle_scope scope;
  napi_value receiver, handler, argument, unused, error;

  if (napi_open_handle_scope(d->env, &scope) != napi_ok) return;
  argument = array_of(d->env, remotes, count);
  if (argument != NULL && napi_get_reference_value(d->env, d->object, &receiver) == napi_ok &&
      napi_get_reference_value(d->env, d->on_come, &handler) == napi_ok &&
      napi_make_callback(d->env, d->context, receiver, handler, 1, &argument, &unused) == napi_pending_exception &&
      napi_get_and_clear_last_exception(d->env, &error) == napi_ok) {
    napi_fatal_exception(d->env, error);
  }
  napi_close_handle_scope(d->env, scope);
}

static void on_readable(uv_poll_t *h, int status, int events) {
  struct door *d = h->data;
  char remotes[ACCEPTS_MAX][REMOTE_BYTES];
  uint32_t count;

  (void)events;
  /* libuv has stopped polling it. */
  if (status < 0) {
    pause_accepting(d);
    return;
  }
  count = accept_some(d, remotes);
  if (count == 0) return;
  tell(d, remotes, count);
  for (uint32_t i = 0; i < count; i += 1) {
    if (d->fds[i] >= 0) close(d->fds[i]);
    d->fds[i] = -1;
  }
}

/* ------------------------------------------------------------------------------------------------------- life and death */

/* The environment ends, and the process with it. */
static void on_end(void *argument) {
  struct door *d = argument;

  d->over = true;
  if (d->closing) return;
  uv_poll_stop(&d->poll);
  uv_timer_stop(&d->pause);
}

static void forget(napi_env env, napi_ref *r) {
  if (*r != NULL) napi_delete_reference(env, *r);
  *r = NULL;
}

/* Its object can go; what is left goes with that. */
static void on_handle_closed(uv_handle_t *h) {
  struct door *d = h->data;
  napi_handle_scope scope;

  d->closing_handles -= 1;
  if (d->closing_handles > 0 || d->over || napi_open_handle_scope(d->env, &scope) != napi_ok) return;
  napi_remove_env_cleanup_hook(d->env, on_end, d);
  napi_async_destroy(d->env, d->context);
  forget(d->env, &d->on_come);
  forget(d->env, &d->array);
  forget(d->env, &d->object);
  d->over = true;
  napi_close_handle_scope(d->env, scope);
}

static void close_door(struct door *d) {
  if (d->closing || d->over) return;
  d->closing = true;
  d->closing_handles = 2;
  uv_close((uv_handle_t *)&d->poll, on_handle_closed);
  uv_close((uv_handle_t *)&d->pause, on_handle_closed);
  close(d->fd);
  if (d->spare >= 0) close(d->spare);
}

/* At the end of the environment its handles may still be the loop's. */
static void on_collected(napi_env env, void *data, void *hint) {
  struct door *d = data;

  (void)env;
  (void)hint;
  if (d->closing && d->closing_handles == 0) free(d);
}

/* --------------------------------------------------------------------------------------------------------------- N-API */

static napi_value call_close(napi_env env, napi_callback_info info) {
  napi_value self;
  size_t count = 0;
  void *d;

  if (napi_get_cb_info(env, info, &count, NULL, &self, NULL) == napi_ok && napi_unwrap(env, self, &d) == napi_ok) close_door(d);
  else napi_throw_type_error(env, NULL, "expected a door");
  return NULL;
}

/* False: what there is of it is to be freed, and no handle is the loop's. */
static bool make_object(struct door *d, napi_value on_come, napi_value *object) {
  napi_env env = d->env;
  napi_value buffer, array, f, name;
  void *bytes;

  if (napi_create_arraybuffer(env, ACCEPTS_MAX * sizeof *d->fds, &bytes, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_int32_array, ACCEPTS_MAX, buffer, 0, &array) != napi_ok) return false;
  d->fds = bytes;
  for (int i = 0; i < ACCEPTS_MAX; i += 1) d->fds[i] = -1;
  return napi_create_object(env, object) == napi_ok && napi_set_named_property(env, *object, "fds", array) == napi_ok &&
         napi_create_function(env, "close", NAPI_AUTO_LENGTH, call_close, NULL, &f) == napi_ok &&
         napi_set_named_property(env, *object, "close", f) == napi_ok &&
         napi_create_string_latin1(env, "netraid-door", NAPI_AUTO_LENGTH, &name) == napi_ok &&
         napi_async_init(env, *object, name, &d->context) == napi_ok && napi_create_reference(env, on_come, 1, &d->on_come) == napi_ok &&
         napi_create_reference(env, buffer, 1, &d->array) == napi_ok && napi_create_reference(env, *object, 1, &d->object) == napi_ok;
}

static napi_value open_door(napi_env env, napi_callback_info info) {
  napi_value v[2], object;
  size_t count = 2;
  napi_valuetype type;
  int32_t fd;
  uv_loop_t *loop;
  struct door *d;

  if (napi_get_cb_info(env, info, &count, v, NULL, NULL) != napi_ok || count < 2 || napi_get_value_int32(env, v[0], &fd) != napi_ok ||
      napi_typeof(env, v[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "expected (fd, onCome)");
    return NULL;
  }
  d = calloc(1, sizeof *d);
  if (d == NULL) goto failed;
  d->env = env;
  d->spare = -1;
  d->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (d->fd < 0 || fcntl(d->fd, F_SETFL, O_NONBLOCK) != 0 || napi_get_uv_event_loop(env, &loop) != napi_ok || !make_object(d, v[1], &object)) goto failed;
  d->poll.data = d;
  d->pause.data = d;
  if (uv_poll_init(loop, &d->poll, d->fd) != 0) goto failed;
  uv_timer_init(loop, &d->pause);
  uv_unref((uv_handle_t *)&d->pause);
  d->spare = spare_descriptor();
  uv_poll_start(&d->poll, UV_READABLE, on_readable);
  /* From here on it ends by its handles. */
  if (napi_add_env_cleanup_hook(env, on_end, d) != napi_ok || napi_wrap(env, object, d, on_collected, NULL, NULL) != napi_ok) {
    close_door(d);
    napi_throw_error(env, NULL, "no memory for a listening socket");
    return NULL;
  }
  return object;

failed:
  if (d != NULL) {
    if (d->context != NULL) napi_async_destroy(env, d->context);
    forget(env, &d->on_come);
    forget(env, &d->array);
    forget(env, &d->object);
    if (d->fd >= 0) close(d->fd);
    free(d);
  }
  napi_throw_error(env, NULL, "no memory or no descriptor for a listening socket");
  return NULL;
}

napi_value door_init(napi_env env, napi_value exports);

napi_value door_init(napi_env env, napi_value exports) {
  napi_value f;

  if (napi_create_function(env, "openDoor", NAPI_AUTO_LENGTH, open_door, NULL, &f) != napi_ok ||
      napi_set_named_property(env, exports, "openDoor", f) != napi_ok) return NULL;
  return exports;
}
