// See loop_callback.h.
#include "loop_callback.h"

namespace shardfetch {

bool LoopCallback::set(napi_value callback, const char* name) {
  clear();
  napi_value resource_name = nullptr;
  napi_create_string_utf8(env_, name, NAPI_AUTO_LENGTH, &resource_name);
  if (napi_async_init(env_, nullptr, resource_name, &context_) != napi_ok) return false;
  napi_create_reference(env_, callback, 1, &callback_);
  return true;
}

void LoopCallback::clear() {
  if (callback_ == nullptr) return;
  napi_delete_reference(env_, callback_);
  napi_async_destroy(env_, context_);
  callback_ = nullptr;
  context_ = nullptr;
}

void LoopCallback::call() {
  napi_handle_scope scope = nullptr;
  if (callback_ == nullptr || napi_open_handle_scope(env_, &scope) != napi_ok) return;
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
