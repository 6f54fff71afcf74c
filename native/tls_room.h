// What one environment owns of TLS beside its connections: contexts and trust stores by number, and the way to the socket that
// all its connections share.
#pragma once

#include <openssl/bio.h>

#include <memory>
#include <unordered_map>

#include "tls_connection.h"
#include "tls_context.h"

namespace shardfetch {

class TlsRoom {
 public:
  TlsRoom() : method_(TlsConnection::create_method()) {}
  ~TlsRoom() {
    for (const auto& [number, context] : contexts_) context->release();
    BIO_meth_free(method_);
  }
  TlsRoom(const TlsRoom&) = delete;
  TlsRoom& operator=(const TlsRoom&) = delete;

  BIO_METHOD* method() const { return method_; }

  int adopt(TlsContext* context) {
    contexts_[++last_] = context;
    context->sessions.share(offers, last_);
    return last_;
  }
  int adopt(std::unique_ptr<TlsTrust> trust) {
    trusts_[++last_] = std::move(trust);
    return last_;
  }
  // Null when there is none of this number.
  TlsContext* context(int number) const {
    const auto found = contexts_.find(number);
    return found == contexts_.end() ? nullptr : found->second;
  }
  TlsTrust* trust(int number) const {
    const auto found = trusts_.find(number);
    return found == trusts_.end() ? nullptr : found->second.get();
  }
  // Sessions for other environments. Those of a context whose number was closed are nobody's: JavaScript passes over them.
  TlsOffers offers;

  // Connections and contexts keep what they use of it.
  void close(int number) {
    const auto found = contexts_.find(number);
    if (found != contexts_.end()) {
      found->second->release();
      contexts_.erase(found);
    }
    trusts_.erase(number);
  }

 private:
  BIO_METHOD* method_;
  int last_ = 0;
  std::unordered_map<int, TlsContext*> contexts_;
  std::unordered_map<int, std::unique_ptr<TlsTrust>> trusts_;
};

}  // namespace shardfetch
