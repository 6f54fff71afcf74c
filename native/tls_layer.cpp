// TLS in TLS: a connection whose records are carried by another one's plaintext, as through a proxy that is itself reached by TLS.
// No BIO of OpenSSL's stands between them: the inner one's reads and writes are calls of the outer one, which keeps its own state.
//
// The outer one decrypts more than the inner one takes, and no event of the descriptor tells of that. So the inner one reads until
// the outer one says that the kernel has no more, or until the caller's room is full, when `kTlsMore` is told (tls_connection.cpp).
// What one call may read of the kernel is counted where it is read: by the outer one, through all reads that the inner one needs.
#include <cerrno>

#include "tls_connection.h"

namespace shardfetch {

void TlsConnection::run_inside(TlsConnection* outer) { outer_.reset(outer); }

int TlsConnection::read_outer(BIO* bio, char* target, int room) {
  int32_t state = 0;
  const int32_t count = outer_->read_on(reinterpret_cast<uint8_t*>(target), room, state);
  if (count > 0) return count;
  if (count == -EAGAIN) {
    if ((state & kTlsReadWantsWrite) != 0) BIO_set_retry_write(bio);
    else BIO_set_retry_read(bio);
    return -1;
  }
  if (count == 0 || count == kTlsTruncated) {
    end_of_file_ = true;
    return 0;
  }
  errno_ = count == kTlsFailed ? EPROTO : -count;
  return -1;
}

int TlsConnection::write_outer(BIO* bio, const char* source, int length) {
  int32_t state = 0;
  const int32_t count = outer_->write_on(reinterpret_cast<const uint8_t*>(source), length, state);
  if (count >= 0) return count;
  if (count == -EAGAIN) {
    if ((state & kTlsWriteWantsRead) != 0) BIO_set_retry_read(bio);
    else BIO_set_retry_write(bio);
    return -1;
  }
  errno_ = count == kTlsFailed ? EPROTO : -count;
  return -1;
}

}  // namespace shardfetch
