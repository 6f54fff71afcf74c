// See descriptor_poll.h.
#include "descriptor_poll.h"

#include <poll.h>

#include <cerrno>
#include <cmath>
#include <vector>

#include "call.h"
#include "instance.h"
#include "readiness.h"

namespace shardfetch {

// Numbers per descriptor, going in: descriptor, what, any; coming out: descriptor, events, 0.
static constexpr size_t kNumbers = 3;

// The first `count` triples of an Int32Array; null when it has not so many.
static int32_t* triples_of(napi_env env, napi_value array, int64_t count) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok) return nullptr;
  if (type != napi_int32_array || count < 0 || static_cast<size_t>(count) * kNumbers > length) return nullptr;
  return static_cast<int32_t*>(data);
}

// pollDescriptors(triples, count, timeoutMs): waits at most 100 ms; those that are ready are moved to the front. Their number, or
// a negative errno. What is no descriptor of this environment is said to be ready: whoever asked will find out.
static napi_value poll_descriptors(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  Instance& instance = call.instance();
  const int64_t count = call.long_integer(1);
  int32_t* triples = triples_of(env, call.value(0), count);
  if (triples == nullptr && count != 0) return call.answer(-EINVAL);
  const double timeout_ms = call.number(2);
  const bool in_range = timeout_ms >= 0 && timeout_ms <= kWaitMsMax;
  int wait_ms = in_range ? static_cast<int>(std::ceil(timeout_ms)) : kWaitMsMax;

  std::vector<pollfd>& polled = instance.polled;
  polled.clear();
  for (int64_t index = 0; index < count; index++) {
    const int32_t* triple = triples + index * kNumbers;
    const bool owned = instance.owns_watchable(triple[0]);
    if (!owned) wait_ms = 0;
    polled.push_back({owned ? triple[0] : -1, poll_events_of(static_cast<uint32_t>(triple[1])), 0});
  }
  if (::poll(polled.data(), polled.size(), wait_ms) < 0) return call.answer(errno == EINTR ? 0 : -errno);

  int32_t ready = 0;
  for (int64_t index = 0; index < count; index++) {
    const pollfd& one = polled[static_cast<size_t>(index)];
    const uint32_t events = one.fd < 0 ? kErr | kIn | kOut : engine_events_of_poll(one.revents);
    if (events == 0) continue;
    int32_t* triple = triples + ready * kNumbers;
    triple[0] = triples[index * kNumbers];
    triple[1] = static_cast<int32_t>(events);
    triple[2] = 0;
    ready++;
  }
  return call.answer(ready);
}

void descriptor_poll_register(Instance& instance, Napi::Object exports) {
  napi_value value = nullptr;
  napi_create_function(instance.env(), "pollDescriptors", NAPI_AUTO_LENGTH, poll_descriptors, &instance, &value);
  exports.Set("pollDescriptors", value);
}

}  // namespace shardfetch
