/*
 * TLS by the kernel: once Node has shaken hands and the two ends have agreed on what they are to each other, the kernel gets the
 * traffic keys (src/io/node/kernel-tls.ts), and the socket is read and written like any other.
 *
 *   tlsOfKernel()                          0, or the errno of what is missing
 *   secure(fd, cipher, receiving, sending) 0, or an errno; each way is key, iv (12 bytes) and the number of the next record (8, big-endian).
 *                                          Below 0: the errno of a way after the first, when the socket serves for nothing else any more
 *
 * TLS 1.3 alone (RFC 8446). Records that are no data come from recvmsg with their type beside them, and from recv not at all.
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <node_api.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "ktls.h"

/* Since Linux 5.1; without headers there is no kernel's TLS. */
#if defined __has_include
#if __has_include(<linux/tls.h>)
#include <linux/tls.h>
#endif
#endif

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

#define NAME "tls"
#define IV_BYTES 12u
#define NUMBER_BYTES 8u
#define KEY_MOST_BYTES 32u
/* Of records that say nothing for us, one after the other, that are passed over at once. */
#define PASSED_MAX 16
#define HANDSHAKE_HEAD_BYTES 4u
#define ALERT_BYTES 2u
/* Records that are no data; tickets of servers that put much into them have some hundred bytes. */
#define CONTROL_MOST_BYTES 4096u

enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };
enum { ALERT_CLOSE_NOTIFY = 0, ALERT_WARNING = 1 };
enum { HANDSHAKE_NEW_SESSION_TICKET = 4 };
/* As src/io/node/traffic-keys.ts counts them. */
enum { CIPHER_AES_128_GCM = 0, CIPHER_AES_256_GCM = 1, CIPHER_CHACHA20_POLY1305 = 2 };

int ktls_errno(bool ktls, int error) {
  return ktls && (error == EBADMSG || error == EPROTO || error == EMSGSIZE || error == EINVAL) ? ECONNRESET : error;
}

static size_t key_bytes(int cipher) { return cipher == CIPHER_AES_128_GCM ? 16u : KEY_MOST_BYTES; }

static ssize_t failed(int error) {
  errno = error;
  return -1;
}

#ifdef TLS_1_3_VERSION

bool ktls_is_on(int fd) {
  char name[16] = "";
  socklen_t size = sizeof name;

  return getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &size) == 0 && size >= sizeof NAME && memcmp(name, NAME, sizeof NAME) == 0;
}

/* Messages of a handshake record, one after the other (RFC 8446, 4): whether all are tickets. */
static bool only_tickets(const uint8_t *said, size_t length) {
  size_t at = 0;

  while (length - at >= HANDSHAKE_HEAD_BYTES && said[at] == HANDSHAKE_NEW_SESSION_TICKET) {
    size_t body = (size_t)said[at + 1] << 16 | (size_t)said[at + 2] << 8 | said[at + 3];
    if (body > length - at - HANDSHAKE_HEAD_BYTES) return false;
    at += HANDSHAKE_HEAD_BYTES + body;
  }
  return at == length && length > 0;
}

/* One record with its type beside it, or what there is of one that holds data. `whole`: up to its end. */
static ssize_t receive(int fd, void *into, size_t length, unsigned *type, bool *whole) {
  union {
    struct cmsghdr header;
    uint8_t space[CMSG_SPACE(sizeof(uint8_t))];
  } control;
  struct iovec v = {.iov_base = into, .iov_len = length};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
  const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

  *type = c != NULL && c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE ? *CMSG_DATA(c) : RECORD_DATA;
  *whole = n >= 0 && (m.msg_flags & MSG_EOR) != 0;
  return n;
}

/*
 * What begins with `length` bytes is no data: 1 when there is nothing to do about it, or as recv. It is gathered whole, since the
 * caller may have had room for a part.
 */
static ssize_t heard(int fd, unsigned type, const uint8_t *begin, size_t length, bool whole) {
  uint8_t said[CONTROL_MOST_BYTES];

  if (length > sizeof said) return failed(ECONNRESET);
  memcpy(said, begin, length);
  while (!whole) {
    unsigned more;
    ssize_t n = length == sizeof said ? 0 : receive(fd, said + length, sizeof said - length, &more, &whole);
    if (n <= 0 || more != type) return failed(ECONNRESET);
    length += (size_t)n;
  }
  if (type == RECORD_ALERT && length == ALERT_BYTES && said[1] == ALERT_CLOSE_NOTIFY) {
    /* So that whoever reads next, on another thread it may be, finds an end too. */
    (void)shutdown(fd, SHUT_RD);
    return 0;
  }
  return type == RECORD_HANDSHAKE && only_tickets(said, length) ? 1 : failed(ECONNRESET);
}

ssize_t ktls_recv(int fd, void *into, size_t length) {
  for (int i = 0; i < PASSED_MAX; i += 1) {
    unsigned type;
    bool whole;
    ssize_t n = receive(fd, into, length, &type, &whole);

    if (n < 0) return failed(ktls_errno(true, errno));
    if (n == 0 || type == RECORD_DATA) return n;
    n = heard(fd, type, into, (size_t)n, whole);
    if (n <= 0) return n;
  }
  return failed(ECONNRESET);
}

bool ktls_say_end(int fd) {
  uint8_t alert[ALERT_BYTES] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
  union {
    struct cmsghdr header;
    uint8_t space[CMSG_SPACE(sizeof(uint8_t))];
  } control = {0};
  struct iovec v = {.iov_base = alert, .iov_len = sizeof alert};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);

  c->cmsg_level = SOL_TLS;
  c->cmsg_type = TLS_SET_RECORD_TYPE;
  c->cmsg_len = CMSG_LEN(sizeof(uint8_t));
  *CMSG_DATA(c) = RECORD_ALERT;
  return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* ------------------------------------------------------------------------------------------------------------ the keys */

union info {
  struct tls_crypto_info common;
  struct tls12_crypto_info_aes_gcm_128 aes128;
  struct tls12_crypto_info_aes_gcm_256 aes256;
#ifdef TLS_CIPHER_CHACHA20_POLY1305
  struct tls12_crypto_info_chacha20_poly1305 chacha20;
#endif
};

/* The first bytes of the IV are called salt where there is one. Gives the size, 0 for a cipher that the kernel of these headers has not. */
static socklen_t info_of(union info *i, int cipher, const uint8_t *way) {
  const uint8_t *iv = way + key_bytes(cipher), *number = iv + IV_BYTES;

  memset(i, 0, sizeof *i);
  i->common.version = TLS_1_3_VERSION;
  switch (cipher) {
  case CIPHER_AES_128_GCM:
    i->common.cipher_type = TLS_CIPHER_AES_GCM_128;
    memcpy(i->aes128.key, way, sizeof i->aes128.key);
    memcpy(i->aes128.salt, iv, sizeof i->aes128.salt);
    memcpy(i->aes128.iv, iv + sizeof i->aes128.salt, sizeof i->aes128.iv);
    memcpy(i->aes128.rec_seq, number, sizeof i->aes128.rec_seq);
    return sizeof i->aes128;
  case CIPHER_AES_256_GCM:
    i->common.cipher_type = TLS_CIPHER_AES_GCM_256;
    memcpy(i->aes256.key, way, sizeof i->aes256.key);
    memcpy(i->aes256.salt, iv, sizeof i->aes256.salt);
    memcpy(i->aes256.iv, iv + sizeof i->aes256.salt, sizeof i->aes256.iv);
    memcpy(i->aes256.rec_seq, number, sizeof i->aes256.rec_seq);
    return sizeof i->aes256;
#ifdef TLS_CIPHER_CHACHA20_POLY1305
  case CIPHER_CHACHA20_POLY1305:
    i->common.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
    memcpy(i->chacha20.key, way, sizeof i->chacha20.key);
    memcpy(i->chacha20.iv, iv, sizeof i->chacha20.iv);
    memcpy(i->chacha20.rec_seq, number, sizeof i->chacha20.rec_seq);
    return sizeof i->chacha20;
#endif
  default:
    return 0;
  }
}

static int put_keys(int fd, int direction, int cipher, const uint8_t *way) {
  union info i;
  socklen_t size = info_of(&i, cipher, way);
  int error = size == 0 ? ENOTSUP : setsockopt(fd, SOL_TLS, direction, &i, size) == 0 ? 0 : errno;

  explicit_bzero(&i, sizeof i);
  return error;
}

/* Receiving first: of a cipher that the kernel has not, nothing has been changed then but that it would be asked. */
static int secure(int fd, int cipher, const uint8_t *receiving, const uint8_t *sending) {
  int error = setsockopt(fd, IPPROTO_TCP, TCP_ULP, NAME, sizeof NAME) == 0 ? 0 : errno;

  if (error == 0) error = put_keys(fd, TLS_RX, cipher, receiving);
  if (error != 0) return error;
  return -put_keys(fd, TLS_TX, cipher, sending);
}

/* A socket that is not connected can not be secured: what it is refused with says whether one that is could be. */
static int lacking(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int error;

  if (fd < 0) return errno;
  error = setsockopt(fd, IPPROTO_TCP, TCP_ULP, NAME, sizeof NAME) == 0 ? 0 : errno;
  close(fd);
  return error == ENOTCONN ? 0 : error;
}

#else

bool ktls_is_on(int fd) { return (void)fd, false; }
ssize_t ktls_recv(int fd, void *into, size_t length) { return (void)fd, (void)into, (void)length, failed(ENOTSUP); }
bool ktls_say_end(int fd) { return (void)fd, true; }
static int secure(int fd, int cipher, const uint8_t *receiving, const uint8_t *sending) { return (void)fd, (void)cipher, (void)receiving, (void)sending, ENOTSUP; }
static int lacking(void) { return ENOTSUP; }

#endif

/* ------------------------------------------------------------------------------------------------------ for TypeScript */

static napi_value js_lacking(napi_env env, napi_callback_info info) {
  napi_value value;

  (void)info;
  return napi_create_int32(env, lacking(), &value) == napi_ok ? value : NULL;
}

static napi_value js_secure(napi_env env, napi_callback_info info) {
  napi_value args[4], value;
  size_t count = 4, bytes[2];
  void *way[2];
  int32_t fd, cipher;

  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count < 4 || napi_get_value_int32(env, args[0], &fd) != napi_ok ||
      napi_get_value_int32(env, args[1], &cipher) != napi_ok ||
      napi_get_typedarray_info(env, args[2], NULL, &bytes[0], &way[0], NULL, NULL) != napi_ok ||
      napi_get_typedarray_info(env, args[3], NULL, &bytes[1], &way[1], NULL, NULL) != napi_ok ||
      bytes[0] != key_bytes(cipher) + IV_BYTES + NUMBER_BYTES || bytes[1] != bytes[0]) {
    napi_throw_type_error(env, NULL, "expected (fd, cipher, receiving, sending)");
    return NULL;
  }
  return napi_create_int32(env, secure(fd, cipher, way[0], way[1]), &value) == napi_ok ? value : NULL;
}

napi_value ktls_init(napi_env env, napi_value exports);

napi_value ktls_init(napi_env env, napi_value exports) {
  napi_value function;

  if (napi_create_function(env, "tlsOfKernel", NAPI_AUTO_LENGTH, js_lacking, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "tlsOfKernel", function) != napi_ok ||
      napi_create_function(env, "secure", NAPI_AUTO_LENGTH, js_secure, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "secure", function) != napi_ok) return NULL;
  return exports;
}
