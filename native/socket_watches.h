// Readiness of many sockets through the thread's own event loop: a uv_poll handle per socket. Level-triggered.
//
// libuv's callbacks only note what they found; a uv_check handle, which runs right after libuv polled, hands a whole round to
// JavaScript in one call. So no transfer's clock is looked at before every socket of the round was.
//
// Three things libuv asks for: one handle per descriptor (-EEXIST otherwise), a handle stopped before its descriptor is closed
// (`watch` with 0 does that at once, and takes back what was noted of it), and its memory until the close callback ran. The end is
// as LoopWatch's: see there.
#pragma once

#include <napi.h>
#include <poll.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "instance.h"
#include "loop_callback.h"

namespace shardfetch {

class SocketWatches {
 public:
  // Null, with `error` set to a negative errno.
  static OwnedSocketWatches create(napi_env env, int& error);

  SocketWatches(const SocketWatches&) = delete;
  SocketWatches& operator=(const SocketWatches&) = delete;

  napi_value events() const { return events_.value(); }

  // Begins, changes or (what = 0) ends watching. 0 or a negative errno; what libuv refuses leaves no handle.
  int watch(int socket, int what);
  // Begins to call `callback` after each round that found something. -EALREADY when started.
  int start(napi_value callback);
  void stop();
  // Whether the loop stays alive while started. The sockets alone never keep it.
  void set_referenced(bool referenced);
  // Asks the kernel now, unless libuv has just done so. What is found is noted as if libuv had.
  void look();
  // How many triples of `events` were noted; they hold until the next round, save those of sockets whose watching ends.
  int take();
  // The owner lets go; libuv may still hold handles, so who lets go last deletes.
  void release();

 private:
  // Noted at once, at most (96 KiB). When they are full they are handed over at once, and libuv goes on.
  static constexpr int kEventsMax = 8192;
  static constexpr int kEventNumbers = 3;

  struct Watch {
    uv_poll_t handle{};
    SocketWatches* owner = nullptr;
    int socket = -1;
    uint32_t what = 0;
    uint32_t round = 0;  // in which it was noted last, and where
    int place = 0;
  };

  enum class State {
    kOpen,
    kClosing,  // libuv still holds handles; every descriptor is free already
    kClosed,   // libuv let go; the owner has not
  };

  explicit SocketWatches(napi_env env) : callback_(env) {}
  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_prepare(uv_prepare_t* handle);
  static void on_check(uv_check_t* handle);
  static void on_watch_closed(uv_handle_t* handle);
  static void on_own_closed(uv_handle_t* handle);
  static void on_environment_end(napi_async_cleanup_hook_handle hook, void* data);

  Watch* watch_of(int socket) const;
  int begin(int socket, Watch*& watch);
  void end(Watch* watch);
  void note(Watch* watch, uint32_t what);
  void hand_over();
  void close();
  void handle_closed();

  uv_loop_t* loop_ = nullptr;
  State state_ = State::kOpen;
  bool released_ = false;  // by the owner
  bool started_ = false;
  int handles_ = 0;  // that libuv knows, those that are closing too
  uv_prepare_t prepare_{};
  uv_check_t check_{};
  napi_async_cleanup_hook_handle hook_ = nullptr;
  LoopCallback callback_;
  SharedArray events_;
  int count_ = 0;
  uint32_t round_ = 1;
  uint64_t polled_ns_ = 0;       // when libuv last began to poll, or `look` did
  std::vector<Watch*> watches_;  // by descriptor
  std::vector<pollfd> looked_at_;
};

void socket_watches_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
