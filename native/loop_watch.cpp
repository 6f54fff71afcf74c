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
  napi_value name = nullptr;
  napi_create_string_utf8(env_, "shardfetch.Poller", NAPI_AUTO_LENGTH, &name);
  if (napi_async_init(env_, nullptr, name, &context_) != napi_ok) return false;
  napi_create_reference(env_, callback, 1, &callback_);
  uv_poll_start(&handle_, UV_READABLE, on_readable);  // fails for closing handles only
  state_ = State::kStarted;
  return true;
}

void LoopWatch::stop() {
  if (state_ != State::kStarted) return;
  uv_poll_stop(&handle_);
  napi_delete_reference(env_, callback_);
  napi_async_destroy(env_, context_);
  callback_ = nullptr;
  context_ = nullptr;
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
  static_cast<LoopWatch*>(handle->data)->call_back();
}

void LoopWatch::call_back() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, callback_, &callback);
  napi_get_global(env_, &receiver);
  const napi_status status = napi_make_callback(env_, context_, receiver, callback, 0, nullptr, nullptr);
  if (status != napi_ok) {
    // An exception left pending would silence every later callback and surface in an unrelated call. In an environment that
    // is being terminated there is none, and nothing may be done.
    bool pending = false;
    napi_value exception = nullptr;
    if (napi_is_exception_pending(env_, &pending) == napi_ok && pending &&
        napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
      napi_fatal_exception(env_, exception);
    }
  }
  napi_close_handle_scope(env_, scope);
}

}  // namespace shardfetch
