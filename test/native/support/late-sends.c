/*
 * Loaded before the C library by a test: a thread of native-shims/send.c is late to hear how its send went, by up to some milliseconds, when
 * the peer may have had all of it, and answered, and left. The first such adds the file NETRAID_TEST_LATE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LATE_MOST_NS 4000000u

ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
  static ssize_t (*real)(int, const struct msghdr *, int);
  static _Thread_local unsigned seed = 1;
  static _Thread_local int is_sender = -1;
  struct timespec late = {0};
  ssize_t n;
  int error;

  if (real == NULL) real = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
  n = real(fd, m, flags);
  error = errno;
  if (is_sender < 0) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    is_sender = strcmp(name, "netraid-send") == 0;
    if (is_sender) close(open(getenv("NETRAID_TEST_LATE"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  }
  if (is_sender) {
    seed = seed * 1664525u + 1013904223u;
    late.tv_nsec = (long)((seed >> 8) % LATE_MOST_NS);
    nanosleep(&late, NULL);
  }
  errno = error;
  return n;
}
