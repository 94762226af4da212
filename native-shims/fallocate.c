/*
 * fallocate(2) for Node: the two modes that node:fs has no call for.
 *
 *   punch(fd, offset, length, callback)      a hole: reads as zeroes, space given back, size kept
 *   zeroRange(fd, offset, length, callback)  reads as zeroes, space kept
 *
 * The call runs on libuv's pool. The callback gets one number: 0, or the errno. Offsets and lengths are JavaScript
 * numbers, exact up to 2^53. A wrong argument throws; nothing else does. The caller keeps fd open until the callback.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <node_api.h>

struct job {
  napi_async_work work;
  napi_ref callback;
  int fd;
  int mode;
  off_t offset;
  off_t length;
  int error;
};

static void run(napi_env env, void *data) {
  struct job *job = data;
  int result;

  do {
    result = fallocate(job->fd, job->mode, job->offset, job->length);
  } while (result != 0 && errno == EINTR);
  job->error = result == 0 ? 0 : errno;
}

static void finished(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  napi_value callback, receiver, error, unused;

  if (status == napi_cancelled) job->error = ECANCELED;
  if (napi_get_reference_value(env, job->callback, &callback) == napi_ok &&
      napi_get_undefined(env, &receiver) == napi_ok &&
      napi_create_int32(env, job->error, &error) == napi_ok) {
    /* An exception thrown by the callback stays pending and becomes an uncaught one, as for any other callback. */
    napi_call_function(env, receiver, callback, 1, &error, &unused);
  }
  napi_delete_reference(env, job->callback);
  napi_delete_async_work(env, job->work);
  free(job);
}

static napi_value start(napi_env env, napi_callback_info info, int mode) {
  napi_value args[4], name;
  size_t count = 4;
  int64_t offset, length;
  int32_t fd;
  napi_valuetype type;
  struct job *job;

  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count < 4 ||
      napi_get_value_int32(env, args[0], &fd) != napi_ok ||
      napi_get_value_int64(env, args[1], &offset) != napi_ok ||
      napi_get_value_int64(env, args[2], &length) != napi_ok ||
      napi_typeof(env, args[3], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "expected (fd, offset, length, callback)");
    return NULL;
  }
  job = calloc(1, sizeof *job);
  if (job == NULL) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  job->fd = fd;
  job->mode = mode;
  job->offset = offset;
  job->length = length;
  if (napi_create_reference(env, args[3], 1, &job->callback) != napi_ok) goto failed;
  if (napi_create_string_utf8(env, "fallocate", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, run, finished, job, &job->work) != napi_ok) {
    napi_delete_reference(env, job->callback);
    goto failed;
  }
  if (napi_queue_async_work(env, job->work) != napi_ok) {
    napi_delete_async_work(env, job->work);
    napi_delete_reference(env, job->callback);
    goto failed;
  }
  return NULL;

failed:
  free(job);
  napi_throw_error(env, NULL, "cannot queue the call");
  return NULL;
}

static napi_value punch(napi_env env, napi_callback_info info) {
  return start(env, info, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static napi_value zero_range(napi_env env, napi_callback_info info) {
  return start(env, info, FALLOC_FL_ZERO_RANGE);
}

napi_value fallocate_init(napi_env env, napi_value exports);

napi_value fallocate_init(napi_env env, napi_value exports) {
  napi_value function;

  if (napi_create_function(env, "punch", NAPI_AUTO_LENGTH, punch, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "punch", function) != napi_ok ||
      napi_create_function(env, "zeroRange", NAPI_AUTO_LENGTH, zero_range, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "zeroRange", function) != napi_ok) {
    return NULL;
  }
  return exports;
}
