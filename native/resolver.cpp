// See resolver.h.
#include "resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "instance.h"

// Since glibc 2.34 pthread_create has a new version, which older systems lack (see old_systems.cpp). The old one does the same.
#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver pthread_create, pthread_create@GLIBC_2.2.5");
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver pthread_create, pthread_create@GLIBC_2.17");
#endif

namespace shardfetch {

// Per resolver. Look-ups wait for the network, not for a core: enough that some dead names do not stop the others, few enough
// that a name server sees no flood and the stacks (8 MiB of address space each) stay small beside a shard.
static constexpr int kThreadsMax = 16;

// A crawl resolves all the time, an import once: threads that find nothing to do for this long end.
static constexpr uint64_t kThreadIdleNs = 5'000'000'000;

// libuv's mutex and condition: those of the standard library would ask for newer glibc symbols.
class Lock {
 public:
  explicit Lock(uv_mutex_t& mutex) : mutex_(mutex) { uv_mutex_lock(&mutex_); }
  ~Lock() { uv_mutex_unlock(&mutex_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  uv_mutex_t& mutex_;
};

// Shared by the resolver and its threads; every member is guarded by the mutex. Counted by hand, because std::shared_ptr asks
// for a symbol of glibc 2.32.
struct Resolver::State {
  uv_mutex_t mutex;
  uv_cond_t job_came;
  int descriptor;  // the eventfd; -1 once closed. Written under the mutex only, so never after its number was reused.
  int threads = 0;
  int idle_threads = 0;
  std::deque<Job> jobs;
  std::deque<Answer> answers;

  explicit State(int eventfd_descriptor) : descriptor(eventfd_descriptor) {
    uv_mutex_init(&mutex);
    uv_cond_init(&job_came);
  }
  ~State() {
    uv_cond_destroy(&job_came);
    uv_mutex_destroy(&mutex);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  bool closed() const { return descriptor < 0; }
  // Whether nobody is left to use it.
  bool abandoned() const { return closed() && threads == 0; }

  void add_answer(Answer answer) {
    answers.push_back(std::move(answer));
    if (answers.size() == 1) eventfd_write(descriptor, 1);
  }
};

static std::string numeric_address(const addrinfo& info) {
  char text[NI_MAXHOST];
  const int failed = getnameinfo(info.ai_addr, info.ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  return failed ? std::string() : std::string(text);
}

static Resolver::Answer look_up(const Resolver::Job& job) {
  Resolver::Answer answer;
  answer.lookup = job.lookup;
  addrinfo hints{};
  hints.ai_family = job.family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  answer.status = getaddrinfo(job.host.c_str(), nullptr, &hints, &list);
  if (answer.status != 0) {
    if (answer.status == EAI_SYSTEM) answer.system_error = errno;
    return answer;
  }
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
    std::string address = numeric_address(*info);
    auto& addresses = answer.addresses;
    if (!address.empty() && std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  }
  freeaddrinfo(list);
  if (answer.addresses.empty()) answer.status = EAI_NONAME;
  return answer;
}

// Takes jobs until the resolver is closed or none came for a while. Nothing here belongs to an environment.
void* Resolver::run_thread(void* data) {
  auto* state = static_cast<State*>(data);
  prctl(PR_SET_NAME, "shardfetch-dns");
  uv_mutex_lock(&state->mutex);
  for (;;) {
    bool timed_out = false;
    while (state->jobs.empty() && !state->closed() && !timed_out) {
      state->idle_threads++;
      timed_out = uv_cond_timedwait(&state->job_came, &state->mutex, kThreadIdleNs) == UV_ETIMEDOUT;
      state->idle_threads--;
    }
    if (state->closed() || state->jobs.empty()) break;
    const Job job = std::move(state->jobs.front());
    state->jobs.pop_front();
    uv_mutex_unlock(&state->mutex);
    Answer answer = look_up(job);
    uv_mutex_lock(&state->mutex);
    if (!state->closed()) state->add_answer(std::move(answer));
  }
  state->threads--;
  const bool last = state->abandoned();
  uv_mutex_unlock(&state->mutex);
  if (last) delete state;
  return nullptr;
}

// 0 or an errno. The mutex is held.
int Resolver::start_thread(State* state) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are for the thread that Node chose: the new thread inherits a mask that blocks them all.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);  // pthread_sigmask, under the name that old glibc has: it too acts on this thread
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, run_thread, state);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error == 0) state->threads++;
  return error;
}

std::unique_ptr<Resolver> Resolver::create(int& error) {
  const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor < 0) {
    error = -errno;
    return nullptr;
  }
  return std::unique_ptr<Resolver>(new Resolver(descriptor, new State(descriptor)));
}

Resolver::~Resolver() {
  uv_mutex_lock(&state_->mutex);
  state_->jobs.clear();
  ::close(descriptor_);
  state_->descriptor = -1;
  uv_cond_broadcast(&state_->job_came);
  const bool last = state_->abandoned();
  uv_mutex_unlock(&state_->mutex);
  if (last) delete state_;
}

int32_t Resolver::resolve(std::string host, int family) {
  last_lookup_ = last_lookup_ == INT32_MAX ? 1 : last_lookup_ + 1;
  const int32_t lookup = last_lookup_;
  Lock lock(state_->mutex);
  if (host.empty() || host.find('\0') != std::string::npos) {
    state_->add_answer({lookup, EAI_NONAME, 0, {}});  // getaddrinfo would read up to the NUL: another name
    return lookup;
  }
  state_->jobs.push_back({lookup, std::move(host), family});
  if (state_->jobs.size() <= static_cast<size_t>(state_->idle_threads)) {
    uv_cond_signal(&state_->job_came);
  } else if (state_->threads < kThreadsMax) {
    const int error = start_thread(state_);
    if (error != 0 && state_->threads == 0) {
      state_->jobs.pop_back();
      state_->add_answer({lookup, EAI_SYSTEM, error, {}});
    }
  }
  return lookup;
}

bool Resolver::take(Answer& answer) {
  Lock lock(state_->mutex);
  if (state_->answers.empty()) return false;
  answer = std::move(state_->answers.front());
  state_->answers.pop_front();
  eventfd_t count;
  if (state_->answers.empty()) eventfd_read(descriptor_, &count);
  return true;
}

// What JavaScript calls. All of it is cold: a look-up costs a hundred times more.

static const char* status_name(int status) {
  switch (status) {
    case 0: return "";
    case EAI_AGAIN: return "EAI_AGAIN";
    case EAI_BADFLAGS: return "EAI_BADFLAGS";
    case EAI_FAIL: return "EAI_FAIL";
    case EAI_FAMILY: return "EAI_FAMILY";
    case EAI_MEMORY: return "EAI_MEMORY";
    case EAI_NONAME: return "EAI_NONAME";
    case EAI_OVERFLOW: return "EAI_OVERFLOW";
    case EAI_SERVICE: return "EAI_SERVICE";
    case EAI_SOCKTYPE: return "EAI_SOCKTYPE";
    case EAI_SYSTEM: return "EAI_SYSTEM";
#ifdef EAI_NODATA
    case EAI_NODATA: return "EAI_NODATA";
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY: return "EAI_ADDRFAMILY";
#endif
    default: return "EAI_UNKNOWN";
  }
}

static int32_t integer_of(const Napi::Value& value) {
  int32_t result = -1;
  napi_get_value_int32(value.Env(), value, &result);
  return result;
}

static Resolver* resolver_of(const Napi::CallbackInfo& info) {
  return static_cast<Instance*>(info.Data())->resolver(integer_of(info[0]));
}

// The descriptor, or a negative errno.
static Napi::Value resolver_open(const Napi::CallbackInfo& info) {
  int error = 0;
  std::unique_ptr<Resolver> resolver = Resolver::create(error);
  if (resolver == nullptr) return Napi::Number::New(info.Env(), error);
  const int descriptor = resolver->descriptor();
  static_cast<Instance*>(info.Data())->adopt_resolver(std::move(resolver));
  return Napi::Number::New(info.Env(), descriptor);
}

static Napi::Value resolver_resolve(const Napi::CallbackInfo& info) {
  Resolver* resolver = resolver_of(info);
  if (resolver == nullptr) return Napi::Number::New(info.Env(), -EBADF);
  const int32_t family = integer_of(info[2]);
  if (!info[1].IsString() || (family != 0 && family != 4 && family != 6)) return Napi::Number::New(info.Env(), -EINVAL);
  const int wanted = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
  return Napi::Number::New(info.Env(), resolver->resolve(info[1].As<Napi::String>().Utf8Value(), wanted));
}

// { lookup, status, statusName, systemError, addresses } or null.
static Napi::Value resolver_take(const Napi::CallbackInfo& info) {
  Resolver* resolver = resolver_of(info);
  Resolver::Answer answer;
  if (resolver == nullptr || !resolver->take(answer)) return info.Env().Null();
  Napi::Array addresses = Napi::Array::New(info.Env(), answer.addresses.size());
  for (uint32_t index = 0; index < answer.addresses.size(); index++) addresses.Set(index, answer.addresses[index]);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("lookup", answer.lookup);
  result.Set("status", answer.status);
  result.Set("statusName", status_name(answer.status));
  result.Set("systemError", answer.system_error);
  result.Set("addresses", addresses);
  return result;
}

static void resolver_close(const Napi::CallbackInfo& info) {
  static_cast<Instance*>(info.Data())->close_resolver(integer_of(info[0]));
}

void resolver_register(Instance& instance, Napi::Object exports) {
  const Napi::Env env = exports.Env();
  exports.Set("resolverOpen", Napi::Function::New<resolver_open>(env, "resolverOpen", &instance));
  exports.Set("resolverResolve", Napi::Function::New<resolver_resolve>(env, "resolverResolve", &instance));
  exports.Set("resolverTake", Napi::Function::New<resolver_take>(env, "resolverTake", &instance));
  exports.Set("resolverClose", Napi::Function::New<resolver_close>(env, "resolverClose", &instance));
}

}  // namespace shardfetch
