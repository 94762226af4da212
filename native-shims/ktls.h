/* TLS by the kernel on a connection's socket (ktls.c). */
#ifndef NETRAID_KTLS_H
#define NETRAID_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether the kernel secures this socket. */
bool ktls_is_on(int fd);

/*
 * As recv with MSG_DONTWAIT, from such a socket. 0: also when the peer has closed TLS in order. What TLS says for itself after a
 * handshake is passed over; new keys, which kernels before 6.14 can not take, and an alert end it with EPROTO and ECONNRESET.
 */
ssize_t ktls_recv(int fd, void *into, size_t length);

/* The alert close_notify, as far as the socket takes it at once: a FIN follows and says the same to who does not insist. */
void ktls_say_end(int fd);

#endif
