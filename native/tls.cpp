// See tls.h.
#include "tls.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "call.h"
#include "instance.h"
#include "tls_room.h"

namespace shardfetch {

// ── Hot ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

static napi_value tls_handshake(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  TlsConnection* connection = call.instance().tls(call.integer(0));
  return call.answer(connection == nullptr ? -EBADF : connection->handshake());
}

static napi_value tls_approve(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  TlsConnection* connection = call.instance().tls(call.integer(0));
  if (connection != nullptr) connection->approve();
  return call.answer(connection == nullptr ? -EBADF : 0);
}

static napi_value tls_shut_down(napi_env env, napi_callback_info info) {
  Call<1> call(env, info);
  TlsConnection* connection = call.instance().tls(call.integer(0));
  return call.answer(connection == nullptr ? -EBADF : connection->shut_down());
}

// ── Cold ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

static Instance& instance_of(const Napi::CallbackInfo& info) { return *static_cast<Instance*>(info.Data()); }

static std::string text_of(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  if (!value.IsTypedArray()) return {};
  const auto bytes = value.As<Napi::Uint8Array>();
  return std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
}

static std::vector<std::string> texts_of(const Napi::Value& value) {
  std::vector<std::string> texts;
  if (!value.IsArray()) return texts;
  const auto array = value.As<Napi::Array>();
  for (uint32_t index = 0; index < array.Length(); index++) {
    const Napi::Value text = array.Get(index);
    if (text.IsString()) texts.push_back(text.As<Napi::String>().Utf8Value());
  }
  return texts;
}

static bool flag_of(const Napi::Value& value) { return value.IsBoolean() && value.As<Napi::Boolean>().Value(); }

static int integer_of(const Napi::Value& value) { return value.IsNumber() ? value.As<Napi::Number>().Int32Value() : -1; }

static Napi::Value bytes_or_null(Napi::Env env, const std::string& bytes) {
  if (bytes.empty()) return env.Null();
  return Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size());
}

// (pems, systemPaths) -> a number, or a sentence.
static Napi::Value tls_trust(const Napi::CallbackInfo& info) {
  std::string error;
  std::unique_ptr<TlsTrust> trust = TlsTrust::create(texts_of(info[0]), flag_of(info[1]), error);
  if (trust == nullptr) return Napi::String::New(info.Env(), error);
  return Napi::Number::New(info.Env(), instance_of(info).tls_room().adopt(std::move(trust)));
}

// (settings) -> a number, or a sentence.
static Napi::Value tls_context(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) return Napi::String::New(info.Env(), "no settings");
  const auto given = info[0].As<Napi::Object>();
  TlsSettings settings;
  settings.certificates = texts_of(given.Get("certificates"));
  settings.keys = texts_of(given.Get("keys"));
  settings.pfx = text_of(given, "pfx");
  settings.has_passphrase = given.Get("passphrase").IsString();
  settings.passphrase = text_of(given, "passphrase");
  settings.ciphers = text_of(given, "ciphers");
  settings.suites = text_of(given, "suites");
  settings.signatures = text_of(given, "signatures");
  settings.groups = text_of(given, "groups");
  settings.alpn = text_of(given, "alpn");
  settings.key_log = text_of(given, "keyLog");
  settings.version_min = integer_of(given.Get("versionMin"));
  settings.version_max = integer_of(given.Get("versionMax"));
  settings.verify = flag_of(given.Get("verify"));
  settings.keep_sessions = flag_of(given.Get("keepSessions"));
  std::string error;
  TlsContext* context = TlsContext::create(settings, error);
  if (context == nullptr) return Napi::String::New(info.Env(), error);
  TlsTrust* trust = instance_of(info).tls_room().trust(integer_of(given.Get("trust")));
  if (trust != nullptr) context->trust(*trust);
  return Napi::Number::New(info.Env(), instance_of(info).tls_room().adopt(context));
}

static Napi::Value tls_close(const Napi::CallbackInfo& info) {
  instance_of(info).tls_room().close(integer_of(info[0]));
  return info.Env().Undefined();
}

// (socket, context, name, isAddress, sendName, checkName, destination, inside) -> 0 or a negative errno. `inside`: in the TLS that
// the socket has already.
static Napi::Value tls_start(const Napi::CallbackInfo& info) {
  Instance& instance = instance_of(info);
  const int descriptor = integer_of(info[0]);
  TlsContext* context = instance.tls_room().context(integer_of(info[1]));
  const auto answer = [&](int result) { return Napi::Number::New(info.Env(), result); };
  if (!instance.owns_socket(descriptor) || context == nullptr) return answer(-EBADF);
  const bool inside = flag_of(info[7]);
  if (inside != (instance.tls(descriptor) != nullptr)) return answer(inside ? -ENOTCONN : -EALREADY);
  if (!info[2].IsString() || !info[6].IsString()) return answer(-EINVAL);
  TlsConnection* connection = TlsConnection::create(*context, instance.tls_room().method(), descriptor);
  if (connection == nullptr) return answer(-ENOMEM);
  if (inside) connection->run_inside(instance.release_tls(descriptor));
  instance.adopt_tls(descriptor, connection);
  const std::string name = info[2].As<Napi::String>().Utf8Value();
  if (!connection->expect(name, flag_of(info[3]), flag_of(info[4]), flag_of(info[5]))) return answer(-EINVAL);
  connection->resume(info[6].As<Napi::String>().Utf8Value());
  return answer(0);
}

static Napi::Value tls_info(const Napi::CallbackInfo& info) {
  const TlsConnection* connection = instance_of(info).tls(integer_of(info[0]));
  if (connection == nullptr) return info.Env().Null();
  SSL* ssl = connection->ssl();
  const unsigned char* alpn = nullptr;
  unsigned int alpn_bytes = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_bytes);
  const char* cipher = SSL_get_cipher_name(ssl);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("protocol", SSL_get_version(ssl));
  result.Set("cipher", cipher == nullptr ? "" : cipher);
  result.Set("resumed", SSL_session_reused(ssl) == 1);
  result.Set("alpn", std::string(reinterpret_cast<const char*>(alpn), alpn_bytes));
  result.Set("verified", SSL_get_verify_result(ssl) == X509_V_OK);
  ERR_clear_error();
  return result;
}

// The peer's certificate as DER, or null.
static Napi::Value tls_peer(const Napi::CallbackInfo& info) {
  const TlsConnection* connection = instance_of(info).tls(integer_of(info[0]));
  if (connection == nullptr) return info.Env().Null();
  X509* certificate = SSL_get1_peer_certificate(connection->ssl());
  unsigned char* bytes = nullptr;
  const int length = certificate == nullptr ? -1 : i2d_X509(certificate, &bytes);
  X509_free(certificate);
  ERR_clear_error();
  if (length < 0) return info.Env().Null();
  const std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(length));
  OPENSSL_free(bytes);
  return bytes_or_null(info.Env(), der);
}

static Napi::Value tls_error(const Napi::CallbackInfo& info) {
  const TlsConnection* connection = instance_of(info).tls(integer_of(info[0]));
  if (connection == nullptr) return info.Env().Null();
  const TlsConnection::Failure& failure = connection->failure();
  const int reason = ERR_GET_REASON(failure.code);
  // Reasons from here on are alerts of the peer, by their number (RFC 8446 §6).
  const bool alert = ERR_GET_LIB(failure.code) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET;
  const bool verified = failure.verify_result == X509_V_OK;
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("reason", tls_error_text(failure.code));
  result.Set("alert", alert ? reason - SSL_AD_REASON_OFFSET : -1);
  result.Set("verifyCode", static_cast<double>(failure.verify_result));
  result.Set("verifyText", verified ? "" : X509_verify_cert_error_string(failure.verify_result));
  result.Set("verifyDepth", failure.verify_depth);
  result.Set("certificate", bytes_or_null(info.Env(), failure.certificate));
  result.Set("leaf", bytes_or_null(info.Env(), failure.leaf));
  return result;
}

static Napi::Value tls_sessions(const Napi::CallbackInfo& info) {
  const TlsContext* context = instance_of(info).tls_room().context(integer_of(info[0]));
  return Napi::Number::New(info.Env(), context == nullptr ? -1 : static_cast<double>(context->sessions.size()));
}

// (others): from now on sessions are set aside for that many other environments, and state[1] says how many wait.
static Napi::Value tls_share(const Napi::CallbackInfo& info) {
  Instance& instance = instance_of(info);
  TlsOffers& offers = instance.tls_room().offers;
  offers.others = std::max(integer_of(info[0]), 0);
  if (instance.tls_state.allocated()) offers.waiting_count = reinterpret_cast<int32_t*>(instance.tls_state.data()) + 1;
  return info.Env().Undefined();
}

// What waits for other environments, as an array of { context, destination, single, bytes }; then nothing waits.
static Napi::Value tls_offers(const Napi::CallbackInfo& info) {
  const std::vector<TlsOffer> offers = instance_of(info).tls_room().offers.take_waiting();
  Napi::Array result = Napi::Array::New(info.Env(), offers.size());
  for (uint32_t index = 0; index < offers.size(); index++) {
    const TlsOffer& offer = offers[index];
    Napi::Object one = Napi::Object::New(info.Env());
    one.Set("context", offer.context);
    one.Set("destination", offer.destination);
    one.Set("single", offer.single);
    one.Set("bytes", bytes_or_null(info.Env(), offer.bytes));
    result.Set(index, one);
  }
  return result;
}

// (context, destination, bytes): what another environment offered. Whether it was taken.
static Napi::Value tls_take_over(const Napi::CallbackInfo& info) {
  TlsContext* context = instance_of(info).tls_room().context(integer_of(info[0]));
  bool taken = context != nullptr && context->keeps_sessions() && info[1].IsString() && info[2].IsTypedArray();
  if (taken) {
    const auto bytes = info[2].As<Napi::Uint8Array>();
    taken = context->sessions.take_over(info[1].As<Napi::String>().Utf8Value(), bytes.Data(), bytes.ByteLength());
  }
  return Napi::Boolean::New(info.Env(), taken);
}

static Napi::Value tls_objects(const Napi::CallbackInfo& info) {
  const TlsCounts counts = tls_counts();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("contexts", counts.contexts);
  result.Set("trusts", counts.trusts);
  result.Set("connections", counts.connections);
  result.Set("sessions", counts.sessions);
  return result;
}

void tls_register(Instance& instance, Napi::Object exports) {
  const auto hot = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  hot("tlsHandshake", tls_handshake);
  hot("tlsApprove", tls_approve);
  hot("tlsShutDown", tls_shut_down);
  const auto env = exports.Env();
  exports.Set("tlsTrust", Napi::Function::New<tls_trust>(env, "tlsTrust", &instance));
  exports.Set("tlsContext", Napi::Function::New<tls_context>(env, "tlsContext", &instance));
  exports.Set("tlsClose", Napi::Function::New<tls_close>(env, "tlsClose", &instance));
  exports.Set("tlsStart", Napi::Function::New<tls_start>(env, "tlsStart", &instance));
  exports.Set("tlsInfo", Napi::Function::New<tls_info>(env, "tlsInfo", &instance));
  exports.Set("tlsPeer", Napi::Function::New<tls_peer>(env, "tlsPeer", &instance));
  exports.Set("tlsError", Napi::Function::New<tls_error>(env, "tlsError", &instance));
  exports.Set("tlsSessions", Napi::Function::New<tls_sessions>(env, "tlsSessions", &instance));
  exports.Set("tlsShare", Napi::Function::New<tls_share>(env, "tlsShare", &instance));
  exports.Set("tlsOffers", Napi::Function::New<tls_offers>(env, "tlsOffers", &instance));
  exports.Set("tlsTakeOver", Napi::Function::New<tls_take_over>(env, "tlsTakeOver", &instance));
  exports.Set("tlsObjects", Napi::Function::New<tls_objects>(env, "tlsObjects", &instance));
}

}  // namespace shardfetch
