// Being woken at a moment, to some ten microseconds (timerfd), and the CPU time of the calling thread. What the load generator needs
// and Node's timers, which count whole milliseconds, do not give.
#pragma once

#include <napi.h>

namespace shardfetch {

class Instance;

void alarm_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
