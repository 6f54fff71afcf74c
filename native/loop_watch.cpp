// See loop_watch.h.
#include "loop_watch.h"

namespace shardfetch {

LoopWatch::Owned LoopWatch::create(napi_env env, int descriptor, int& error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
    error = UV_EINVAL;
    return nullptr;
  }
  auto* watch = new LoopWatch(env);
  error = uv_poll_init(loop, &watch->handle_, descriptor);
  if (error != 0) {
    delete watch;  // libuv never knew it
    return nullptr;
  }
  watch->handle_.data = watch;
  napi_add_async_cleanup_hook(env, on_environment_end, watch, &watch->hook_);
  return Owned(watch);
}

bool LoopWatch::start(napi_value callback) {
  if (state_ != State::kStopped) return false;
  if (!callback_.set(callback, "shardfetch.Poller")) return false;
  uv_poll_start(&handle_, UV_READABLE, on_readable);  // fails for closing handles only
  state_ = State::kStarted;
  return true;
}

void LoopWatch::stop() {
  if (state_ != State::kStarted) return;
  uv_poll_stop(&handle_);
  callback_.clear();
  state_ = State::kStopped;
}

void LoopWatch::set_referenced(bool referenced) {
  if (state_ == State::kClosing || state_ == State::kClosed) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&handle_);
  if (referenced) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void LoopWatch::close() {
  if (state_ == State::kClosing || state_ == State::kClosed) return;
  stop();
  state_ = State::kClosing;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), on_closed);
}

void LoopWatch::release() {
  released_ = true;
  if (state_ == State::kClosed) {
    delete this;
  } else {
    close();
  }
}

void LoopWatch::on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  static_cast<LoopWatch*>(data)->close();
}

void LoopWatch::on_closed(uv_handle_t* handle) {
  auto* watch = static_cast<LoopWatch*>(handle->data);
  watch->state_ = State::kClosed;
  // The environment may be gone as soon as this returns, and the instance with it: nothing of the watch is used after.
  const napi_async_cleanup_hook_handle hook = watch->hook_;
  if (watch->released_) delete watch;
  napi_remove_async_cleanup_hook(hook);
}

void LoopWatch::on_readable(uv_poll_t* handle, int status, int) {
  if (status < 0) uv_poll_stop(handle);  // whoever calls wait() gets the error
  // The callback may close the poller; the watch lives until libuv's close callback, which cannot come before this returns.
  static_cast<LoopWatch*>(handle->data)->callback_.call();
}

}  // namespace shardfetch
