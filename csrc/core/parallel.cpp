// A pool of threads that hand themselves pieces of one loop at a time.
//
// Why not OpenMP: its loops end with a barrier for the whole team, so a thread that waits for a busy core
// holds up a loop whose work is long done by the others. Here the caller waits only for threads that are
// inside the loop, a thread that comes late finds it closed, and a forked child can be made to work. Measured
// in docs/decisions/0001-thread-pool.md.
#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "core/cpu_limit.h"
#include "core/error.h"
#include "core/float_mode.h"
#include "core/macros.h"

namespace ctorch {
namespace {

// At most so many pieces per loop: enough to even out threads of different speed, few enough that taking one
// (an atomic increment) costs nothing next to a piece.
constexpr int64_t kMaxPieces = 256;
// Each thread begins with a share of the pieces that is the same for loops alike: what one operation wrote,
// the next finds in the caches of the same core.
constexpr int64_t kMaxShares = 64;
// Pieces of a fine-grained loop begin at a multiple of this many elements, so that vector loops stay aligned
// and threads write to different cache lines.
constexpr int64_t kPieceAlign = 64;
// How long an idle thread spins before it sleeps: longer than Python needs between two operations (some 20
// us), and than the 50 us or so that waking a sleeping thread takes on a virtual machine.
constexpr auto kSpinTime = std::chrono::microseconds(200);
constexpr int kMaxThreads = 4096;

thread_local int t_index = 0;
thread_local bool t_inside = false;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// How a range is cut: by its length and the grain alone.
struct Pieces {
  int64_t begin, end, size, count;

  Pieces(int64_t begin, int64_t end, int64_t grain) : begin(begin), end(end) {
    int64_t length = end - begin;
    grain = std::max<int64_t>(grain, 1);
    int64_t wanted = std::clamp<int64_t>(length / grain, 1, kMaxPieces);
    size = (length + wanted - 1) / wanted;
    if (grain >= kPieceAlign) size = (size + kPieceAlign - 1) / kPieceAlign * kPieceAlign;
    count = (length + size - 1) / size;
  }
  int64_t from(int64_t piece) const { return begin + piece * size; }
  int64_t to(int64_t piece) const { return std::min(end, begin + (piece + 1) * size); }
};

using Body = FunctionRef<void(int64_t, int64_t)>;

class Pool {
 public:
  bool has_workers() const { return workers_ > 0; }

  // Run the loop on the calling thread and up to `helpers` others; false if another loop has the pool.
  bool run(const Pieces& pieces, const Body& body, int helpers) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    helpers = std::min(helpers, start_workers(helpers));
    pieces_ = &pieces;
    body_ = &body;
    mode_ = float_mode();
    failed_.store(false, std::memory_order_relaxed);
    error_ = nullptr;
    share_out(helpers + 1);
    open(helpers);
    take_pieces(0, 0);
    close();
    std::exception_ptr error = std::exchange(error_, nullptr);
    busy_.store(false, std::memory_order_release);
    if (error) std::rethrow_exception(error);
    return true;
  }

 private:
  // state_ = number of the loop (32 bits) | places left for helpers (16) | helpers inside (16). One word, so
  // that a helper enters a loop, or finds it closed, in one step.
  static constexpr uint64_t kInside = 1, kPlace = 1 << 16, kLoop = uint64_t{1} << 32;
  static uint32_t loop_of(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
  static int places(uint64_t state) { return static_cast<int>((state >> 16) & 0xffff); }
  static int inside(uint64_t state) { return static_cast<int>(state & 0xffff); }

  void open(int helpers) {
    uint64_t state = state_.load(std::memory_order_relaxed);
    // Sequentially consistent, as is sleepers_: either a thread about to sleep sees the new loop, or it is
    // seen here.
    state_.store((uint64_t{loop_of(state) + 1} << 32) | static_cast<uint64_t>(helpers) * kPlace);
    int asleep = sleepers_.load();
    int wake = std::min(asleep, helpers - (workers_ - asleep));
    if (wake <= 0) return;
    std::lock_guard lock(mutex_);
    for (int i = 0; i < wake; ++i) wake_.notify_one();
  }

  // Let nobody in any more, and wait for those inside.
  void close() {
    uint64_t state = state_.fetch_and(~(uint64_t{0xffff} * kPlace), std::memory_order_acquire);
    for (int spins = 0; inside(state) > 0; ++spins) {
      spins < 4000 ? relax() : static_cast<void>(sched_yield());
      state = state_.load(std::memory_order_acquire);
    }
  }

  void share_out(int64_t threads) {
    shares_in_use_ = std::min({threads, pieces_->count, kMaxShares});
    for (int64_t s = 0; s < shares_in_use_; ++s) {
      shares_[s].end = (s + 1) * pieces_->count / shares_in_use_;
      shares_[s].next.store(s * pieces_->count / shares_in_use_, std::memory_order_relaxed);
    }
  }

  // First the pieces of a share of one's own, then what others have left of theirs.
  void take_pieces(int index, int64_t own) {
    t_index = index;
    t_inside = true;
    for (int64_t i = 0; i < shares_in_use_; ++i) {
      Share& share = shares_[(own + i) % shares_in_use_];
      for (int64_t piece; (piece = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        try {
          (*body_)(pieces_->from(piece), pieces_->to(piece));
        } catch (...) {
          if (!failed_.exchange(true)) error_ = std::current_exception();
          for (Share& each : shares_) each.next.store(each.end, std::memory_order_relaxed);
        }
      }
    }
    t_index = 0;
    t_inside = false;
  }

  void work(int64_t own) {
    uint32_t seen = 0;
    for (;;) {
      uint64_t state = wait_for_loop_after(seen);
      seen = loop_of(state);
      while (places(state) > 0 && loop_of(state) == seen) {
        if (!state_.compare_exchange_weak(state, state - kPlace + kInside, std::memory_order_acquire))
          continue;
        set_float_mode(mode_);
        take_pieces(places(state), own);
        state_.fetch_sub(kInside, std::memory_order_release);
        break;
      }
    }
  }

  uint64_t wait_for_loop_after(uint32_t seen) {
    auto give_up = std::chrono::steady_clock::now() + kSpinTime;
    for (int spins = 1;; ++spins) {
      uint64_t state = state_.load(std::memory_order_acquire);
      if (loop_of(state) != seen) return state;
      relax();
      if (spins % 64 == 0 && std::chrono::steady_clock::now() > give_up) break;
    }
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [&] { return loop_of(state_.load()) != seen; });
    sleepers_.fetch_sub(1);
    return state_.load(std::memory_order_acquire);
  }

  // Called by the owner of busy_ only. Threads are started when first needed, and live as long as the
  // process.
  int start_workers(int wanted) {
    for (; workers_ < wanted; ++workers_) {
      try {
        std::thread([this, own = workers_ + 1] { work(own); }).detach();
      } catch (const std::system_error&) {
        break;  // the system allows no more threads: go on with those there are
      }
    }
    return workers_;
  }

  std::atomic<bool> busy_{false};
  int workers_ = 0;
  // The loop at hand; written only while no helper is inside.
  const Pieces* pieces_ = nullptr;
  const Body* body_ = nullptr;
  uint64_t mode_ = 0;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<uint64_t> state_{0};
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  Share shares_[kMaxShares];
  int64_t shares_in_use_ = 1;
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

// 0: not asked for yet.
std::atomic<int> g_threads{0};

// Never destroyed: detached threads sleep in it until the process ends. In a forked child, where those
// threads do not exist, it is made afresh in place.
alignas(Pool) unsigned char g_pool_storage[sizeof(Pool)];

void renew_after_fork();

// Made when the library is loaded, not at first use: a fork while another thread was at it would leave the
// child waiting for that thread.
Pool& make_pool() {
  pthread_atfork(nullptr, nullptr, renew_after_fork);
  return *new (g_pool_storage) Pool;
}
Pool& g_pool = make_pool();

// The child has one thread, and may have been forked by a worker of a data loader beside many like it: it
// goes on serially until it asks for threads of its own.
void renew_after_fork() {
  bool had_workers = g_pool.has_workers();
  new (g_pool_storage) Pool;
  t_index = 0;
  t_inside = false;
  if (had_workers) g_threads.store(1);
}

// The value of an environment variable that holds a positive number (the first, of OpenMP's comma-separated
// ones); else 0.
int threads_from(const char* variable) {
  const char* text = std::getenv(variable);
  long n = text ? std::strtol(text, nullptr, 10) : 0;
  return n > 0 ? static_cast<int>(std::min<long>(n, kMaxThreads)) : 0;
}

int default_threads() {
  for (const char* variable : {"CTORCH_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (int n = threads_from(variable)) return n;
  }
  return available_cpus();
}

}  // namespace

int available_cpus() {
  int affinity = affinity_cpus(), quota = cgroup_cpus();
  return std::min(kMaxThreads, quota > 0 ? std::min(affinity, quota) : affinity);
}

int num_threads() {
  int n = g_threads.load(std::memory_order_relaxed);
  if (CT_LIKELY(n > 0)) return n;
  int expected = 0;
  g_threads.compare_exchange_strong(expected, default_threads());
  return g_threads.load();
}

void set_num_threads(int n) {
  check(n > 0, "set_num_threads: expected a positive number, got ", n);
  g_threads.store(std::min(n, kMaxThreads));
}

bool in_parallel_region() { return t_inside; }

int thread_index() { return t_index; }

void parallel_for(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (begin >= end) return;
  if (end - begin <= grain) return body(begin, end);
  Pieces pieces(begin, end, grain);
  if (pieces.count > 1 && !t_inside) {
    int threads = static_cast<int>(std::min<int64_t>(num_threads(), pieces.count));
    if (threads > 1 && g_pool.run(pieces, body, threads - 1)) return;
  }
  // The same pieces as with several threads: where a piece ends may show in the last bit of a result.
  for (int64_t piece = 0; piece < pieces.count; ++piece) body(pieces.from(piece), pieces.to(piece));
}

}  // namespace ctorch
