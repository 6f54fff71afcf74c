/*
 * Measured: libcurl's multi_socket interface over epoll, in C. Keeps a number of GETs in flight and prints a Measurement as
 * JSON (see ../clients/client.ts); the window is the one of ../clients/meter.ts.
 *
 *   libcurl URL IN_FLIGHT WARM_MS MEASURE_MS PHASE_MS_MAX [DOWN_BYTES [UP_BYTES]]
 *
 * With DOWN_BYTES bodies are of that length, and counted; with UP_BYTES each request is a POST of that many bytes.
 *
 * The certificate authority is in the file that NODE_EXTRA_CA_CERTS names, as for clients in JavaScript. LIBCURL_CONNECTIONS says
 * "fresh" for a new connection for each request with a full handshake, "resumed" for one with what the last of its lane left.
 *
 *   cc -O2 -o libcurl libcurl.c $(curl-config --cflags --libs)
 */

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 1024
#define SAMPLE_EVERY 16
#define SAMPLES_MAX 1000000
#define CODES_MAX 128 /* CURLcode stays below */
#define WRONG_BODY (CODES_MAX - 1)

static const char expected_body[] = "hello, world\n";

struct request {
  CURL *easy;
  size_t matched;  /* body bytes that came and were right */
  int wrong;       /* some byte was not */
  double began_ms; /* 0: not one of the sample */
};

static long down_bytes = -1; /* -1: the body is `expected_body` */
static long up_bytes;
static char *upload;
static struct curl_slist *upload_headers;
static const char *authority;
static int fresh, resumed;

static int epoll_fd;
static double timer_due_ms = -1; /* -1: not set */
static long begun, answers;
static long failures[CODES_MAX];
static float samples_us[SAMPLES_MAX];
static size_t samples;

static double now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static double microseconds(struct timeval time) { return time.tv_sec * 1e6 + time.tv_usec; }

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *multi, void *watched) {
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, NULL);
    curl_multi_assign(multi, socket, NULL);
    return 0;
  }
  struct epoll_event event = {0};
  event.data.fd = socket;
  event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
  epoll_ctl(epoll_fd, watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event);
  if (!watched) curl_multi_assign(multi, socket, &epoll_fd);
  return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *data) {
  (void)multi, (void)data;
  timer_due_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
  return 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data) {
  struct request *request = data;
  size_t length = size * count;
  if (down_bytes >= 0) {
    request->matched += length;
    return length;
  }
  if (request->matched + length > sizeof expected_body - 1 ||
      memcmp(bytes, expected_body + request->matched, length) != 0)
    request->wrong = 1;
  else
    request->matched += length;
  return length;
}

static void start(CURLM *multi, struct request *request) {
  request->matched = 0;
  request->wrong = 0;
  request->began_ms = begun++ % SAMPLE_EVERY == 0 ? now_ms() : 0;
  curl_multi_add_handle(multi, request->easy);
}

static void create(struct request *request, const char *url) {
  request->easy = curl_easy_init();
  curl_easy_setopt(request->easy, CURLOPT_URL, url);
  curl_easy_setopt(request->easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(request->easy, CURLOPT_WRITEDATA, request);
  curl_easy_setopt(request->easy, CURLOPT_PRIVATE, request);
  curl_easy_setopt(request->easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(request->easy, CURLOPT_NOSIGNAL, 1L);
  if (authority) curl_easy_setopt(request->easy, CURLOPT_CAINFO, authority);
  if (fresh || resumed) curl_easy_setopt(request->easy, CURLOPT_FORBID_REUSE, 1L);
  if (fresh) curl_easy_setopt(request->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
  if (up_bytes > 0) {
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, upload);
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE, up_bytes);
    curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, upload_headers);
  }
}

/* What completed is counted and started again. */
static void read_messages(CURLM *multi, int measuring) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(multi, &left)) != NULL) {
    CURLcode result = message->data.result;
    struct request *request;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
    if (result != CURLE_OK)
      failures[result < WRONG_BODY ? result : WRONG_BODY - 1]++;
    else if (request->wrong || request->matched != (down_bytes < 0 ? sizeof expected_body - 1 : (size_t)down_bytes))
      failures[WRONG_BODY]++;
    else {
      answers++;
      if (measuring && request->began_ms > 0 && samples < SAMPLES_MAX)
        samples_us[samples++] = (float)((now_ms() - request->began_ms) * 1e3);
    }
    curl_multi_remove_handle(multi, message->easy_handle);
    start(multi, request);
  }
}

static int ascending(const void *a, const void *b) {
  float left = *(const float *)a, right = *(const float *)b;
  return left < right ? -1 : left > right;
}

static double percentile(double share) {
  if (samples == 0) return 0;
  size_t index = (size_t)(share * samples);
  return samples_us[index < samples ? index : samples - 1];
}

static void print(double spent_ms, long requests, const struct rusage *before, const struct rusage *after) {
  qsort(samples_us, samples, sizeof samples_us[0], ascending);
  printf("{\"requests\":%ld,\"seconds\":%.6f,\"userUs\":%.0f,\"systemUs\":%.0f,\"mainThreadUs\":null,"
         "\"p50Us\":%.0f,\"p99Us\":%.0f,\"failures\":{",
         requests, spent_ms / 1e3, microseconds(after->ru_utime) - microseconds(before->ru_utime),
         microseconds(after->ru_stime) - microseconds(before->ru_stime), percentile(0.5), percentile(0.99));
  const char *comma = "";
  for (int code = 0; code < CODES_MAX; code++) {
    if (failures[code] == 0) continue;
    if (code == WRONG_BODY) printf("%s\"WRONG_BODY\":%ld", comma, failures[code]);
    else printf("%s\"CURLE_%d\":%ld", comma, code, failures[code]);
    comma = ",";
  }
  printf("}}\n");
}

int main(int count, char **arguments) {
  if (count < 6 || count > 8) {
    fprintf(stderr, "usage: libcurl URL IN_FLIGHT WARM_MS MEASURE_MS PHASE_MS_MAX [DOWN_BYTES [UP_BYTES]]\n");
    return 2;
  }
  long in_flight = atol(arguments[2]);
  double warm_ms = atof(arguments[3]), measure_ms = atof(arguments[4]), phase_ms_max = atof(arguments[5]);

  if (count > 6) down_bytes = atol(arguments[6]);
  if (count > 7) up_bytes = atol(arguments[7]);
  upload = calloc((size_t)up_bytes + 1, 1);
  upload_headers = curl_slist_append(NULL, "Expect:"); /* the server would answer nothing to it */

  const char *connections = getenv("LIBCURL_CONNECTIONS");
  fresh = connections && strcmp(connections, "fresh") == 0;
  resumed = connections && strcmp(connections, "resumed") == 0;
  authority = getenv("NODE_EXTRA_CA_CERTS");

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  curl_global_init(CURL_GLOBAL_ALL);
  CURLM *multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, multi);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, in_flight * 2);

  double phase_began_ms = now_ms();
  struct request *requests = calloc((size_t)in_flight, sizeof *requests);
  for (long index = 0; index < in_flight; index++) {
    create(&requests[index], arguments[1]);
    start(multi, &requests[index]);
  }

  int measuring = 0;
  long answers_before = 0;
  struct rusage before = {0};
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    double wait_ms = timer_due_ms < 0 ? 100 : timer_due_ms - now_ms();
    int ready = epoll_wait(epoll_fd, events, EVENTS_MAX, wait_ms <= 0 ? 0 : wait_ms > 100 ? 100 : (int)(wait_ms + 0.999));
    int running;
    if (timer_due_ms >= 0 && now_ms() >= timer_due_ms) {
      timer_due_ms = -1;
      curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    for (int index = 0; index < ready; index++) {
      unsigned int what = events[index].events;
      int mask = (what & EPOLLIN ? CURL_CSELECT_IN : 0) | (what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                 (what & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
      curl_multi_socket_action(multi, events[index].data.fd, mask, &running);
    }
    read_messages(multi, measuring);

    double now = now_ms(), spent_ms = now - phase_began_ms;
    long phase_answers = answers - answers_before;
    int long_enough = spent_ms >= (measuring ? measure_ms : warm_ms) && phase_answers >= in_flight;
    if (!long_enough && spent_ms < phase_ms_max) continue;
    if (measuring) {
      struct rusage after;
      getrusage(RUSAGE_SELF, &after);
      print(spent_ms, phase_answers, &before, &after);
      fflush(stdout);
      _exit(0); /* with the load still under way, as the other clients */
    }
    measuring = 1;
    answers_before = answers;
    getrusage(RUSAGE_SELF, &before);
    phase_began_ms = now;
  }
}
