// See tls_connection.h.
#include "tls_connection.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <limits>

namespace shardfetch {

static TlsConnection* connection_of(const SSL* ssl) { return static_cast<TlsConnection*>(SSL_get_app_data(ssl)); }

static std::string der_of(X509* certificate) {
  if (certificate == nullptr) return {};
  unsigned char* bytes = nullptr;
  const int length = i2d_X509(certificate, &bytes);
  if (length < 0) return {};
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(length));
  OPENSSL_free(bytes);
  return der;
}

// ── The way to the socket ──────────────────────────────────────────────────────────────────────────────────────────────

BIO_METHOD* TlsConnection::create_method() {
  BIO_METHOD* method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "shardfetch socket");
  if (method == nullptr) return nullptr;
  BIO_meth_set_read(method, bio_read);
  BIO_meth_set_write(method, bio_write);
  BIO_meth_set_ctrl(method, bio_control);
  return method;
}

int TlsConnection::bio_read(BIO* bio, char* target, int room) {
  auto& connection = *static_cast<TlsConnection*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (connection.outer_ != nullptr) return connection.read_outer(bio, target, room);
  if (!connection.drained_ && connection.read_budget_ > 0) {
    ssize_t count;
    do count = ::recv(connection.descriptor_, target, static_cast<size_t>(room), 0);
    while (count < 0 && errno == EINTR);
    if (count > 0) {
      // Less than there was room for: the kernel has no more now. Watching is level-triggered, so what comes later is told.
      connection.drained_ = count < room;
      connection.read_budget_ -= count;
      return static_cast<int>(count);
    }
    if (count == 0) {
      connection.end_of_file_ = true;
      return 0;
    }
    if (errno != EAGAIN) {
      connection.errno_ = errno;
      return -1;
    }
    connection.drained_ = true;
  }
  BIO_set_retry_read(bio);
  return -1;
}

int TlsConnection::bio_write(BIO* bio, const char* source, int length) {
  auto& connection = *static_cast<TlsConnection*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (connection.outer_ != nullptr) return connection.write_outer(bio, source, length);
  ssize_t count;
  do count = ::send(connection.descriptor_, source, static_cast<size_t>(length), MSG_NOSIGNAL);
  while (count < 0 && errno == EINTR);
  if (count >= 0) return static_cast<int>(count);
  if (errno == EAGAIN) BIO_set_retry_write(bio);
  else connection.errno_ = errno;
  return -1;
}

long TlsConnection::bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return static_cast<TlsConnection*>(BIO_get_data(bio))->end_of_file_ ? 1 : 0;
  return 0;
}

// ── Life ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

TlsConnection::TlsConnection(TlsContext& context, SSL* ssl, int descriptor)
    : context_(context), ssl_(ssl), descriptor_(descriptor) {
  context_.hold();
  tls_count(TlsObject::kConnection, 1);
}

TlsConnection::~TlsConnection() {
  SSL_free(ssl_);
  ERR_clear_error();
  if (early_session_ != nullptr) SSL_SESSION_free(early_session_);
  EVP_PKEY_free(offered_key_);
  context_.release();
  tls_count(TlsObject::kConnection, -1);
}

TlsConnection* TlsConnection::create(TlsContext& context, BIO_METHOD* method, int descriptor) {
  ERR_clear_error();
  SSL* ssl = SSL_new(context.get());
  BIO* bio = BIO_new(method);
  if (ssl == nullptr || bio == nullptr) {
    SSL_free(ssl);
    BIO_free(bio);
    ERR_clear_error();
    return nullptr;
  }
  auto* connection = new TlsConnection(context, ssl, descriptor);
  BIO_set_data(bio, connection);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, connection);
  SSL_set_connect_state(ssl);
  return connection;
}

namespace {

// A name whose first label holds an underscore, `my_shop.example.org`, which no wildcard of OpenSSL's stands for; Node's, curl's and
// browsers' do. Answers the name with a label in its place that was made here and told to nobody: only a wildcard can match it.
// Empty: there is none.
std::string wildcard_only(const std::string& name) {
  const size_t end = name.find('.');
  if (end == std::string::npos || name.find('_') >= end) return {};
  for (size_t i = 0; i < end; i++) {
    if (std::isalnum(static_cast<unsigned char>(name[i])) == 0 && name[i] != '-' && name[i] != '_') return {};
  }
  unsigned char secret[24];
  if (RAND_bytes(secret, sizeof secret) != 1) return {};
  std::string label;
  for (const unsigned char byte : secret) {
    label += static_cast<char>('a' + (byte >> 4));
    label += static_cast<char>('a' + (byte & 15));
  }
  return label + name.substr(end);
}

}  // namespace

bool TlsConnection::expect(const std::string& name, bool is_address, bool send_name, bool check_name) {
  // To OpenSSL no name is one that need not be checked, and one with a dot in front stands for all names below it.
  if (check_name && (name.empty() || name[0] == '.')) return false;
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl_);
  // RFC 9525: no name of the subject counts, and a wildcard is a whole label.
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  bool expected = true;
  if (check_name && is_address) expected = X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) == 1;
  else if (check_name) expected = X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size()) == 1;
  if (expected && check_name && !is_address) {
    const std::string other = wildcard_only(name);
    if (!other.empty()) expected = X509_VERIFY_PARAM_add1_host(parameters, other.data(), other.size()) == 1;
  }
  if (expected && send_name && !is_address) expected = SSL_set_tlsext_host_name(ssl_, name.c_str()) == 1;
  ERR_clear_error();
  return expected;
}

void TlsConnection::resume(const std::string& destination) {
  if (!context_.keeps_sessions() || destination.empty()) return;
  destination_ = destination;
  SSL_SESSION* session = context_.sessions.take(destination);
  if (session == nullptr) return;
  SSL_set_session(ssl_, session);
  SSL_SESSION_free(session);
  ERR_clear_error();
}

void TlsConnection::approve() {
  approved_ = true;
  if (early_session_ == nullptr) return;
  context_.sessions.put(destination_, early_session_);
  early_session_ = nullptr;
}

// ── Calls ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

// Of the whole pile, once: what the inner one calls of the outer one goes on with what is left.
void TlsConnection::renew_budget() {
  drained_ = false;
  read_budget_ = kReadBytesMax;
  if (outer_ != nullptr) outer_->renew_budget();
}

void TlsConnection::forget_errors() {
  errno_ = 0;
  ERR_clear_error();
}

// Why the last SSL_* call did not succeed. Leaves OpenSSL's queue empty.
int32_t TlsConnection::reason_of(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      ERR_clear_error();
      return kTlsWantRead;
    case SSL_ERROR_WANT_WRITE:
      ERR_clear_error();
      return kTlsWantWrite;
    case SSL_ERROR_ZERO_RETURN:
      ERR_clear_error();
      return 0;
    default:
      break;
  }
  const unsigned long code = tls_take_error();
  broken_ = true;
  if (errno_ != 0) return -errno_;
  const bool told = code != 0 && !(ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
  if (end_of_file_ && !told) return kTlsTruncated;
  failure_.code = code;
  return kTlsFailed;
}

int32_t TlsConnection::handshake() {
  renew_budget();
  forget_errors();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    established_ = true;
    drop_handshake_keys();
    ERR_clear_error();
    return 0;
  }
  if (offered_key_ == nullptr) take_offered_key();
  const int32_t reason = reason_of(result);
  if (reason == kTlsWantRead || reason == kTlsWantWrite) return reason;
  // What was to be resumed may be what the peer could not bear.
  if (!destination_.empty()) context_.sessions.forget(destination_);
  return reason == 0 ? kTlsTruncated : reason;
}

// Frees what is in a key, whoever holds it: OpenSSL has no other way to the keys of a handshake that is over.
static void empty_key(EVP_PKEY* key) {
  if (key != nullptr && EVP_PKEY_get_id(key) != EVP_PKEY_NONE) EVP_PKEY_set_type(key, EVP_PKEY_X25519);
}

// Where the peer chooses another group than the first, OpenSSL keeps this key, and shows the other one.
void TlsConnection::take_offered_key() {
  if (SSL_get_tmp_key(ssl_, &offered_key_) != 1) offered_key_ = nullptr;
}

// Keys that only a handshake needs stay with a connection, and there are no further handshakes: 8 KiB of ML-KEM on OpenSSL 3.5, and
// 2 KiB for each certificate that the peer has sent. Those of the trust store are other objects, and stay.
void TlsConnection::drop_handshake_keys() {
  EVP_PKEY* used_key = nullptr;
  if (SSL_get_tmp_key(ssl_, &used_key) == 1) {
    empty_key(used_key);
    EVP_PKEY_free(used_key);
  }
  empty_key(offered_key_);
  EVP_PKEY_free(offered_key_);
  offered_key_ = nullptr;
  STACK_OF(X509)* sent = SSL_get_peer_cert_chain(ssl_);
  for (int index = 0; sent != nullptr && index < sk_X509_num(sent); index++) {
    empty_key(X509_get0_pubkey(sk_X509_value(sent, index)));
  }
}

int32_t TlsConnection::read(uint8_t* target, int64_t room, int32_t& state) {
  renew_budget();
  return read_on(target, room, state);
}

int32_t TlsConnection::read_on(uint8_t* target, int64_t room, int32_t& state) {
  state = 0;
  if (ended_) return end_;
  forget_errors();
  int64_t total = 0;
  while (total < room) {
    const auto bytes = static_cast<int>(std::min<int64_t>(room - total, std::numeric_limits<int>::max()));
    const int count = SSL_read(ssl_, target + total, bytes);
    if (count > 0) {
      total += count;
      // The usual end, without a call that would make and free a buffer to find nothing.
      if (drained_ && SSL_has_pending(ssl_) == 0) break;
      continue;
    }
    const int32_t reason = reason_of(count);
    if (reason == kTlsWantRead) break;
    if (reason == kTlsWantWrite) {
      state |= kTlsReadWantsWrite;
      break;
    }
    ended_ = true;
    end_ = reason;
    break;
  }
  ERR_clear_error();
  if (!ended_) release_buffers();
  if (total == 0) return ended_ ? end_ : -EAGAIN;
  if (ended_ || (total == room && (outer_ != nullptr || SSL_has_pending(ssl_) == 1))) state |= kTlsMore;
  return static_cast<int32_t>(total);
}

// A ticket or KeyUpdate that was read leaves a buffer for writing behind, of 17 KiB, that would stay until something is written.
// Not in mid-record: OpenSSL 3.0 would free the part that it has.
void TlsConnection::release_buffers() {
  const char* state = SSL_rstate_string(ssl_);
  if (state[0] == 'R' && state[1] == 'H') SSL_free_buffers(ssl_);
}

int32_t TlsConnection::write(const uint8_t* source, int64_t length, int32_t& state) {
  renew_budget();
  return write_on(source, length, state);
}

int32_t TlsConnection::write_on(const uint8_t* source, int64_t length, int32_t& state) {
  state = 0;
  if (broken_) return errno_ != 0 ? -errno_ : -EPIPE;
  forget_errors();
  int64_t total = 0;
  while (total < length) {
    // OpenSSL wants no less than what it could not write before, of which it reads nothing: the caller may offer less now.
    const int64_t bytes = std::max(std::min(length - total, kRecordBytesMax), unsent_);
    const int count = SSL_write(ssl_, source + total, static_cast<int>(bytes));
    if (count > 0) {
      unsent_ = 0;
      total += count;
      continue;
    }
    const int32_t reason = reason_of(count);
    unsent_ = reason == kTlsWantWrite || reason == kTlsWantRead ? bytes : 0;
    if (reason == kTlsWantRead) state |= kTlsWriteWantsRead;
    if (total > 0 || reason == kTlsWantRead || reason == kTlsWantWrite) break;
    return reason == 0 ? -EPIPE : reason;
  }
  ERR_clear_error();
  return total > 0 || length == 0 ? static_cast<int32_t>(total) : -EAGAIN;
}

int32_t TlsConnection::shut_down() {
  if (!established_ || broken_) return kTlsFailed;
  renew_budget();
  forget_errors();
  const int result = SSL_shutdown(ssl_);
  ERR_clear_error();
  return result == 1 ? 1 : 0;
}

// ── What OpenSSL calls ─────────────────────────────────────────────────────────────────────────────────────────────────

int TlsConnection::on_verify(int verified, X509_STORE_CTX* chain) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  TlsConnection* connection = ssl == nullptr ? nullptr : connection_of(ssl);
  if (verified == 1 || connection == nullptr) return verified;
  Failure& failure = connection->failure_;
  if (failure.verify_result != X509_V_OK) return verified;  // the first is the cause
  failure.verify_result = X509_STORE_CTX_get_error(chain);
  failure.verify_depth = X509_STORE_CTX_get_error_depth(chain);
  failure.certificate = der_of(X509_STORE_CTX_get_current_cert(chain));
  failure.leaf = der_of(X509_STORE_CTX_get0_cert(chain));
  return verified;
}

// Of what a peer sent and a session holds on to: its ticket, and the certificates.
static size_t weight_of(const SSL* ssl, const SSL_SESSION* session) {
  const unsigned char* ticket = nullptr;
  size_t bytes = 0;
  SSL_SESSION_get0_ticket(session, &ticket, &bytes);
  STACK_OF(X509)* sent = SSL_get_peer_cert_chain(ssl);
  for (int index = 0; sent != nullptr && index < sk_X509_num(sent); index++) {
    bytes += static_cast<size_t>(std::max(i2d_X509(sk_X509_value(sent, index), nullptr), 0));
  }
  return bytes;
}

int TlsConnection::on_session(SSL* ssl, SSL_SESSION* session) {
  TlsConnection* connection = connection_of(ssl);
  if (connection == nullptr || connection->destination_.empty()) return 0;
  // Whoever resumes it is not verified again.
  if (SSL_get_verify_result(ssl) != X509_V_OK) return 0;
  if (weight_of(ssl, session) > kSessionBytesMax) return 0;
  if (connection->approved_) {
    connection->context_.sessions.put(connection->destination_, session);
    return 1;
  }
  if (connection->early_session_ != nullptr) SSL_SESSION_free(connection->early_session_);
  connection->early_session_ = session;
  return 1;
}

void TlsConnection::on_key(const SSL* ssl, const char* line) {
  const TlsConnection* connection = connection_of(ssl);
  if (connection != nullptr) connection->context_.log_key(line);
}

}  // namespace shardfetch
