/*
 * A client with several connections to one device: (socket, connections, rounds). In each round it writes the same by two of them, and when
 * the second has answered something else to the same place, by any but the first. That has to stay. Prints how many rounds it did not.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define BLOCK 512u
#define BLOCKS 64u

enum { READ = 0, WRITE = 1 };

struct __attribute__((packed)) request {
  uint32_t magic;
  uint16_t flags, cmd;
  uint64_t cookie, offset;
  uint32_t length;
  uint8_t data[BLOCK];
};

struct __attribute__((packed)) reply {
  uint32_t magic, error;
  uint64_t cookie;
};

static int sockets[CONNECTIONS_MAX];
static uint8_t came[BLOCK];

static void fail(const char *what) {
  perror(what);
  exit(2);
}

static void ask(int conn, int cmd, uint64_t offset, uint8_t byte) {
  struct request r = {.magic = htobe32(0x25609513), .cmd = htobe16((uint16_t)cmd), .offset = htobe64(offset), .length = htobe32(BLOCK)};
  size_t length = cmd == WRITE ? sizeof r : sizeof r - BLOCK;

  memset(r.data, byte, BLOCK);
  if (send(sockets[conn], &r, length, MSG_NOSIGNAL) != (ssize_t)length) fail("send");
}

static void answer(int conn, int cmd) {
  struct reply r;

  if (recv(sockets[conn], &r, sizeof r, MSG_WAITALL) != sizeof r || r.error != 0) fail("an answer");
  if (cmd == READ && recv(sockets[conn], came, BLOCK, MSG_WAITALL) != BLOCK) fail("data");
}

int main(int argc, char **argv) {
  int count = argc == 4 ? atoi(argv[2]) : 0, rounds = argc == 4 ? atoi(argv[3]) : 0, lost = 0;

  if (count < 3 || count > CONNECTIONS_MAX) return 1;
  for (int i = 0; i < count; i += 1) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strncpy(a.sun_path, argv[1], sizeof a.sun_path - 1);
    sockets[i] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sockets[i], (struct sockaddr *)&a, sizeof a) != 0) fail("connect");
  }
  /* Before all are known there is no order. */
  for (int i = 0; i < count; i += 1) {
    ask(i, READ, 0, 0);
    answer(i, READ);
  }
  srand(1);
  for (int i = 0; i < rounds; i += 1) {
    int first = rand() % count, again = (first + 1 + rand() % (count - 1)) % count, then = (first + 1 + rand() % (count - 1)) % count;
    uint64_t offset = (uint64_t)(rand() % (int)BLOCKS) * BLOCK;
    uint8_t byte = (uint8_t)(2 * i);

    ask(first, WRITE, offset, byte);
    ask(again, WRITE, offset, byte);
    answer(again, WRITE);
    ask(then, WRITE, offset, (uint8_t)(byte + 1));
    answer(then, WRITE);
    answer(first, WRITE);
    ask(then, READ, offset, 0);
    answer(then, READ);
    if (came[0] != (uint8_t)(byte + 1)) lost += 1;
  }
  printf("%d\n", lost);
  return 0;
}
