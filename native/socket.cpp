// See socket.h.
#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "address.h"
#include "call.h"
#include "instance.h"
#include "tls_connection.h"

namespace shardfetch {

// Linux moves at most this many bytes per call; the count must fit an int32 answer.
static constexpr int64_t kTransferBytesMax = 0x7ffff000;

// CLOCK_MONOTONIC in milliseconds, with fractions.
static napi_value socket_now(napi_env env, napi_callback_info) {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6, &result);
  return result;
}

static napi_value socket_open(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const int family = address_family(call.integer(0));
  if (family == AF_UNSPEC) return call.answer(-EAFNOSUPPORT);
  const int descriptor = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return call.answer(-errno);
  if (family != AF_UNIX) {
    const int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  call.instance().adopt_socket(descriptor);
  return call.answer(descriptor);
}

static bool read_text(napi_env env, napi_value value, std::string& text) {
  size_t bytes = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &bytes) != napi_ok) return false;
  text.resize(bytes);
  return napi_get_value_string_utf8(env, value, text.data(), bytes + 1, &bytes) == napi_ok;
}

// The local address, and port 0 or a port. With port 0 the kernel picks the port when it connects, when it knows the peer too:
// then one local address has its 28,000 ports once per peer, not once altogether.
static napi_value socket_bind(napi_env env, napi_callback_info info) {
  Call<4> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  std::string text;
  if (!read_text(env, call.value(2), text)) return call.answer(-EINVAL);
  const int port = call.integer(3);
  Address address;
  const int parsed = address_parse(call.integer(1), text, port, address);
  if (parsed != 0) return call.answer(parsed);
  if (port == 0) {
    const int on = 1;
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  }
  const int result = ::bind(descriptor, reinterpret_cast<sockaddr*>(&address.storage), address.length);
  return call.answer(result == 0 ? 0 : -errno);
}

static int set_option(int descriptor, int level, int name, int value) {
  return setsockopt(descriptor, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

// TCP_NODELAY, and probes after so many idle seconds, so often, so many; 0 idle seconds: no probes.
static napi_value socket_set_tcp_options(napi_env env, napi_callback_info info) {
  Call<5> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  bool no_delay = false;
  if (napi_get_value_bool(env, call.value(1), &no_delay) != napi_ok) return call.answer(-EINVAL);
  const int idle_seconds = call.integer(2);
  int result = set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, no_delay ? 1 : 0);
  if (result == 0) result = set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, idle_seconds == 0 ? 0 : 1);
  if (idle_seconds == 0) return call.answer(result);
  if (result == 0) result = set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
  if (result == 0) result = set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, call.integer(3));
  if (result == 0) result = set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, call.integer(4));
  return call.answer(result);
}

// Takes over a stream socket that was made elsewhere in this process: from here on this environment may use and close it.
static napi_value socket_adopt(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const int descriptor = call.integer(0);
  if (descriptor < 0) return call.answer(-EBADF);
  if (call.instance().owns_watchable(descriptor)) return call.answer(-EEXIST);
  int type = 0;
  socklen_t type_bytes = sizeof type;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_bytes) != 0) return call.answer(-errno);
  if (type != SOCK_STREAM) return call.answer(-EPROTOTYPE);
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) return call.answer(-errno);
  call.instance().adopt_socket(descriptor);
  return call.answer(0);
}

// Gives a socket up without closing it: the opposite of adopt.
static napi_value socket_release(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  return call.answer(call.instance().release_socket(call.integer(0)));
}

static napi_value socket_connect(napi_env env, napi_callback_info info) {
  Call<4> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  std::string text;
  if (!read_text(env, call.value(2), text)) return call.answer(-EINVAL);
  Address address;
  const int parsed = address_parse(call.integer(1), text, call.integer(3), address);
  if (parsed != 0) return call.answer(parsed);
  if (::connect(descriptor, reinterpret_cast<sockaddr*>(&address.storage), address.length) == 0) return call.answer(0);
  // An interrupted connect goes on by itself; to call it again would give EALREADY.
  return call.answer(errno == EINTR ? -EINPROGRESS : -errno);
}

static napi_value socket_connect_result(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  int error = 0;
  socklen_t error_bytes = sizeof error;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0) return call.answer(-errno);
  if (error != 0) return call.answer(-error);
  // No error is not yet a connection: the event may have been meant for an earlier socket of this number.
  Address peer;
  peer.length = sizeof peer.storage;
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0) return call.answer(0);
  return call.answer(errno == ENOTCONN ? -EINPROGRESS : -errno);
}

static int32_t read_tls(const Instance& instance, TlsConnection& tls, uint8_t* target, int64_t room) {
  int32_t state = 0;
  const int32_t result = tls.read(target, room, state);
  if (instance.tls_state.allocated()) *reinterpret_cast<int32_t*>(instance.tls_state.data()) = state;
  return result;
}

static int32_t write_tls(const Instance& instance, TlsConnection& tls, const uint8_t* source, int64_t length) {
  int32_t state = 0;
  const int32_t result = tls.write(source, length, state);
  if (instance.tls_state.allocated()) *reinterpret_cast<int32_t*>(instance.tls_state.data()) = state;
  return result;
}

static napi_value socket_read(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const Instance& instance = call.instance();
  const int descriptor = call.integer(0);
  if (!instance.owns_socket(descriptor)) return call.answer(-EBADF);
  uint8_t* target = instance.read_buffer.data();
  if (target == nullptr) return call.answer(-EINVAL);  // buffers() was never called
  if (TlsConnection* tls = instance.tls(descriptor)) return call.answer(read_tls(instance, *tls, target, kBufferBytes));
  return call.answer(retry_interrupted([=] { return ::recv(descriptor, target, kBufferBytes, 0); }));
}

static napi_value socket_write(napi_env env, napi_callback_info info) {
  Call<3> call(env, info);
  const Instance& instance = call.instance();
  const int descriptor = call.integer(0);
  if (!instance.owns_socket(descriptor)) return call.answer(-EBADF);
  const int64_t offset = call.integer(1);
  const int64_t length = call.integer(2);
  const uint8_t* source = instance.write_buffer.data();
  const int64_t room = kBufferBytes;
  if (source == nullptr || offset < 0 || length < 0 || offset + length > room) return call.answer(-EINVAL);
  if (TlsConnection* tls = instance.tls(descriptor)) return call.answer(write_tls(instance, *tls, source + offset, length));
  return call.answer(retry_interrupted([=] {
    return ::send(descriptor, source + offset, static_cast<size_t>(length), MSG_NOSIGNAL);
  }));
}

// The bytes [offset, offset + length) of a Uint8Array; null when there are none such.
static uint8_t* slice(napi_env env, napi_value array, int64_t offset, int64_t length) {
  napi_typedarray_type type;
  size_t array_bytes = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, array, &type, &array_bytes, &data, nullptr, nullptr) != napi_ok) return nullptr;
  if (type != napi_uint8_array || offset < 0 || length < 0) return nullptr;
  const auto room = static_cast<int64_t>(array_bytes);
  if (offset > room || length > room - offset) return nullptr;
  return static_cast<uint8_t*>(data) + offset;
}

static napi_value socket_read_into(napi_env env, napi_callback_info info) {
  Call<4> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  const int64_t length = call.long_integer(3);
  uint8_t* target = slice(env, call.value(1), call.long_integer(2), length);
  if (target == nullptr || length == 0) return call.answer(-EINVAL);  // a read of nothing would look like the peer's FIN
  const int64_t bytes = std::min(length, kTransferBytesMax);
  if (TlsConnection* tls = call.instance().tls(descriptor)) return call.answer(read_tls(call.instance(), *tls, target, bytes));
  return call.answer(retry_interrupted([=] { return ::recv(descriptor, target, static_cast<size_t>(bytes), 0); }));
}

static napi_value socket_write_from(napi_env env, napi_callback_info info) {
  Call<4> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  const int64_t length = call.long_integer(3);
  const uint8_t* source = slice(env, call.value(1), call.long_integer(2), length);
  if (length == 0 && source != nullptr) return call.answer(0);
  if (source == nullptr) return call.answer(-EINVAL);
  const int64_t bytes = std::min(length, kTransferBytesMax);
  if (TlsConnection* tls = call.instance().tls(descriptor)) return call.answer(write_tls(call.instance(), *tls, source, bytes));
  return call.answer(retry_interrupted([=] { return ::send(descriptor, source, static_cast<size_t>(bytes), MSG_NOSIGNAL); }));
}

// Sends FIN behind what was written (of a socket with TLS nothing is said: see tlsShutDown); reading goes on.
static napi_value socket_end_writing(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  const int descriptor = call.integer(0);
  if (!call.instance().owns_socket(descriptor)) return call.answer(-EBADF);
  return call.answer(::shutdown(descriptor, SHUT_WR) == 0 ? 0 : -errno);
}

static napi_value socket_close(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  return call.answer(call.instance().close_socket(call.integer(0)));
}

static Napi::Value socket_remote_address(const Napi::CallbackInfo& info) {
  const auto& instance = *static_cast<Instance*>(info.Data());
  int32_t descriptor = -1;
  napi_get_value_int32(info.Env(), info[0], &descriptor);
  Address peer;
  peer.length = sizeof peer.storage;
  const bool connected = instance.owns_socket(descriptor) &&
                         getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0;
  return Napi::String::New(info.Env(), connected ? address_format(peer) : std::string());
}

// { read, write }: the two buffers, made on the first call, the same ever after.
static Napi::Value socket_buffers(const Napi::CallbackInfo& info) {
  auto& instance = *static_cast<Instance*>(info.Data());
  if (!instance.tls_state.allocated()) instance.tls_state.allocate(info.Env(), napi_int32_array, sizeof(int32_t), 2);
  for (SharedArray* buffer : {&instance.read_buffer, &instance.write_buffer}) {
    if (!buffer->allocated()) buffer->allocate(info.Env(), napi_uint8_array, 1, kBufferBytes);
    if (!buffer->allocated()) {
      if (!info.Env().IsExceptionPending()) Napi::Error::New(info.Env(), "no memory for buffers").ThrowAsJavaScriptException();
      return info.Env().Undefined();
    }
  }
  Napi::Object buffers = Napi::Object::New(info.Env());
  buffers.Set("read", instance.read_buffer.value());
  buffers.Set("write", instance.write_buffer.value());
  buffers.Set("tlsState", instance.tls_state.value());
  return buffers;
}

void socket_register(Instance& instance, Napi::Object exports) {
  const auto hot = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  hot("now", socket_now);
  hot("open", socket_open);
  hot("bind", socket_bind);
  hot("setTcpOptions", socket_set_tcp_options);
  hot("adopt", socket_adopt);
  hot("release", socket_release);
  hot("connect", socket_connect);
  hot("connectResult", socket_connect_result);
  hot("read", socket_read);
  hot("readInto", socket_read_into);
  hot("write", socket_write);
  hot("writeFrom", socket_write_from);
  hot("endWriting", socket_end_writing);
  hot("close", socket_close);
  exports.Set("remoteAddress", Napi::Function::New<socket_remote_address>(exports.Env(), "remoteAddress", &instance));
  exports.Set("buffers", Napi::Function::New<socket_buffers>(exports.Env(), "buffers", &instance));
}

}  // namespace shardfetch
