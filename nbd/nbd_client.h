/* The driver "nbd": a disk that an NBD server exports, over one or several connections.
 *
 *     nbd:nbd://storage1/disk7
 *     {"driver":"nbd", "uri":"nbds://storage1/disk7", "connections":4, "reconnect":"60s",
 * "tls-certificates":"/etc/..."}
 *
 * When a connection breaks, what was in flight on it is sent again, over another one or when the
 * server is back; the layer above sees a pause of at most `reconnect`, then -EIO until the server
 * is back.
 *
 * Durability across a lost server: changes that were acknowledged but not flushed are kept in a log
 * of `replay-log` bytes and done again before anything else. If the log could not hold them, the
 * next FLUSH after the loss fails with -EIO, once. This is an exception to blk.h's rule that after
 * a failed flush none succeeds: what is lost was lost by then and has been said; what comes later
 * is as safe as ever. A flush that the server itself fails ends all trust. A server without FLUSH
 * is taken at its word: what it acknowledges is durable.
 *
 * What the protocol cannot give: a server that still works on a request of a connection that the
 * client has given up, and does it after newer writes over another connection, overwrites them. The
 * server has to end an old connection's requests before it answers on a new one.
 *
 * Nothing is opened, resolved or read from a file after open. Thread: the loop's. */
#ifndef NBD_NBD_CLIENT_H
#define NBD_NBD_CLIENT_H

struct blk_driver;

extern const struct blk_driver nbd_driver;

#endif
