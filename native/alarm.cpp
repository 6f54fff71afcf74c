// See alarm.h.
#include "alarm.h"

#include <sys/timerfd.h>
#include <time.h>

#include <cerrno>
#include <cmath>

#include "call.h"
#include "instance.h"

namespace shardfetch {

static constexpr double kNsPerMs = 1e6;
static constexpr double kMsPerSecond = 1e3;

// A descriptor that can be watched and is closed as a socket is; or a negative errno.
static napi_value alarm_open(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (descriptor < 0) return call.answer(-errno);
  call.instance().adopt_socket(descriptor);
  return call.answer(descriptor);
}

// Readable from `ms` on, in milliseconds of CLOCK_MONOTONIC with fractions; until it is set again. 0: never.
static napi_value alarm_set(napi_env env, napi_callback_info info) {
  Call<2> call(env, info);
  const int descriptor = call.integer(0);
  const double ms = call.number(1);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  if (!(ms >= 0 && ms < 1e15)) return call.answer(-EINVAL);
  itimerspec moment{};
  const double seconds = std::floor(ms / kMsPerSecond);
  moment.it_value.tv_sec = static_cast<time_t>(seconds);
  moment.it_value.tv_nsec = static_cast<long>((ms - seconds * kMsPerSecond) * kNsPerMs);
  return call.answer(timerfd_settime(descriptor, TFD_TIMER_ABSTIME, &moment, nullptr) == 0 ? 0 : -errno);
}

// CPU time of the calling thread in milliseconds, with fractions.
static napi_value thread_cpu(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return call.answer(static_cast<double>(time.tv_sec) * kMsPerSecond + static_cast<double>(time.tv_nsec) / kNsPerMs);
}

void alarm_register(Instance& instance, Napi::Object exports) {
  const auto plain = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  plain("alarmOpen", alarm_open);
  plain("alarmSet", alarm_set);
  plain("threadCpu", thread_cpu);
}

}  // namespace shardfetch
