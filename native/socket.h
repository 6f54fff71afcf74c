// Stream sockets and the clock, as io.ts describes them: open, connect, read, write, close, remoteAddress, now.
//
// Every socket is non-blocking. A call answers a count or a negative errno and never throws. No buffering, no policy.
#pragma once

#include <napi.h>

namespace shardfetch {

class Instance;

void socket_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
