// Tells JavaScript, on the thread's own event loop, that a descriptor (an epoll) became readable: a uv_poll handle and the
// function it calls.
//
// The hard part is the end. Node unmaps the addon and frees the loop soon after an environment ended, and a libuv handle lives
// until its close callback ran. So the handle is closed from an asynchronous clean-up hook, which holds the environment open,
// and the hook is removed in the close callback alone. Whoever comes first, this hook or the finalizer of the instance, closes;
// the other finds it done. Anything simpler was seen to end in SIGSEGV when a worker threw, exited or ran out of memory.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <memory>

#include "loop_callback.h"

namespace shardfetch {

class LoopWatch {
 public:
  // Its owner lets go of it while libuv still holds the handle: who lets go last deletes.
  struct Release {
    void operator()(LoopWatch* watch) const { watch->release(); }
  };
  using Owned = std::unique_ptr<LoopWatch, Release>;

  // Null, with `error` set to a negative libuv error, when the loop refuses the descriptor.
  static Owned create(napi_env env, int descriptor, int& error);

  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  // Begins to call `callback`. False when already started or closed.
  bool start(napi_value callback);
  // Ends calling. May be called inside the callback, and twice.
  void stop();
  // Whether the loop stays alive while started.
  void set_referenced(bool referenced);

 private:
  enum class State {
    kStopped,  // the handle exists and is silent
    kStarted,  // callback_ is set
    kClosing,  // uv_close was called: the descriptor is free already, the handle is not
    kClosed,   // libuv let go; the owner has not
  };

  explicit LoopWatch(napi_env env) : callback_(env) {}
  static void on_readable(uv_poll_t* handle, int status, int events);
  static void on_closed(uv_handle_t* handle);
  static void on_environment_end(napi_async_cleanup_hook_handle hook, void* data);
  void release();
  void close();

  State state_ = State::kStopped;
  uv_poll_t handle_{};
  napi_async_cleanup_hook_handle hook_ = nullptr;
  LoopCallback callback_;
  bool released_ = false;  // by the owner
};

}  // namespace shardfetch
