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

// A session that this environment does not need itself and another one may use: as bytes, which hold secrets.
struct TlsOffer {
  int context;
  std::string destination;
  bool single;  // of TLS 1.3: it is for one connection of one environment
  std::string bytes;
};

// What one environment has set aside for others that resume sessions of the same destinations.
class TlsOffers {
 public:
  // How many others there are; 0: nothing is set aside.
  int others = 0;
  // Where JavaScript reads how many wait.
  int32_t* waiting_count = nullptr;

  // Whether the session is gone, to the others. `spare`: of a single one, whether another is kept here. Each destination owes
  // every other environment one, and no more: who has resumed is given new ones by the server.
  bool offer(int context, const std::string& destination, SSL_SESSION* session, bool single, bool spare);
  // The others have had one of somebody else.
  void settle(int context, const std::string& destination);
  std::vector<TlsOffer> take_waiting();

 private:
  // Destinations whose debts are known. Beyond that all are forgotten, and some sessions are offered once more.
  static constexpr size_t kDebtsMax = 4'000;
  // Larger ones hold a certificate that is larger than the handshake it saves.
  static constexpr int kBytesMax = 16 * 1024;

  int& debt(int context, const std::string& destination);
  void tell() { if (waiting_count != nullptr) *waiting_count = static_cast<int32_t>(waiting_.size()); }

  std::unordered_map<std::string, int> debts_;
  std::vector<TlsOffer> waiting_;
};

// Sessions by the destination they are for, those used last kept longest. One of TLS 1.3 is given out once (RFC 8446 §C.4).
class TlsSessions {
 public:
  // Of the context with this number.
  void share(TlsOffers& offers, int context) {
    offers_ = &offers;
    context_ = context;
  }
  TlsSessions() = default;
  ~TlsSessions() { clear(); }
  TlsSessions(const TlsSessions&) = delete;
  TlsSessions& operator=(const TlsSessions&) = delete;

  // Takes over the reference. From a server: others may get it instead, or too.
  void put(const std::string& destination, SSL_SESSION* session);
  // From another environment: what it offered. False when it cannot be read.
  bool take_over(const std::string& destination, const uint8_t* bytes, size_t length);
  // A reference for the caller, or null.
  SSL_SESSION* take(const std::string& destination);
  void forget(const std::string& destination);
  void clear();
  size_t size() const { return count_; }

 private:
  // Altogether, and for one destination: a burst of new connections has a ticket each (with 16, of 64 new connections at a time half
  // made full handshakes), a flood of tickets has no more.
  static constexpr size_t kSessionsMax = 1'000;
  static constexpr size_t kPerDestinationMax = 64;

  struct Destination {
    std::vector<SSL_SESSION*> sessions;  // oldest first
    std::list<std::string>::iterator place;
  };
  using Destinations = std::unordered_map<std::string, Destination>;

  void keep(const std::string& destination, SSL_SESSION* session);
  void drop(Destinations::iterator found);
  void release(SSL_SESSION* session);

  Destinations destinations_;
  std::list<std::string> order_;  // used last: first
  size_t count_ = 0;
  TlsOffers* offers_ = nullptr;
  int context_ = 0;
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
