// Waking a thread that waits in poll(2): an eventfd, and a number by which any thread of the process can send to it.
//
// The one thing in the addon that threads share is the table of those numbers, under a mutex. A number is given once in the life
// of the process, so one that outlived its wakeup finds nothing, never a descriptor that was reused.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

namespace shardfetch {

class Instance;

class Wakeup {
 public:
  // Null, with `error` set to a negative errno, when the kernel refuses.
  static std::unique_ptr<Wakeup> create(int& error);
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // Readable from the first `send` to the next `clear`.
  int descriptor() const { return descriptor_; }
  int64_t number() const { return number_; }
  void clear();

  // From any thread. Many before a `clear` are one. False when there is no such wakeup (any more).
  static bool send(int64_t number);

 private:
  Wakeup(int descriptor, int64_t number) : descriptor_(descriptor), number_(number) {}

  const int descriptor_;
  const int64_t number_;
};

void wakeup_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
