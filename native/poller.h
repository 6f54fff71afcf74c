// Readiness of many sockets: the only file that knows of epoll. Level-triggered.
//
// Says which sockets are ready; reads none, times nothing, and does not own the sockets it watches.
#pragma once

#include <napi.h>
#include <sys/epoll.h>

#include <cstdint>
#include <memory>

#include "instance.h"
#include "loop_watch.h"

namespace shardfetch {

class Poller {
 public:
  // Null, with `error` set to a negative errno, when the kernel refuses (EMFILE, ENOMEM).
  static std::unique_ptr<Poller> create(napi_env env, int& error);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  int descriptor() const { return descriptor_; }
  napi_value events() const { return events_.value(); }

  // `watcher`: the socket's slot in the instance. See io.ts for the rest.
  int watch(int socket, int what, uint32_t tag, int& watcher);
  int wait(int timeout_ms);

  // A negative errno when the loop refuses; -EALREADY when started.
  int start(napi_value callback);
  void stop();
  void set_referenced(bool referenced);

 private:
  // Per call of wait. What did not fit is reported by the next: epoll serves descriptors in turn.
  static constexpr int kEventsMax = 1024;
  // Numbers per event: socket, events, tag.
  static constexpr int kEventNumbers = 3;

  explicit Poller(int descriptor, napi_env env) : descriptor_(descriptor), env_(env) {}

  const int descriptor_;
  napi_env env_;
  bool referenced_ = true;
  LoopWatch::Owned loop_watch_;  // from the first start
  SharedArray events_;
  epoll_event ready_[kEventsMax];
};

void poller_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
