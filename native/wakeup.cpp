// See wakeup.h.
#include "wakeup.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <unordered_map>

#include "call.h"
#include "instance.h"

namespace shardfetch {

// Made once and never freed: at the end of the process other threads may still send.
struct Table {
  uv_mutex_t mutex;
  std::unordered_map<int64_t, int> descriptors;
  int64_t last_number = 0;
};

static Table* table = nullptr;
static uv_once_t table_made = UV_ONCE_INIT;

static void make_table() {
  table = new Table;
  uv_mutex_init(&table->mutex);
}

class LockedTable {
 public:
  LockedTable() {
    uv_once(&table_made, make_table);
    uv_mutex_lock(&table->mutex);
  }
  ~LockedTable() { uv_mutex_unlock(&table->mutex); }
  LockedTable(const LockedTable&) = delete;
  LockedTable& operator=(const LockedTable&) = delete;
  Table* operator->() const { return table; }
};

std::unique_ptr<Wakeup> Wakeup::create(int& error) {
  const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor < 0) {
    error = -errno;
    return nullptr;
  }
  const LockedTable locked;
  const int64_t number = ++locked->last_number;
  locked->descriptors[number] = descriptor;
  return std::unique_ptr<Wakeup>(new Wakeup(descriptor, number));
}

Wakeup::~Wakeup() {
  const LockedTable locked;
  locked->descriptors.erase(number_);
  ::close(descriptor_);
}

void Wakeup::clear() {
  eventfd_t count;
  eventfd_read(descriptor_, &count);
}

bool Wakeup::send(int64_t number) {
  const LockedTable locked;
  const auto found = locked->descriptors.find(number);
  if (found == locked->descriptors.end()) return false;
  eventfd_write(found->second, 1);  // fails only when full, and then it is readable
  return true;
}

// What JavaScript calls.

static napi_value wakeup_send(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  napi_value result = nullptr;
  napi_get_boolean(env, Wakeup::send(call.long_integer(0)), &result);
  return result;
}

static napi_value wakeup_clear(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  Wakeup* wakeup = call.instance().wakeup(call.integer(0));
  if (wakeup != nullptr) wakeup->clear();
  return call.answer(wakeup == nullptr ? -EBADF : 0);
}

static napi_value wakeup_close(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  call.instance().close_wakeup(call.integer(0));
  return nullptr;
}

// { descriptor, number }, or a negative errno.
static Napi::Value wakeup_open(const Napi::CallbackInfo& info) {
  int error = 0;
  std::unique_ptr<Wakeup> wakeup = Wakeup::create(error);
  if (wakeup == nullptr) return Napi::Number::New(info.Env(), error);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("descriptor", wakeup->descriptor());
  result.Set("number", static_cast<double>(wakeup->number()));
  static_cast<Instance*>(info.Data())->adopt_wakeup(std::move(wakeup));
  return result;
}

void wakeup_register(Instance& instance, Napi::Object exports) {
  const auto plain = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(instance.env(), name, NAPI_AUTO_LENGTH, function, &instance, &value);
    exports.Set(name, value);
  };
  plain("wakeupSend", wakeup_send);
  plain("wakeupClear", wakeup_clear);
  plain("wakeupClose", wakeup_close);
  exports.Set("wakeupOpen", Napi::Function::New<wakeup_open>(exports.Env(), "wakeupOpen", &instance));
}

}  // namespace shardfetch
