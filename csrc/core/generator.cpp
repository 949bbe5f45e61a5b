#include "core/generator.h"

#include <pthread.h>

#include <cstring>
#include <random>
#include <set>

#include "core/error.h"

namespace ctorch {
namespace {

// What PyTorch writes: the twister's words as 64-bit integers, then the cached normals.
struct SavedTwister {
  uint64_t seed;
  int32_t left;
  int32_t seeded;
  uint64_t next;
  uint64_t words[RandomState::kWords];
  double normal_x;  // unused, written as 0
  double next_normal;
  double normal_rho;  // unused, written as 0
  int32_t has_next_normal;
};
struct SavedState {
  SavedTwister twister;
  float next_float;
  uint8_t has_next_float;
};
static_assert(sizeof(SavedState) == Generator::kStateBytes);

void seed_words(RandomState& state, uint64_t seed) {
  state.seed = seed;
  state.words[0] = static_cast<uint32_t>(seed);
  for (uint32_t i = 1; i < RandomState::kWords; ++i) {
    uint32_t last = state.words[i - 1];
    state.words[i] = 1812433253u * (last ^ (last >> 30)) + i;
  }
  state.left = 1;
  state.next = 0;
}

uint64_t entropy() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

// All generators: a fork waits until nobody draws, or the child would find a lock that no thread of it holds.
// The allocator, which a thread that draws may call, registers its own handler when the library is loaded, so
// that it is locked after them.
class Generators {
 public:
  static Generators& instance() {
    static auto* all = new Generators;  // never destroyed: generators may outlive statics
    return *all;
  }
  void add(Generator* g) {
    std::lock_guard lock(mutex_);
    all_.insert(g);
  }
  void remove(Generator* g) {
    std::lock_guard lock(mutex_);
    all_.erase(g);
  }

 private:
  Generators() {
    pthread_atfork([] { instance().lock(); }, [] { instance().unlock(); }, [] { instance().unlock(); });
  }
  void lock() {
    mutex_.lock();
    for (Generator* g : all_) g->mutex().lock();
  }
  void unlock() {
    for (Generator* g : all_) g->mutex().unlock();
    mutex_.unlock();
  }
  std::mutex mutex_;
  std::set<Generator*> all_;
};

}  // namespace

Generator::Generator(uint64_t seed) {
  manual_seed(seed);
  Generators::instance().add(this);
}
Generator::~Generator() { Generators::instance().remove(this); }

Generator::Generator(const Generator& other) {
  Generators::instance().add(this);
  std::lock_guard lock(other.mutex_);
  state_ = other.state_;
}

void Generator::manual_seed(uint64_t seed) {
  std::lock_guard lock(mutex_);
  state_ = {};
  seed_words(state_, seed);
}

uint64_t Generator::seed() {
  uint64_t seed = entropy();
  manual_seed(seed);
  return seed;
}

uint64_t Generator::initial_seed() const {
  std::lock_guard lock(mutex_);
  return state_.seed;
}

void Generator::get_state(uint8_t* bytes) const {
  std::lock_guard lock(mutex_);
  SavedState saved{};
  std::memset(&saved, 0, sizeof(saved));  // the padding too
  saved.twister.seed = state_.seed;
  saved.twister.left = state_.left;
  saved.twister.seeded = 1;
  saved.twister.next = state_.next;
  for (int i = 0; i < RandomState::kWords; ++i) saved.twister.words[i] = state_.words[i];
  saved.twister.has_next_normal = state_.has_next_normal;
  saved.twister.next_normal = state_.has_next_normal ? state_.next_normal : 0.0;
  saved.has_next_float = state_.has_next_float;
  saved.next_float = state_.has_next_float ? state_.next_float : 0.0f;
  std::memcpy(bytes, &saved, sizeof(saved));
}

void Generator::set_state(const uint8_t* bytes, int64_t size) {
  check(size == kStateBytes, "set_state: expected a state of ", kStateBytes, " bytes, got ", size);
  SavedState saved;
  std::memcpy(&saved, bytes, sizeof(saved));
  const SavedTwister& twister = saved.twister;
  bool in_range =
      twister.left >= 1 && twister.left <= RandomState::kWords && twister.next <= RandomState::kWords;
  // PyTorch accepts states whose unused words would end behind the array; drawing from one would read beyond
  // it.
  check(twister.seeded == 1 && in_range && twister.left + twister.next <= RandomState::kWords + 1,
        "set_state: expected a Mersenne Twister state, got seeded=", twister.seeded, ", left=", twister.left,
        ", next=", twister.next);
  RandomState fresh{};
  fresh.seed = twister.seed;
  fresh.left = twister.left;
  fresh.next = static_cast<uint32_t>(twister.next);
  for (int i = 0; i < RandomState::kWords; ++i) fresh.words[i] = static_cast<uint32_t>(twister.words[i]);
  fresh.has_next_normal = twister.has_next_normal != 0;
  fresh.next_normal = fresh.has_next_normal ? twister.next_normal : 0.0;
  fresh.has_next_float = saved.has_next_float != 0;
  fresh.next_float = fresh.has_next_float ? saved.next_float : 0.0f;
  std::lock_guard lock(mutex_);
  state_ = fresh;
}

uint32_t Generator::random() {
  if (--state_.left == 0) {
    twist_words(state_.words);
    state_.left = RandomState::kWords;
    state_.next = 0;
  }
  return temper_word(state_.words[state_.next++]);
}

uint64_t Generator::random64() {
  uint64_t high = random();
  return (high << 32) | random();
}

const std::shared_ptr<Generator>& default_generator() {
  static const auto generator = std::make_shared<Generator>(entropy());
  return generator;
}

}  // namespace ctorch
