/*
 * flock(2), lseek(2) and socketpair(2) for Node, which node:fs has no calls for.
 *
 *   tryLock(fd)                   0, or the errno: EAGAIN when another descriptor holds the lock
 *   seek(fd, position, whence)    the position found, or the errno below 0
 *   socketPair()                  two descriptors of a unix stream socket each way, closed on exec; or the errno
 *
 * Short calls, made at once on the thread that asks. Positions are JavaScript numbers, exact up to 2^53. A wrong argument
 * throws; nothing else does.
 */
#include <errno.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>
#include <node_api.h>

static napi_value try_lock(napi_env env, napi_callback_info info) {
  napi_value arg, value;
  size_t count = 1;
  int32_t fd;
  int result;

  if (napi_get_cb_info(env, info, &count, &arg, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_value_int32(env, arg, &fd) != napi_ok) {
    napi_throw_type_error(env, NULL, "expected (fd)");
    return NULL;
  }
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return napi_create_int32(env, result == 0 ? 0 : errno, &value) == napi_ok ? value : NULL;
}

static napi_value seek(napi_env env, napi_callback_info info) {
  napi_value args[3], value;
  size_t count = 3;
  int32_t fd, whence;
  int64_t position;
  off_t found;

  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count < 3 ||
      napi_get_value_int32(env, args[0], &fd) != napi_ok ||
      napi_get_value_int64(env, args[1], &position) != napi_ok ||
      napi_get_value_int32(env, args[2], &whence) != napi_ok) {
    napi_throw_type_error(env, NULL, "expected (fd, position, whence)");
    return NULL;
  }
  found = lseek(fd, position, whence);
  return napi_create_int64(env, found < 0 ? -errno : found, &value) == napi_ok ? value : NULL;
}

static napi_value socket_pair(napi_env env, napi_callback_info info) {
  napi_value value, array;
  int pair[2];

  (void)info;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return napi_create_int32(env, errno, &value) == napi_ok ? value : NULL;
  if (napi_create_array_with_length(env, 2, &array) == napi_ok && napi_create_int32(env, pair[0], &value) == napi_ok &&
      napi_set_element(env, array, 0, value) == napi_ok && napi_create_int32(env, pair[1], &value) == napi_ok &&
      napi_set_element(env, array, 1, value) == napi_ok) return array;
  close(pair[0]);
  close(pair[1]);
  return NULL;
}

napi_value descriptor_init(napi_env env, napi_value exports);

napi_value descriptor_init(napi_env env, napi_value exports) {
  napi_value function;

  if (napi_create_function(env, "tryLock", NAPI_AUTO_LENGTH, try_lock, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "tryLock", function) != napi_ok ||
      napi_create_function(env, "seek", NAPI_AUTO_LENGTH, seek, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "seek", function) != napi_ok ||
      napi_create_function(env, "socketPair", NAPI_AUTO_LENGTH, socket_pair, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "socketPair", function) != napi_ok) {
    return NULL;
  }
  return exports;
}
