/*
 * Loaded before the C library by a test: every fdatasync adds a byte to the file NETRAID_TEST_SYNCS and waits until there is a
 * file NETRAID_TEST_SYNCS.go; where that holds an `f` it fails with EIO, and the file is removed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOKS_MAX 60000

int fdatasync(int fd) {
  const char *log = getenv("NETRAID_TEST_SYNCS");
  char go[4096], word = 0;
  int out = log == NULL ? -1 : open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

  if (out < 0) return fsync(fd);
  if (write(out, "s", 1) != 1) abort();
  close(out);
  snprintf(go, sizeof go, "%s.go", log);
  for (int looks = 0; access(go, F_OK) != 0; looks += 1) {
    if (looks == LOOKS_MAX) abort();
    usleep(1000);
  }
  out = open(go, O_RDONLY | O_CLOEXEC);
  if (out < 0 || read(out, &word, 1) < 0) abort();
  close(out);
  if (word != 'f') return 0;
  unlink(go);
  errno = EIO;
  return -1;
}
