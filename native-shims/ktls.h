/* TLS by the kernel on a connection's socket (ktls.c). */
#ifndef NETRAID_KTLS_H
#define NETRAID_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether the kernel secures this socket. */
bool ktls_is_on(int fd);

/*
 * As recv with MSG_DONTWAIT, from such a socket. 0: also when the peer has closed TLS in order, from then on. Tickets are passed over.
 * A record that does not open, new keys (which kernels before 6.14 can not take) and alerts end the connection: ECONNRESET.
 */
ssize_t ktls_recv(int fd, void *into, size_t length);

/* An errno of a socket as it is for whoever uses it: what TLS says of a record is no answer of the peer's, and no damaged payload. */
int ktls_errno(bool ktls, int error);

/*
 * The alert close_notify. False: the socket takes nothing for now. What was sent before may still lie with TLS, where shutdown and
 * close throw it away: the peer's end says that it has come.
 */
bool ktls_say_end(int fd);

#endif
