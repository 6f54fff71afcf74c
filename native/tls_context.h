// What TLS connections of one configuration have in common: OpenSSL's SSL_CTX, made of certificates, keys and cipher lists, and
// the sessions that servers gave for resumption. And trust stores: root certificates, parsed once and used by many contexts.
//
// OpenSSL is the one that the node binary exports. Everything here belongs to one environment. It decides nothing about names
// and knows no descriptor: see tls_connection.h.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace shardfetch {

// Live objects of all environments of this process, for tests: what is not 0 after the last environment is a leak. The one
// thing here that threads share; a count is no state that anything depends on.
struct TlsCounts {
  int32_t contexts;
  int32_t trusts;
  int32_t connections;
  int32_t sessions;
};
TlsCounts tls_counts();
enum class TlsObject : uint8_t { kContext, kTrust, kConnection, kSession };
void tls_count(TlsObject object, int32_t change);

// Takes the earliest error of OpenSSL's queue, which this thread shares with Node's own crypto, and leaves the queue empty.
unsigned long tls_take_error();
std::string tls_error_text(unsigned long code);

// Sessions by the destination they are for, those used last kept longest. One of TLS 1.3 is given out once (RFC 8446 §C.4).
class TlsSessions {
 public:
  TlsSessions() = default;
  ~TlsSessions() { clear(); }
  TlsSessions(const TlsSessions&) = delete;
  TlsSessions& operator=(const TlsSessions&) = delete;

  // Takes over the reference.
  void put(const std::string& destination, SSL_SESSION* session);
  // A reference for the caller, or null.
  SSL_SESSION* take(const std::string& destination);
  void forget(const std::string& destination);
  void clear();
  size_t size() const { return count_; }

 private:
  // Altogether, and for one destination: a burst of new connections has a ticket each, a flood of tickets has no more.
  static constexpr size_t kSessionsMax = 1'000;
  static constexpr size_t kPerDestinationMax = 16;

  struct Destination {
    std::vector<SSL_SESSION*> sessions;  // oldest first
    std::list<std::string>::iterator place;
  };
  using Destinations = std::unordered_map<std::string, Destination>;

  void drop(Destinations::iterator found);
  void release(SSL_SESSION* session);

  Destinations destinations_;
  std::list<std::string> order_;  // used last: first
  size_t count_ = 0;
};

class TlsTrust {
 public:
  // Null when a text holds no certificate that can be read; `error` says why then. Certificates that Node's own store would pass
  // over are passed over.
  static std::unique_ptr<TlsTrust> create(const std::vector<std::string>& pems, bool system_paths, std::string& error);
  ~TlsTrust();
  TlsTrust(const TlsTrust&) = delete;
  TlsTrust& operator=(const TlsTrust&) = delete;
  X509_STORE* store() const { return store_; }

 private:
  explicit TlsTrust(X509_STORE* store);
  X509_STORE* store_;
};

struct TlsSettings {
  std::vector<std::string> certificates;  // PEM: a chain each
  std::vector<std::string> keys;          // PEM
  std::string pfx;
  std::string passphrase;
  bool has_passphrase = false;
  std::string ciphers;      // for TLS 1.2; empty: OpenSSL's
  std::string suites;       // for TLS 1.3; empty: OpenSSL's
  std::string signatures;   // empty: OpenSSL's
  std::string groups;       // empty: OpenSSL's
  std::string alpn;         // as on the wire: a length and a name each
  std::string key_log;      // path; empty: none
  int version_min = 0;
  int version_max = 0;
  bool verify = true;
  bool keep_sessions = true;
};

class TlsContext {
 public:
  // Null, with a sentence in `error`.
  static TlsContext* create(const TlsSettings& settings, std::string& error);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Connections hold it too: it goes with the last of them.
  void hold() { holders_++; }
  void release();

  SSL_CTX* get() const { return context_; }
  bool keeps_sessions() const { return keeps_sessions_; }
  void trust(const TlsTrust& trust) { SSL_CTX_set1_cert_store(context_, trust.store()); }
  // One line of the format that Wireshark reads.
  void log_key(const char* line) const;

  TlsSessions sessions;

 private:
  explicit TlsContext(SSL_CTX* context);
  ~TlsContext();
  bool configure(const TlsSettings& settings, std::string& error);
  bool use_certificate(const std::string& pem, std::string& error);
  bool use_key(const std::string& pem, const TlsSettings& settings, std::string& error);
  bool use_pfx(const TlsSettings& settings, std::string& error);

  SSL_CTX* context_;
  int holders_ = 1;
  int key_log_ = -1;
  bool keeps_sessions_ = true;
};

}  // namespace shardfetch
