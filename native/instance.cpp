// See instance.h.
#include "instance.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "poller.h"
#include "resolver.h"
#include "socket_watches.h"
#include "tls_room.h"
#include "wakeup.h"

namespace shardfetch {

void SharedArray::allocate(napi_env env, napi_typedarray_type type, size_t element_bytes, size_t length) {
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  void* data = nullptr;
  if (napi_create_arraybuffer(env, length * element_bytes, &data, &buffer) != napi_ok) return;
  if (napi_create_typedarray(env, type, length, buffer, 0, &array) != napi_ok) return;
  if (napi_create_reference(env, array, 1, &reference_) != napi_ok) return;
  env_ = env;
  data_ = data;
}

void SharedArray::release() {
  if (reference_ != nullptr) napi_delete_reference(env_, reference_);
  reference_ = nullptr;
  data_ = nullptr;
}

napi_value SharedArray::value() const {
  napi_value result = nullptr;
  napi_get_reference_value(env_, reference_, &result);
  return result;
}

Instance::Instance(napi_env env) : env_(env) {}

// Runs when the environment ends: by terminate(), a throw, process.exit(), lack of memory or at the natural end. The clean-up
// hook of a started poller may have run before or may run after this.
Instance::~Instance() {
  socket_watches_.clear();  // libuv lets go of every descriptor before it is closed
  pollers_.clear();
  resolvers_.clear();  // the slots of these and of wakeups stay, but only sockets are closed below
  wakeups_.clear();
  for (size_t index = 0; index < slots_.size(); index++) {
    slots_[index].tls.reset();
    if (slots_[index].kind == Kind::kSocket) ::close(static_cast<int>(index));
  }
  read_buffer.release();
  write_buffer.release();
  tls_state.release();
}

void Instance::adopt(int descriptor, Kind kind) {
  const auto index = static_cast<size_t>(descriptor);
  if (index >= slots_.size()) slots_.resize(index < 64 ? 128 : index * 2);
  slots_[index] = Slot{kind, -1, nullptr};
}

void Instance::disown(int descriptor) {
  for (const auto& [number, watches] : socket_watches_) watches->watch(descriptor, 0);
  slots_[static_cast<size_t>(descriptor)] = Slot{};
}

void Instance::end_tls(int descriptor) {
  auto& connection = slots_[static_cast<size_t>(descriptor)].tls;
  if (connection == nullptr) return;
  connection->shut_down();
  connection->shut_down_outer();
  connection.reset();
}

int Instance::close_socket(int descriptor) {
  if (!owns_socket(descriptor)) return -EBADF;
  end_tls(descriptor);
  disown(descriptor);
  // Linux frees the descriptor whatever close answers: to repeat it could close a descriptor that another thread just got.
  return ::close(descriptor) == 0 || errno == EINTR ? 0 : -errno;
}

int Instance::release_socket(int descriptor) {
  if (!owns_socket(descriptor)) return -EBADF;
  end_tls(descriptor);
  disown(descriptor);
  return 0;
}

Poller* Instance::poller(int descriptor) const {
  const auto found = pollers_.find(descriptor);
  return found == pollers_.end() ? nullptr : found->second.get();
}

Resolver* Instance::resolver(int descriptor) const {
  const auto found = resolvers_.find(descriptor);
  return found == resolvers_.end() ? nullptr : found->second.get();
}

void Instance::adopt_poller(std::unique_ptr<Poller> poller) {
  const int descriptor = poller->descriptor();
  pollers_[descriptor] = std::move(poller);
}

void Instance::adopt_resolver(std::unique_ptr<Resolver> resolver) {
  const int descriptor = resolver->descriptor();
  adopt(descriptor, Kind::kResolver);
  resolvers_[descriptor] = std::move(resolver);
}

void Instance::close_poller(int descriptor) {
  if (pollers_.erase(descriptor) == 0) return;
  // The next poller may get the same number, and watches none of these.
  for (Slot& slot : slots_) {
    if (slot.watcher == descriptor) slot.watcher = -1;
  }
}

void Instance::close_resolver(int descriptor) {
  if (resolver(descriptor) == nullptr) return;
  disown(descriptor);
  resolvers_.erase(descriptor);
}

Wakeup* Instance::wakeup(int descriptor) const {
  const auto found = wakeups_.find(descriptor);
  return found == wakeups_.end() ? nullptr : found->second.get();
}

void Instance::adopt_wakeup(std::unique_ptr<Wakeup> wakeup) {
  const int descriptor = wakeup->descriptor();
  adopt(descriptor, Kind::kWakeup);
  wakeups_[descriptor] = std::move(wakeup);
}

void Instance::close_wakeup(int descriptor) {
  if (wakeup(descriptor) == nullptr) return;
  disown(descriptor);
  wakeups_.erase(descriptor);
}

void DeleteTls::operator()(TlsConnection* connection) const { delete connection; }
void DeleteTls::operator()(TlsRoom* room) const { delete room; }

TlsRoom& Instance::tls_room() {
  if (tls_room_ == nullptr) tls_room_.reset(new TlsRoom());
  return *tls_room_;
}

void ReleaseSocketWatches::operator()(SocketWatches* watches) const { watches->release(); }

SocketWatches* Instance::socket_watches(int number) const {
  const auto found = socket_watches_.find(number);
  return found == socket_watches_.end() ? nullptr : found->second.get();
}

int Instance::adopt_socket_watches(OwnedSocketWatches watches) {
  socket_watches_[++last_watches_] = std::move(watches);
  return last_watches_;
}

void Instance::close_socket_watches(int number) { socket_watches_.erase(number); }

}  // namespace shardfetch
