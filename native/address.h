// Numeric addresses and unix paths: text to what the kernel takes, and back. Never looks up a name: resolver.h does.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

namespace shardfetch {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// The families of io.ts: 4 IPv4, 6 IPv6, 1 unix. AF_UNSPEC for any other number.
int address_family(int family);

// 0, or -EINVAL (no numeric address of this family, bad port), -ENODEV (unknown scope), -ENAMETOOLONG (unix path).
int address_parse(int family, const std::string& text, int port, Address& address);

// `127.0.0.1:8080`, `[fe80::1%eth0]:8080` or a unix path; empty for others.
std::string address_format(const Address& address);

}  // namespace shardfetch
