// See tls_context.h.
#include "tls_context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "tls_connection.h"

namespace shardfetch {

static std::atomic<int32_t> live_objects[4];

void tls_count(TlsObject object, int32_t change) {
  live_objects[static_cast<size_t>(object)].fetch_add(change, std::memory_order_relaxed);
}

TlsCounts tls_counts() {
  const auto count = [](TlsObject object) {
    return live_objects[static_cast<size_t>(object)].load(std::memory_order_relaxed);
  };
  return {count(TlsObject::kContext), count(TlsObject::kTrust), count(TlsObject::kConnection), count(TlsObject::kSession)};
}

unsigned long tls_take_error() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  return code;
}

std::string tls_error_text(unsigned long code) {
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  if (reason != nullptr) return reason;
  return code == 0 ? "no reason given" : "OpenSSL error " + std::to_string(code);
}

// ── Sessions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// One of TLS 1.2 serves any number of connections.
static bool is_single(const SSL_SESSION* session) { return SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION; }

int& TlsOffers::debt(int context, const std::string& destination) {
  if (debts_.size() > kDebtsMax) debts_.clear();
  return debts_.emplace(std::to_string(context) + ' ' + destination, others).first->second;
}

bool TlsOffers::offer(int context, const std::string& destination, SSL_SESSION* session, bool single, bool spare) {
  if (others == 0 || (single && !spare)) return false;
  int& owed = debt(context, destination);
  if (owed == 0) return false;
  unsigned char* bytes = nullptr;
  const int length = i2d_SSL_SESSION(session, &bytes);
  ERR_clear_error();
  const bool offered = length > 0 && length <= kBytesMax;
  if (offered) {
    waiting_.push_back({context, destination, single, std::string(reinterpret_cast<char*>(bytes), static_cast<size_t>(length))});
    owed = single ? owed - 1 : 0;
    tell();
  }
  OPENSSL_free(bytes);
  return offered && single;
}

std::vector<TlsOffer> TlsOffers::take_waiting() {
  std::vector<TlsOffer> taken;
  taken.swap(waiting_);
  tell();
  return taken;
}

void TlsOffers::settle(int context, const std::string& destination) {
  if (others > 0) debt(context, destination) = 0;
}

void TlsSessions::put(const std::string& destination, SSL_SESSION* session) {
  const bool given = offers_ != nullptr &&
                     offers_->offer(context_, destination, session, is_single(session), destinations_.contains(destination));
  if (given) SSL_SESSION_free(session);
  else keep(destination, session);
}

bool TlsSessions::take_over(const std::string& destination, const uint8_t* bytes, size_t length) {
  ERR_clear_error();
  const unsigned char* at = bytes;
  SSL_SESSION* session = d2i_SSL_SESSION(nullptr, &at, static_cast<long>(length));
  ERR_clear_error();
  if (session == nullptr) return false;
  if (offers_ != nullptr) offers_->settle(context_, destination);
  keep(destination, session);
  return true;
}

void TlsSessions::keep(const std::string& destination, SSL_SESSION* session) {
  tls_count(TlsObject::kSession, 1);
  count_++;
  auto found = destinations_.find(destination);
  if (found == destinations_.end()) {
    order_.push_front(destination);
    found = destinations_.emplace(destination, Destination{{}, order_.begin()}).first;
  } else {
    order_.splice(order_.begin(), order_, found->second.place);
  }
  auto& kept = found->second.sessions;
  while (!kept.empty() && (!is_single(session) || kept.size() >= kPerDestinationMax)) {
    release(kept.front());
    kept.erase(kept.begin());
  }
  kept.push_back(session);
  while (count_ > kSessionsMax && order_.size() > 1) drop(destinations_.find(order_.back()));
}

SSL_SESSION* TlsSessions::take(const std::string& destination) {
  const auto found = destinations_.find(destination);
  if (found == destinations_.end()) return nullptr;
  auto& kept = found->second.sessions;
  SSL_SESSION* taken = nullptr;
  const auto now = static_cast<int64_t>(std::time(nullptr));
  while (!kept.empty() && taken == nullptr) {
    SSL_SESSION* newest = kept.back();
    const int64_t expiry = static_cast<int64_t>(SSL_SESSION_get_time(newest)) + static_cast<int64_t>(SSL_SESSION_get_timeout(newest));
    const bool fresh = SSL_SESSION_is_resumable(newest) == 1 && now < expiry;
    if (fresh) {
      SSL_SESSION_up_ref(newest);
      taken = newest;
    }
    if (fresh && !is_single(newest)) break;
    release(newest);
    kept.pop_back();
  }
  if (kept.empty()) drop(found);
  else order_.splice(order_.begin(), order_, found->second.place);
  return taken;
}

void TlsSessions::forget(const std::string& destination) {
  const auto found = destinations_.find(destination);
  if (found != destinations_.end()) drop(found);
}

void TlsSessions::clear() {
  while (!destinations_.empty()) drop(destinations_.begin());
}

void TlsSessions::drop(Destinations::iterator found) {
  for (SSL_SESSION* session : found->second.sessions) release(session);
  order_.erase(found->second.place);
  destinations_.erase(found);
}

void TlsSessions::release(SSL_SESSION* session) {
  SSL_SESSION_free(session);
  tls_count(TlsObject::kSession, -1);
  count_--;
}

// ── Trust ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

// A password that nobody gave must not be asked for at the terminal, which is what OpenSSL does by default.
static int give_passphrase(char* target, int room, int, void* data) {
  const auto* settings = static_cast<const TlsSettings*>(data);
  if (settings == nullptr || !settings->has_passphrase) return -1;
  const auto bytes = static_cast<int>(settings->passphrase.size());
  if (bytes > room) return -1;
  std::memcpy(target, settings->passphrase.data(), static_cast<size_t>(bytes));
  return bytes;
}

static BIO* reader_of(const std::string& text) { return BIO_new_mem_buf(text.data(), static_cast<int>(text.size())); }

TlsTrust::TlsTrust(X509_STORE* store) : store_(store) { tls_count(TlsObject::kTrust, 1); }

TlsTrust::~TlsTrust() {
  X509_STORE_free(store_);
  tls_count(TlsObject::kTrust, -1);
}

std::unique_ptr<TlsTrust> TlsTrust::create(const std::vector<std::string>& pems, bool system_paths, std::string& error) {
  ERR_clear_error();
  X509_STORE* store = X509_STORE_new();
  if (store == nullptr) {
    error = "no memory for a certificate store";
    return nullptr;
  }
  std::unique_ptr<TlsTrust> trust(new TlsTrust(store));
  for (const std::string& pem : pems) {
    BIO* reader = reader_of(pem);
    int found = 0;
    for (X509* certificate; (certificate = PEM_read_bio_X509_AUX(reader, nullptr, give_passphrase, nullptr)) != nullptr;) {
      X509_STORE_add_cert(store, certificate);
      X509_free(certificate);
      found++;
    }
    BIO_free(reader);
    const unsigned long code = tls_take_error();
    if (found > 0) continue;
    error = tls_error_text(code);
    return nullptr;
  }
  if (system_paths) X509_STORE_set_default_paths(store);
  ERR_clear_error();
  return trust;
}

// ── Contexts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TlsContext::TlsContext(SSL_CTX* context) : context_(context) { tls_count(TlsObject::kContext, 1); }

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
  if (key_log_ >= 0) ::close(key_log_);
  tls_count(TlsObject::kContext, -1);
}

void TlsContext::release() {
  if (--holders_ == 0) delete this;
}

TlsContext* TlsContext::create(const TlsSettings& settings, std::string& error) {
  ERR_clear_error();
  SSL_CTX* native = SSL_CTX_new(TLS_client_method());
  if (native == nullptr) {
    error = tls_error_text(tls_take_error());
    return nullptr;
  }
  auto* context = new TlsContext(native);
  const bool configured = context->configure(settings, error);
  ERR_clear_error();
  if (configured) return context;
  context->release();
  return nullptr;
}

bool TlsContext::configure(const TlsSettings& settings, std::string& error) {
  const auto fails = [&](const char* what) {
    error = std::string(what) + ": " + tls_error_text(tls_take_error());
    return false;
  };
  // An idle connection keeps no buffers: 18 KiB instead of 51 on OpenSSL 3.0. A write may be tried again from other memory.
  SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One recv takes a record's header and what follows it.
  SSL_CTX_set_read_ahead(context_, 1);
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  if (SSL_CTX_set_min_proto_version(context_, settings.version_min) != 1) return fails("minVersion");
  if (SSL_CTX_set_max_proto_version(context_, settings.version_max) != 1) return fails("maxVersion");
  if (!settings.ciphers.empty() && SSL_CTX_set_cipher_list(context_, settings.ciphers.c_str()) != 1) return fails("ciphers");
  if (!settings.suites.empty() && SSL_CTX_set_ciphersuites(context_, settings.suites.c_str()) != 1) return fails("ciphers");
  if (!settings.signatures.empty() && SSL_CTX_set1_sigalgs_list(context_, settings.signatures.c_str()) != 1) return fails("sigalgs");
  if (!settings.groups.empty() && SSL_CTX_set1_groups_list(context_, settings.groups.c_str()) != 1) return fails("ecdhCurve");
  if (!settings.alpn.empty()) {
    const auto* names = reinterpret_cast<const unsigned char*>(settings.alpn.data());
    if (SSL_CTX_set_alpn_protos(context_, names, static_cast<unsigned int>(settings.alpn.size())) != 0) return fails("alpn");
  }
  if (!settings.pfx.empty() && !use_pfx(settings, error)) return false;
  for (const std::string& pem : settings.certificates) {
    if (!use_certificate(pem, error)) return false;
  }
  for (const std::string& pem : settings.keys) {
    if (!use_key(pem, settings, error)) return false;
  }
  SSL_CTX_set_verify(context_, settings.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, TlsConnection::on_verify);
  keeps_sessions_ = settings.keep_sessions;
  SSL_CTX_set_session_cache_mode(context_, keeps_sessions_ ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
  SSL_CTX_sess_set_new_cb(context_, TlsConnection::on_session);
  if (settings.key_log.empty()) return true;
  key_log_ = ::open(settings.key_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (key_log_ >= 0) SSL_CTX_set_keylog_callback(context_, TlsConnection::on_key);
  return true;
}

// The first certificate is ours, those behind it lead to a root.
bool TlsContext::use_certificate(const std::string& pem, std::string& error) {
  BIO* reader = reader_of(pem);
  X509* own = PEM_read_bio_X509_AUX(reader, nullptr, give_passphrase, nullptr);
  bool used = own != nullptr && SSL_CTX_use_certificate(context_, own) == 1;
  if (used) SSL_CTX_clear_chain_certs(context_);
  X509_free(own);
  while (used) {
    X509* next = PEM_read_bio_X509(reader, nullptr, give_passphrase, nullptr);
    if (next == nullptr) break;
    used = SSL_CTX_add1_chain_cert(context_, next) == 1;
    X509_free(next);
  }
  BIO_free(reader);
  if (!used) error = "cert: " + tls_error_text(tls_take_error());
  ERR_clear_error();
  return used;
}

bool TlsContext::use_key(const std::string& pem, const TlsSettings& settings, std::string& error) {
  BIO* reader = reader_of(pem);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(reader, nullptr, give_passphrase, const_cast<TlsSettings*>(&settings));
  BIO_free(reader);
  const bool used = key != nullptr && SSL_CTX_use_PrivateKey(context_, key) == 1;
  EVP_PKEY_free(key);
  if (!used) error = "key: " + tls_error_text(tls_take_error());
  return used;
}

bool TlsContext::use_pfx(const TlsSettings& settings, std::string& error) {
  BIO* reader = reader_of(settings.pfx);
  PKCS12* archive = d2i_PKCS12_bio(reader, nullptr);
  BIO_free(reader);
  EVP_PKEY* key = nullptr;
  X509* own = nullptr;
  STACK_OF(X509)* chain = nullptr;
  bool used = archive != nullptr && PKCS12_parse(archive, settings.passphrase.c_str(), &key, &own, &chain) == 1;
  used = used && own != nullptr && key != nullptr && SSL_CTX_use_certificate(context_, own) == 1;
  used = used && SSL_CTX_use_PrivateKey(context_, key) == 1;
  for (int index = 0; used && chain != nullptr && index < sk_X509_num(chain); index++) {
    used = SSL_CTX_add1_chain_cert(context_, sk_X509_value(chain, index)) == 1;
  }
  if (chain != nullptr) sk_X509_pop_free(chain, X509_free);
  X509_free(own);
  EVP_PKEY_free(key);
  PKCS12_free(archive);
  if (!used) error = "pfx: " + tls_error_text(tls_take_error());
  return used;
}

void TlsContext::log_key(const char* line) const {
  // One call, so that lines of several threads do not mix.
  char end = '\n';
  iovec parts[2] = {{const_cast<char*>(line), std::strlen(line)}, {&end, 1}};
  if (::writev(key_log_, parts, 2) < 0) return;  // a log that cannot be written breaks nothing
}

}  // namespace shardfetch
