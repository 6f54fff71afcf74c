// See socket_watches.h.
#include "socket_watches.h"

#include <cerrno>
#include <utility>

#include "call.h"
#include "readiness.h"

namespace shardfetch {

// A deadline is good to a millisecond: what arrived within one is neither early nor late.
static constexpr uint64_t kFreshNs = 1'000'000;

static int uv_events_of(uint32_t what) {
  int events = 0;
  if ((what & kIn) != 0) events |= UV_READABLE;
  if ((what & kOut) != 0) events |= UV_WRITABLE;
  return events;
}

OwnedSocketWatches SocketWatches::create(napi_env env, int& error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
    error = -EINVAL;
    return nullptr;
  }
  auto* watches = new SocketWatches(env);
  watches->events_.allocate(env, napi_int32_array, sizeof(int32_t), kEventsMax * kEventNumbers);
  if (!watches->events_.allocated()) {
    delete watches;  // libuv never knew it
    error = -ENOMEM;
    return nullptr;
  }
  watches->loop_ = loop;
  watches->prepare_.data = watches;
  watches->check_.data = watches;
  uv_prepare_init(loop, &watches->prepare_);  // neither of these can fail
  uv_check_init(loop, &watches->check_);
  uv_unref(reinterpret_cast<uv_handle_t*>(&watches->prepare_));
  watches->handles_ = 2;
  napi_add_async_cleanup_hook(env, on_environment_end, watches, &watches->hook_);
  return OwnedSocketWatches(watches);
}

int SocketWatches::start(napi_value callback) {
  if (started_ || state_ != State::kOpen) return -EALREADY;
  if (!callback_.set(callback, "shardfetch.SocketWatches")) return -EINVAL;
  started_ = true;
  uv_prepare_start(&prepare_, on_prepare);
  uv_check_start(&check_, on_check);
  return 0;
}

void SocketWatches::stop() {
  if (!started_) return;
  started_ = false;
  uv_prepare_stop(&prepare_);
  uv_check_stop(&check_);
  callback_.clear();
}

void SocketWatches::set_referenced(bool referenced) {
  if (state_ != State::kOpen) return;
  // One handle holds the loop for all: to tell thousands would take as long as thousands of calls.
  auto* handle = reinterpret_cast<uv_handle_t*>(&check_);
  if (referenced) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

SocketWatches::Watch* SocketWatches::watch_of(int socket) const {
  const auto index = static_cast<size_t>(socket);
  return index < watches_.size() ? watches_[index] : nullptr;
}

int SocketWatches::watch(int socket, int what) {
  if ((static_cast<uint32_t>(what) & ~(kIn | kOut)) != 0) return -EINVAL;
  if (state_ != State::kOpen) return -EBADF;
  Watch* watch = watch_of(socket);
  if (what == 0) {
    if (watch == nullptr) return -ENOENT;
    end(watch);
    return 0;
  }
  if (watch == nullptr) {
    const int error = begin(socket, watch);
    if (error != 0) return error;
  }
  watch->what = static_cast<uint32_t>(what);
  const int error = uv_poll_start(&watch->handle, uv_events_of(watch->what), on_ready);
  if (error != 0) end(watch);
  return error;
}

int SocketWatches::begin(int socket, Watch*& watch) {
  watch = new Watch;
  const int error = uv_poll_init(loop_, &watch->handle, socket);
  if (error != 0) {
    delete watch;  // libuv never knew it
    return error;
  }
  watch->handle.data = watch;
  watch->owner = this;
  watch->socket = socket;
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->handle));
  handles_++;
  const auto index = static_cast<size_t>(socket);
  if (index >= watches_.size()) watches_.resize(index < 64 ? 128 : index * 2);
  watches_[index] = watch;
  return 0;
}

void SocketWatches::end(Watch* watch) {
  // The descriptor may be another socket's by the time JavaScript comes to this event.
  int32_t* triple = reinterpret_cast<int32_t*>(events_.data()) + watch->place * kEventNumbers;
  if (watch->round > 0 && triple[0] == watch->socket) triple[0] = -1;
  watches_[static_cast<size_t>(watch->socket)] = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->handle), on_watch_closed);  // stops it at once
}

void SocketWatches::note(Watch* watch, uint32_t what) {
  auto* events = reinterpret_cast<int32_t*>(events_.data());
  if (count_ > 0 && watch->round == round_) {
    events[watch->place * kEventNumbers + 1] |= static_cast<int32_t>(what);
    return;
  }
  if (count_ == kEventsMax) return;
  watch->round = round_;
  watch->place = count_++;
  int32_t* triple = events + watch->place * kEventNumbers;
  triple[0] = watch->socket;
  triple[1] = static_cast<int32_t>(what);
  triple[2] = 0;
}

int SocketWatches::take() {
  const int count = count_;
  count_ = 0;
  round_++;
  return count;
}

void SocketWatches::look() {
  const uint64_t now_ns = uv_hrtime();
  if (now_ns - polled_ns_ < kFreshNs) return;
  looked_at_.clear();
  for (const Watch* watch : watches_) {
    if (watch != nullptr) looked_at_.push_back({watch->socket, poll_events_of(watch->what), 0});
  }
  if (::poll(looked_at_.data(), looked_at_.size(), 0) < 0) return;
  polled_ns_ = now_ns;
  for (const pollfd& looked : looked_at_) {
    if (looked.revents != 0) note(watch_of(looked.fd), engine_events_of_poll(looked.revents));
  }
}

void SocketWatches::on_ready(uv_poll_t* handle, int status, int events) {
  auto* watch = static_cast<Watch*>(handle->data);
  SocketWatches* watches = watch->owner;
  uint32_t what = 0;
  if (status < 0) {
    what = kErr | kIn | kOut;
    // libuv stops watching what has an error. Level-triggered is: until somebody ends it.
    uv_poll_start(handle, uv_events_of(watch->what), on_ready);
  } else {
    if ((events & UV_READABLE) != 0) what |= kIn;
    if ((events & UV_WRITABLE) != 0) what |= kOut;
  }
  watches->note(watch, what);
  // The last thing done: what it calls may end this very watch.
  if (watches->count_ == kEventsMax) watches->hand_over();
}

void SocketWatches::hand_over() { callback_.call(); }

void SocketWatches::on_prepare(uv_prepare_t* handle) {
  static_cast<SocketWatches*>(handle->data)->polled_ns_ = uv_hrtime();
}

void SocketWatches::on_check(uv_check_t* handle) {
  auto* watches = static_cast<SocketWatches*>(handle->data);
  if (watches->count_ > 0) watches->hand_over();
}

void SocketWatches::close() {
  if (state_ != State::kOpen) return;
  stop();
  for (Watch* watch : watches_) {
    if (watch != nullptr) end(watch);
  }
  state_ = State::kClosing;
  events_.release();
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), on_own_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&check_), on_own_closed);
}

void SocketWatches::release() {
  released_ = true;
  if (state_ == State::kClosed) {
    delete this;
  } else {
    close();
  }
}

void SocketWatches::on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  static_cast<SocketWatches*>(data)->close();
}

void SocketWatches::on_watch_closed(uv_handle_t* handle) {
  auto* watch = static_cast<Watch*>(handle->data);
  SocketWatches* watches = watch->owner;
  delete watch;
  watches->handle_closed();
}

void SocketWatches::on_own_closed(uv_handle_t* handle) {
  static_cast<SocketWatches*>(handle->data)->handle_closed();
}

void SocketWatches::handle_closed() {
  handles_--;
  if (handles_ > 0) return;
  state_ = State::kClosed;
  // The environment may be gone as soon as this returns, and the instance with it: nothing of this is used after.
  const napi_async_cleanup_hook_handle hook = hook_;
  if (released_) delete this;
  napi_remove_async_cleanup_hook(hook);
}

// What JavaScript calls. Each takes the number that watchesOpen answered; an unknown one gives -EBADF.

static napi_value watches_watch(napi_env env, napi_callback_info info) {
  Call<3> call(env, info);
  Instance& instance = call.instance();
  SocketWatches* watches = instance.socket_watches(call.integer(0));
  const int socket = call.integer(1);
  if (watches == nullptr || !instance.owns_watchable(socket)) return call.answer(-EBADF);
  return call.answer(watches->watch(socket, call.integer(2)));
}

static napi_value watches_take(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  SocketWatches* watches = call.instance().socket_watches(call.integer(0));
  return call.answer(watches == nullptr ? -EBADF : watches->take());
}

static napi_value watches_look(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  SocketWatches* watches = call.instance().socket_watches(call.integer(0));
  if (watches != nullptr) watches->look();
  return call.answer(watches == nullptr ? -EBADF : 0);
}

static napi_value watches_start(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  SocketWatches* watches = call.instance().socket_watches(call.integer(0));
  if (watches == nullptr) return call.answer(-EBADF);
  napi_valuetype type = napi_undefined;
  napi_typeof(env, call.value(1), &type);
  return call.answer(type == napi_function ? watches->start(call.value(1)) : -EINVAL);
}

static napi_value watches_stop(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  SocketWatches* watches = call.instance().socket_watches(call.integer(0));
  if (watches != nullptr) watches->stop();
  return call.answer(watches == nullptr ? -EBADF : 0);
}

static napi_value watches_set_referenced(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  SocketWatches* watches = call.instance().socket_watches(call.integer(0));
  bool referenced = true;
  napi_get_value_bool(env, call.value(1), &referenced);
  if (watches != nullptr) watches->set_referenced(referenced);
  return call.answer(watches == nullptr ? -EBADF : 0);
}

static napi_value watches_close(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  call.instance().close_socket_watches(call.integer(0));
  return nullptr;
}

// { watches, events }, or a negative errno.
static Napi::Value watches_open(const Napi::CallbackInfo& info) {
  auto& instance = *static_cast<Instance*>(info.Data());
  int error = 0;
  OwnedSocketWatches watches = SocketWatches::create(info.Env(), error);
  if (watches == nullptr) return Napi::Number::New(info.Env(), error);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("events", watches->events());
  result.Set("watches", instance.adopt_socket_watches(std::move(watches)));
  return result;
}

void socket_watches_register(Instance& instance, Napi::Object exports) {
  const auto plain = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  plain("watchesWatch", watches_watch);
  plain("watchesTake", watches_take);
  plain("watchesLook", watches_look);
  plain("watchesStart", watches_start);
  plain("watchesStop", watches_stop);
  plain("watchesSetReferenced", watches_set_referenced);
  plain("watchesClose", watches_close);
  exports.Set("watchesOpen", Napi::Function::New<watches_open>(exports.Env(), "watchesOpen", &instance));
}

}  // namespace shardfetch
