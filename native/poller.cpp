// See poller.h.
#include "poller.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>

#include "call.h"
#include "readiness.h"

namespace shardfetch {

static uint32_t epoll_events_of(int what) {
  uint32_t events = 0;
  if ((what & kIn) != 0) events |= EPOLLIN | EPOLLRDHUP;
  if ((what & kOut) != 0) events |= EPOLLOUT;
  return events;
}

static uint32_t engine_events_of(uint32_t events) {
  uint32_t what = 0;
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) what |= kIn;
  if ((events & EPOLLOUT) != 0) what |= kOut;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) what |= kErr | kIn | kOut;
  return what;
}

std::unique_ptr<Poller> Poller::create(napi_env env, int& error) {
  const int descriptor = epoll_create1(EPOLL_CLOEXEC);
  if (descriptor < 0) {
    error = -errno;
    return nullptr;
  }
  std::unique_ptr<Poller> poller(new Poller(descriptor, env));
  poller->events_.allocate(env, napi_int32_array, sizeof(int32_t), kEventsMax * kEventNumbers);
  if (poller->events_.allocated()) return poller;
  error = -ENOMEM;
  return nullptr;
}

Poller::~Poller() {
  loop_watch_.reset();  // libuv lets go of the descriptor before it is closed
  events_.release();
  ::close(descriptor_);
}

int Poller::watch(int socket, int what, uint32_t tag, int& watcher) {
  if ((static_cast<uint32_t>(what) & ~(kIn | kOut)) != 0) return -EINVAL;
  if (what == 0) {
    if (epoll_ctl(descriptor_, EPOLL_CTL_DEL, socket, nullptr) != 0) return -errno;
    watcher = -1;
    return 0;
  }
  epoll_event event{};
  event.events = epoll_events_of(what);
  event.data.u64 = static_cast<uint64_t>(tag) << 32 | static_cast<uint32_t>(socket);
  // Which of add and modify is known, unless a socket has two pollers: then the other one is right.
  const bool known = watcher == descriptor_;
  int result = epoll_ctl(descriptor_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event);
  if (result != 0 && errno == (known ? ENOENT : EEXIST)) {
    result = epoll_ctl(descriptor_, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event);
  }
  if (result != 0) return -errno;
  watcher = descriptor_;
  return 0;
}

int Poller::wait(int timeout_ms) {
  const int count = epoll_wait(descriptor_, ready_, kEventsMax, timeout_ms);
  if (count < 0) return errno == EINTR ? 0 : -errno;  // "at most": a signal ends the wait early
  auto* triple = reinterpret_cast<int32_t*>(events_.data());
  for (int index = 0; index < count; index++, triple += kEventNumbers) {
    const uint64_t data = ready_[index].data.u64;
    triple[0] = static_cast<int32_t>(data);
    triple[1] = static_cast<int32_t>(engine_events_of(ready_[index].events));
    triple[2] = static_cast<int32_t>(data >> 32);
  }
  return count;
}

int Poller::start(napi_value callback) {
  if (loop_watch_ == nullptr) {
    int error = 0;
    loop_watch_ = LoopWatch::create(env_, descriptor_, error);
    if (loop_watch_ == nullptr) return error;
    loop_watch_->set_referenced(referenced_);
  }
  return loop_watch_->start(callback) ? 0 : -EALREADY;
}

void Poller::stop() {
  if (loop_watch_ != nullptr) loop_watch_->stop();
}

void Poller::set_referenced(bool referenced) {
  referenced_ = referenced;
  if (loop_watch_ != nullptr) loop_watch_->set_referenced(referenced);
}

// What JavaScript calls. Each takes the poller's descriptor first; a closed or foreign one gives -EBADF.

static napi_value poller_watch(napi_env env, napi_callback_info info) {
  Call<4> call(env, info);
  Instance& instance = call.instance();
  Poller* poller = instance.poller(call.integer(0));
  const int socket = call.integer(1);
  if (poller == nullptr || !instance.owns_watchable(socket)) return call.answer(-EBADF);
  const auto tag = static_cast<uint32_t>(call.integer(3));
  return call.answer(poller->watch(socket, call.integer(2), tag, instance.watcher_of(socket)));
}

static napi_value poller_wait(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  Poller* poller = call.instance().poller(call.integer(0));
  if (poller == nullptr) return call.answer(-EBADF);
  const double timeout_ms = call.number(1);
  // Rounded up: a caller that waits for a timer would spin through its last fraction of a millisecond. "For ever" and NaN too.
  const bool in_range = timeout_ms >= 0 && timeout_ms <= kWaitMsMax;
  return call.answer(poller->wait(in_range ? static_cast<int>(std::ceil(timeout_ms)) : kWaitMsMax));
}

static napi_value poller_start(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  Poller* poller = call.instance().poller(call.integer(0));
  if (poller == nullptr) return call.answer(-EBADF);
  napi_valuetype type = napi_undefined;
  napi_typeof(env, call.value(1), &type);
  return call.answer(type == napi_function ? poller->start(call.value(1)) : -EINVAL);
}

static napi_value poller_stop(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  Poller* poller = call.instance().poller(call.integer(0));
  if (poller != nullptr) poller->stop();
  return call.answer(poller == nullptr ? -EBADF : 0);
}

static napi_value poller_set_referenced(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  Poller* poller = call.instance().poller(call.integer(0));
  bool referenced = true;
  napi_get_value_bool(env, call.value(1), &referenced);
  if (poller != nullptr) poller->set_referenced(referenced);
  return call.answer(poller == nullptr ? -EBADF : 0);
}

static napi_value poller_close(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  call.instance().close_poller(call.integer(0));
  return nullptr;
}

// { descriptor, events }, or a negative errno.
static Napi::Value poller_open(const Napi::CallbackInfo& info) {
  auto& instance = *static_cast<Instance*>(info.Data());
  int error = 0;
  std::unique_ptr<Poller> poller = Poller::create(info.Env(), error);
  if (poller == nullptr) return Napi::Number::New(info.Env(), error);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("descriptor", poller->descriptor());
  result.Set("events", poller->events());
  instance.adopt_poller(std::move(poller));
  return result;
}

void poller_register(Instance& instance, Napi::Object exports) {
  const auto plain = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  plain("pollerWatch", poller_watch);
  plain("pollerWait", poller_wait);
  plain("pollerStart", poller_start);
  plain("pollerStop", poller_stop);
  plain("pollerSetReferenced", poller_set_referenced);
  plain("pollerClose", poller_close);
  exports.Set("pollerOpen", Napi::Function::New<poller_open>(exports.Env(), "pollerOpen", &instance));
}

}  // namespace shardfetch
