// TLS as JavaScript calls it: trust stores and contexts by number, connections by their socket. See tls-io.ts for what each
// promises. Reading and writing are socket.cpp's `read` and `write`: a socket with TLS on it goes through that.
#pragma once

#include <napi.h>

namespace shardfetch {

class Instance;

void tls_register(Instance& instance, Napi::Object exports);

}  // namespace shardfetch
