// TLS on one descriptor: handshake, bytes both ways, close_notify, and what is known of the peer. Non-blocking.
//
// Reads and writes the descriptor itself, with MSG_NOSIGNAL, through a BIO of its own. OpenSSL's error queue is empty before and
// after each call. Inside another one, TLS in TLS, it reads and writes that one instead (tls_layer.cpp). It owns no descriptor, waits for nothing and decides nothing: who fails is told to JavaScript.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "tls_context.h"

namespace shardfetch {

// Answers beside counts and negative errnos, which end at -4095. The same numbers stand in src/worker/io/tls-io.ts.
inline constexpr int32_t kTlsFailed = -5001;     // the peer or the certificate; `failure` says what
inline constexpr int32_t kTlsTruncated = -5002;  // the peer's FIN without its close_notify
inline constexpr int32_t kTlsWantRead = -5003;
inline constexpr int32_t kTlsWantWrite = -5004;

// What a read or write leaves behind, as bits.
inline constexpr int32_t kTlsMore = 1;            // the next read has an answer, without any event of the socket
inline constexpr int32_t kTlsReadWantsWrite = 2;  // reading goes on when the socket is writable
inline constexpr int32_t kTlsWriteWantsRead = 4;  // writing goes on when the socket is readable

class TlsConnection {
 public:
  // Null when out of memory. `method`: the environment's own BIO.
  static TlsConnection* create(TlsContext& context, BIO_METHOD* method, int descriptor);
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  static BIO_METHOD* create_method();

  // Before the handshake. `name` '': none is sent or checked; `is_address`: checked against iPAddress, and never sent.
  bool expect(const std::string& name, bool is_address, bool send_name, bool check_name);
  // Right after `create`: takes the other one over, whose plaintext carries this one's records from now on.
  void run_inside(TlsConnection* outer);
  // Under which its sessions are kept. '': none are.
  void resume(const std::string& destination);

  int32_t handshake();
  // The application has checked the peer too: its sessions may be used.
  void approve();
  // A count, 0 at the peer's close_notify, -EAGAIN, a negative errno or one of the codes above. `state`: the bits above.
  int32_t read(uint8_t* target, int64_t room, int32_t& state);
  int32_t write(const uint8_t* source, int64_t length, int32_t& state);
  // Sends close_notify, if that can be said at all. 1: the peer's has come too.
  int32_t shut_down();
  void shut_down_outer() {
    if (outer_ != nullptr) outer_->shut_down();
  }

  struct Failure {
    unsigned long code = 0;
    long verify_result = 0;
    int verify_depth = -1;
    std::string certificate;  // DER of the one that was refused
    std::string leaf;         // DER of the peer's own
  };
  const Failure& failure() const { return failure_; }
  SSL* ssl() const { return ssl_; }

  static int on_verify(int verified, X509_STORE_CTX* chain);
  static int on_session(SSL* ssl, SSL_SESSION* session);
  static void on_key(const SSL* ssl, const char* line);

 private:
  // Plaintext of one record (RFC 8446 §5.1), and of one SSL_write.
  static constexpr int64_t kRecordBytesMax = 16 * 1024;
  // Ciphertext that one call takes from the kernel: a peer that sends as fast as this reads must not keep the thread.
  static constexpr int64_t kReadBytesMax = 192 * 1024;
  // Of a session that is kept: a peer may send 64 KiB of ticket and 100 of certificates, and a thousand are kept. Usual are 3 to 8.
  static constexpr size_t kSessionBytesMax = 32 * 1024;

  TlsConnection(TlsContext& context, SSL* ssl, int descriptor);
  void renew_budget();
  void forget_errors();
  // As `read` and `write`, within the call under way.
  int32_t read_on(uint8_t* target, int64_t room, int32_t& state);
  int32_t write_on(const uint8_t* source, int64_t length, int32_t& state);
  void take_offered_key();
  void drop_handshake_keys();
  int32_t reason_of(int result);
  void release_buffers();
  int read_outer(BIO* bio, char* target, int room);
  int write_outer(BIO* bio, const char* source, int length);
  static int bio_read(BIO* bio, char* target, int room);
  static int bio_write(BIO* bio, const char* source, int length);
  static long bio_control(BIO* bio, int command, long number, void* pointer);

  TlsContext& context_;
  SSL* ssl_;
  const int descriptor_;
  std::unique_ptr<TlsConnection> outer_;  // null: the descriptor carries its records
  // Of the call under way.
  int errno_ = 0;
  int64_t read_budget_ = 0;
  bool drained_ = false;
  bool end_of_file_ = false;

  int64_t unsent_ = 0;  // plaintext of a record that is encrypted and not yet written

  bool established_ = false;
  bool approved_ = false;
  bool broken_ = false;
  bool ended_ = false;
  int32_t end_ = 0;
  std::string destination_;
  SSL_SESSION* early_session_ = nullptr;  // came before `approve`
  EVP_PKEY* offered_key_ = nullptr;       // of the first key share that was offered; until the handshake is done
  Failure failure_;
};

}  // namespace shardfetch
