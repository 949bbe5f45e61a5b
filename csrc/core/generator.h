// Random state: PyTorch's CPU generator, bit for bit, including the bytes of its saved state.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "core/random_state.h"

namespace ctorch {

class Generator {
 public:
  static constexpr uint64_t kDefaultSeed = 67280421310721;  // of a Generator() in PyTorch
  static constexpr int64_t kStateBytes = 5056;

  explicit Generator(uint64_t seed = kDefaultSeed);
  ~Generator();
  // A generator that will produce what `other` will produce.
  Generator(const Generator& other);
  Generator& operator=(const Generator&) = delete;

  void manual_seed(uint64_t seed);
  // Seed from the system's entropy and return the seed.
  uint64_t seed();
  uint64_t initial_seed() const;

  // The state as PyTorch's get_rng_state() lays it out, kStateBytes long.
  void get_state(uint8_t* bytes) const;
  // Throws, and changes nothing, when the bytes are no state.
  void set_state(const uint8_t* bytes, int64_t size);

  // Held by whoever draws: one operation's numbers are not mixed with another thread's.
  std::mutex& mutex() const { return mutex_; }
  // To be used under the mutex.
  RandomState& state() { return state_; }
  uint32_t random();
  uint64_t random64();

 private:
  RandomState state_{};
  mutable std::mutex mutex_;
};

// The generator of every operation that is given none; its first seed comes from the system's entropy.
const std::shared_ptr<Generator>& default_generator();

}  // namespace ctorch
