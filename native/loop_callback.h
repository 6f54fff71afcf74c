// A function of JavaScript's that libuv's callbacks call: kept with the async context it was given in.
//
// What it throws is an uncaught exception, as in Node's own callbacks. In an environment that is being terminated a call does
// nothing.
#pragma once

#include <node_api.h>

namespace shardfetch {

class LoopCallback {
 public:
  explicit LoopCallback(napi_env env) : env_(env) {}
  LoopCallback(const LoopCallback&) = delete;
  LoopCallback& operator=(const LoopCallback&) = delete;

  // `name`: of the resource, for async_hooks. False when the environment takes no more.
  bool set(napi_value callback, const char* name);
  // Whoever set it clears it, also at the environment's end.
  void clear();
  bool is_set() const { return callback_ != nullptr; }
  // The function may clear or set this very object.
  void call();

 private:
  napi_env env_;
  napi_ref callback_ = nullptr;
  napi_async_context context_ = nullptr;
};

}  // namespace shardfetch
