// poll(2) over any number of this environment's descriptors, for programs without an event loop. Keeps nothing between calls.
#pragma once

#include <napi.h>

namespace shardfetch {

class Instance;

void descriptor_poll_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
