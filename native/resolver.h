// Names to addresses: getaddrinfo on threads of its own, answers behind an eventfd.
//
// libuv runs two getaddrinfo at a time in the whole process, all workers together; a slow name server would stop every shard.
// A thread inside getaddrinfo cannot be stopped, so it may outlive the resolver and the environment: all that it touches is a
// state of their own, which the last to leave deletes. No caching, no retries, no time limit: the engine has those.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace shardfetch {

class Instance;

class Resolver {
 public:
  struct Job {
    int32_t lookup;
    std::string host;
    int family;  // AF_UNSPEC, AF_INET or AF_INET6
  };

  struct Answer {
    int32_t lookup = 0;
    int status = 0;        // 0 or EAI_*
    int system_error = 0;  // errno, where status is EAI_SYSTEM
    std::vector<std::string> addresses;
  };

  // Null, with `error` set to a negative errno, when the kernel refuses.
  static std::unique_ptr<Resolver> create(int& error);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  int descriptor() const { return descriptor_; }
  // The number of the look-up. Whatever fails, fails in its answer.
  int32_t resolve(std::string host, int family);
  bool take(Answer& answer);

 private:
  struct State;

  Resolver(int descriptor, State* state) : descriptor_(descriptor), state_(state) {}
  static void* run_thread(void* data);
  static int start_thread(State* state);

  const int descriptor_;
  int32_t last_lookup_ = 0;
  State* const state_;
};

void resolver_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
