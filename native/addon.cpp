// The addon: the door to the kernel, and nothing beyond. No HTTP, no policy, no timers.
//
//   instance    what one environment owns, and its end
//   socket      sockets and the clock          address      text <-> sockaddr
//   tls         what is called of TLS      tls_connection  TLS on one descriptor
//   tls_context configurations, sessions   tls_room     what one environment owns of it
//   poller      epoll                          loop_watch   epoll -> the thread's event loop
//   socket_watches  a uv_poll per socket       loop_callback  what libuv's callbacks call
//   descriptor_poll  poll(2), without a loop   wakeup       ending such a wait from another thread
//   resolver    getaddrinfo on own threads     call         how a hot call takes and answers integers
//   alarm       being woken at a moment, CPU time of the thread
//   readiness   bits for in, out and error
//   old_systems what a new compiler would otherwise ask of glibc and libstdc++
//
// The TypeScript face, and what each function promises, is src/worker/io/.
#include <napi.h>
#include <sys/resource.h>

#include <limits>

#include "alarm.h"
#include "descriptor_poll.h"
#include "instance.h"
#include "poller.h"
#include "resolver.h"
#include "socket.h"
#include "socket_watches.h"
#include "tls.h"
#include "wakeup.h"

namespace shardfetch {

// The hard limit of open files of this process; Infinity where there is none.
static Napi::Value file_limit(const Napi::CallbackInfo& info) {
  rlimit limit{};
  const bool limited = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max != RLIM_INFINITY;
  const double files = limited ? static_cast<double>(limit.rlim_max) : std::numeric_limits<double>::infinity();
  return Napi::Number::New(info.Env(), files);
}

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance(env);
  env.SetInstanceData<Instance>(instance);  // deletes it when the environment ends
  socket_register(*instance, exports);
  poller_register(*instance, exports);
  tls_register(*instance, exports);
  socket_watches_register(*instance, exports);
  descriptor_poll_register(*instance, exports);
  wakeup_register(*instance, exports);
  alarm_register(*instance, exports);
  resolver_register(*instance, exports);
  exports.Set("fileLimit", Napi::Function::New<file_limit>(env, "fileLimit"));
  return exports;
}

}  // namespace shardfetch

using shardfetch::initialize;
NODE_API_MODULE(shardfetch, initialize)
