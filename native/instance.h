// What one environment (the main thread, or one worker) owns of this addon: every descriptor it made, its pollers, watches,
// resolvers and wakeups, and the two buffers that bytes pass through. There is no other state: no globals, nothing shared between
// threads, save the table by which a wakeup is sent (wakeup.h).
//
// The instance dies with its environment, however that ends, and closes all that is left. It knows nothing of what the
// descriptors are for.
#pragma once

#include <napi.h>
#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace shardfetch {

class Poller;
class Resolver;
class SocketWatches;
class TlsConnection;
class TlsRoom;
class Wakeup;

// A SocketWatches that libuv may still hold when its owner lets go (see there).
struct ReleaseSocketWatches {
  void operator()(SocketWatches* watches) const;
};
using OwnedSocketWatches = std::unique_ptr<SocketWatches, ReleaseSocketWatches>;

// What OpenSSL's headers stay out of this one for.
struct DeleteTls {
  void operator()(TlsConnection* connection) const;
  void operator()(TlsRoom* room) const;
};

// Bytes of `readBuffer` and of `writeBuffer`. Two default Linux pipe or socket reads fit; larger costs cache and wins nothing.
inline constexpr size_t kBufferBytes = 128 * 1024;

// Memory that JavaScript sees and the kernel writes to. Only arrays made here are kept by address: one made elsewhere could
// be transferred to another thread and leave the address pointing into that thread's memory.
class SharedArray {
 public:
  void allocate(napi_env env, napi_typedarray_type type, size_t element_bytes, size_t length);
  void release();
  bool allocated() const { return reference_ != nullptr; }
  napi_value value() const;
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }

 private:
  napi_env env_ = nullptr;
  napi_ref reference_ = nullptr;
  void* data_ = nullptr;
};

class Instance {
 public:
  explicit Instance(napi_env env);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  napi_env env() const { return env_; }

  // Sockets. A descriptor that this environment neither opened nor adopted is never read, written, watched or closed by it.
  void adopt_socket(int descriptor) { adopt(descriptor, Kind::kSocket); }
  bool owns_socket(int descriptor) const { return kind_of(descriptor) == Kind::kSocket; }
  int close_socket(int descriptor);
  int release_socket(int descriptor);

  // TLS on a socket of this environment; null: there is none. It goes with the socket, after a close_notify where that can be said.
  TlsConnection* tls(int descriptor) const {
    return owns_socket(descriptor) ? slots_[static_cast<size_t>(descriptor)].tls.get() : nullptr;
  }
  TlsConnection* release_tls(int descriptor) { return slots_[static_cast<size_t>(descriptor)].tls.release(); }
  void adopt_tls(int descriptor, TlsConnection* connection) { slots_[static_cast<size_t>(descriptor)].tls.reset(connection); }
  // Made on first use.
  TlsRoom& tls_room();

  // What may be watched: sockets and the eventfds of resolvers and wakeups.
  bool owns_watchable(int descriptor) const { return kind_of(descriptor) != Kind::kNone; }
  // Which poller (its descriptor, or -1) last began to watch an owned descriptor: whether epoll must add or modify.
  int& watcher_of(int descriptor) { return slots_[static_cast<size_t>(descriptor)].watcher; }

  // Null when the descriptor is no such thing of this environment (or no longer one).
  Poller* poller(int descriptor) const;
  Resolver* resolver(int descriptor) const;
  void adopt_poller(std::unique_ptr<Poller> poller);
  void adopt_resolver(std::unique_ptr<Resolver> resolver);
  void close_poller(int descriptor);
  void close_resolver(int descriptor);
  Wakeup* wakeup(int descriptor) const;
  void adopt_wakeup(std::unique_ptr<Wakeup> wakeup);
  void close_wakeup(int descriptor);

  // Watches have no descriptor: they go by a number of their own.
  SocketWatches* socket_watches(int number) const;
  int adopt_socket_watches(OwnedSocketWatches watches);
  void close_socket_watches(int number);

  SharedArray read_buffer;
  SharedArray write_buffer;
  SharedArray tls_state;  // two int32: what the last read of a socket with TLS left behind (tls_connection.h); sessions on offer
  std::vector<pollfd> polled;  // pollDescriptors' own, kept for its memory

 private:
  enum class Kind : uint8_t { kNone, kSocket, kResolver, kWakeup };

  // Indexed by descriptor: they are small and dense.
  struct Slot {
    Kind kind = Kind::kNone;
    int watcher = -1;
    std::unique_ptr<TlsConnection, DeleteTls> tls;
  };

  Kind kind_of(int descriptor) const {
    const auto index = static_cast<size_t>(descriptor);  // a negative one becomes huge
    return index < slots_.size() ? slots_[index].kind : Kind::kNone;
  }
  void adopt(int descriptor, Kind kind);
  void end_tls(int descriptor);
  // Before the descriptor is closed: libuv may watch no number that can become another's.
  void disown(int descriptor);

  napi_env env_;
  std::unique_ptr<TlsRoom, DeleteTls> tls_room_;  // ends after the connections in `slots_`
  std::vector<Slot> slots_;
  std::unordered_map<int, std::unique_ptr<Poller>> pollers_;
  std::unordered_map<int, std::unique_ptr<Resolver>> resolvers_;
  std::unordered_map<int, std::unique_ptr<Wakeup>> wakeups_;
  std::unordered_map<int, OwnedSocketWatches> socket_watches_;
  int last_watches_ = 0;
};

}  // namespace shardfetch
