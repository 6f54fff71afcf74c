// See address.h.
#include "address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace shardfetch {

int address_family(int family) {
  switch (family) {
    case 4: return AF_INET;
    case 6: return AF_INET6;
    case 1: return AF_UNIX;
    default: return AF_UNSPEC;
  }
}

static int parse_inet(const std::string& text, int port, Address& address) {
  auto* inet = reinterpret_cast<sockaddr_in*>(&address.storage);
  inet->sin_family = AF_INET;
  inet->sin_port = htons(static_cast<uint16_t>(port));
  address.length = sizeof *inet;
  return inet_pton(AF_INET, text.c_str(), &inet->sin_addr) == 1 ? 0 : -EINVAL;
}

// `fe80::1%eth0` or `fe80::1%2` (RFC 4007): inet_pton does not take the scope.
static int parse_inet6(const std::string& text, int port, Address& address) {
  auto* inet6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  inet6->sin6_family = AF_INET6;
  inet6->sin6_port = htons(static_cast<uint16_t>(port));
  address.length = sizeof *inet6;
  const size_t percent = text.find('%');
  if (inet_pton(AF_INET6, text.substr(0, percent).c_str(), &inet6->sin6_addr) != 1) return -EINVAL;
  if (percent == std::string::npos) return 0;
  const std::string scope = text.substr(percent + 1);
  inet6->sin6_scope_id = if_nametoindex(scope.c_str());
  if (inet6->sin6_scope_id == 0) {
    const char* end = scope.data() + scope.size();
    const auto parsed = std::from_chars(scope.data(), end, inet6->sin6_scope_id);
    if (parsed.ec != std::errc() || parsed.ptr != end) return -ENODEV;
  }
  return inet6->sin6_scope_id == 0 ? -ENODEV : 0;
}

// A path, or, where the first byte is 0, an abstract name (unix(7)): that one has no end mark, so its length counts.
static int parse_unix(const std::string& text, Address& address) {
  auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
  local->sun_family = AF_UNIX;
  if (text.empty()) return -EINVAL;
  const bool abstract = text[0] == '\0';
  if (!abstract && text.find('\0') != std::string::npos) return -EINVAL;
  const size_t bytes = text.size() + (abstract ? 0 : 1);
  if (bytes > sizeof local->sun_path) return -ENAMETOOLONG;
  std::memcpy(local->sun_path, text.data(), text.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
  return 0;
}

int address_parse(int family, const std::string& text, int port, Address& address) {
  if (family == 1) return parse_unix(text, address);
  if (port < 0 || port > 65535) return -EINVAL;
  if (text.find('\0') != std::string::npos) return -EINVAL;
  if (family == 4) return parse_inet(text, port, address);
  if (family == 6) return parse_inet6(text, port, address);
  return -EINVAL;
}

static std::string format_unix(const Address& address) {
  const auto* local = reinterpret_cast<const sockaddr_un*>(&address.storage);
  const size_t bytes = address.length - offsetof(sockaddr_un, sun_path);
  if (bytes == 0) return {};
  if (local->sun_path[0] == '\0') return std::string(local->sun_path, bytes);
  return std::string(local->sun_path, strnlen(local->sun_path, bytes));
}

std::string address_format(const Address& address) {
  if (address.length < sizeof(sa_family_t)) return {};
  if (address.storage.ss_family == AF_UNIX) return format_unix(address);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  const auto* generic = reinterpret_cast<const sockaddr*>(&address.storage);
  const int numeric = NI_NUMERICHOST | NI_NUMERICSERV;
  if (getnameinfo(generic, address.length, host, sizeof host, port, sizeof port, numeric) != 0) return {};
  if (address.storage.ss_family == AF_INET6) return '[' + std::string(host) + "]:" + port;
  return std::string(host) + ':' + port;
}

}  // namespace shardfetch
