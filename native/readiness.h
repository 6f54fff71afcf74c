// What a socket is watched for and what is said of it: the bits of io.ts, and poll(2)'s. epoll's are poller.cpp's own.
#pragma once

#include <poll.h>

#include <cstdint>

namespace shardfetch {

// io.ts: EVENT_IN, EVENT_OUT, EVENT_ERR.
inline constexpr uint32_t kIn = 1;
inline constexpr uint32_t kOut = 2;
inline constexpr uint32_t kErr = 4;

// terminate() cannot interrupt a thread inside a system call: it must come back to JavaScript this often, in milliseconds.
inline constexpr int kWaitMsMax = 100;

inline short poll_events_of(uint32_t what) {
  int events = 0;
  if ((what & kIn) != 0) events |= POLLIN | POLLRDHUP;
  if ((what & kOut) != 0) events |= POLLOUT;
  return static_cast<short>(events);
}

inline uint32_t engine_events_of_poll(short events) {
  uint32_t what = 0;
  if ((events & (POLLIN | POLLRDHUP)) != 0) what |= kIn;
  if ((events & POLLOUT) != 0) what |= kOut;
  if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) what |= kErr | kIn | kOut;
  return what;
}

}  // namespace shardfetch
