// What the norms share: mean and variance of elements that are read twice or three times while they lie in L1
// or L2. Half types are widened to a copy first, so that all of this is for float and double alone.
#pragma once

#include <cstring>

#include "kernels/cpu/rows.h"
#include "kernels/norm.h"

namespace ctorch::CT_ISA {

void fill_norm_channels(NormTable& table);
void fill_norm_groups(NormTable& table);

namespace {

constexpr int64_t kLeastWork = 16384;  // elements that are worth handing to a thread
constexpr int64_t kSumRun = 8192;      // elements whose sum is kept in the lanes' own precision
constexpr int64_t kTasks = 64;         // parts into which sums over rows are cut, for any number of threads

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// `count` pieces of `length` contiguous elements each, `pitch` apart.
template <class V>
struct Pieces {
  const V* x;
  int64_t count, length, pitch;

  CT_INLINE int64_t size() const { return count * length; }
  // Runs of some kSumRun elements, or fewer: several pieces, or a part of one.
  template <class Run>
  CT_INLINE void for_each_run(Run run) const {
    const int64_t together = most(1, kSumRun / length);
    for (int64_t k = 0; k < count; k += together) {
      for (int64_t i = 0; i < length; i += kSumRun)
        run(Pieces{x + k * pitch + i, least(together, count - k), least(kSumRun, length - i), pitch});
    }
  }
  CT_INLINE double sum() const {
    Lanes<V> s(0);
    for (int64_t k = 0; k < count; ++k) {
      read_lanes(x + k * pitch, length, 0, [&](const V* p) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) s[j] += p[j];
      });
    }
    return s.sum();
  }
  // Sums of x - centre and of its square.
  CT_INLINE void distances(V centre, double& sum, double& squares) const {
    Lanes<V> s(0), q(0);
    const auto add = [&](const V* p, int64_t n) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) {
        const V d = j < n ? p[j] - centre : V(0);
        s[j] += d;
        q[j] += d * d;
      }
    };
    const int64_t whole = length / kRowLanes * kRowLanes;
    for (int64_t k = 0; k < count; ++k) {
      const V* p = x + k * pitch;
      for (int64_t i = 0; i < whole; i += kRowLanes) add(p + i, kRowLanes);
      if (whole == length) continue;
      V rest[kRowLanes] = {};
      std::memcpy(rest, p + whole, static_cast<size_t>(length - whole) * sizeof(V));
      add(rest, length - whole);
    }
    sum = s.sum();
    squares = q.sum();
  }
};

// Mean and variance (not corrected), run by run, each read once, but the first. Runs are joined as in
// reduce_moments.cpp. Without `centre` the mean counts as 0.
template <class V>
struct Statistics {
  double mean = 0, var = 0;

  CT_INLINE explicit Statistics(const Pieces<V>& x, bool centre = true) {
    double m2 = 0, start = 0;
    x.for_each_run([&](const Pieces<V>& run) __attribute__((always_inline)) {
      const double count = static_cast<double>(run.size()), share = count / (start + count);
      // Of a later run, the mean so far is near enough: where it is far off, what that costs is little beside
      // the distance between the runs, which counts into the whole.
      const V near = !centre ? V(0) : static_cast<V>(start > 0 ? mean : run.sum() / count);
      double sum, squares;
      run.distances(near, sum, squares);
      // What the rounded mean misses is put right, in the mean and in the variance.
      const double miss = centre ? sum / count : 0.0, delta = centre ? near + miss - mean : 0.0;
      mean += delta * share;
      m2 += squares - sum * miss + delta * delta * start * share;
      start += count;
    });
    var = m2 / static_cast<double>(x.size());
  }
  CT_INLINE V rstd(double eps) const { return static_cast<V>(1 / __builtin_sqrt(var + eps)); }
};

// x[0 .. n) as numbers: itself, or of half types a copy at `copy`.
template <class T>
CT_INLINE const acc_t<T>* numbers(const T* x, int64_t n, [[maybe_unused]] acc_t<T>* copy) {
  if constexpr (is_half_v<T>) {
    widen_row(x, copy, n);
    return copy;
  } else {
    return x;
  }
}
// The bytes of a copy of n numbers.
template <class T>
CT_INLINE size_t copy_bytes(int64_t n) {
  return is_half_v<T> ? static_cast<size_t>(n) * sizeof(float) : 1;
}

}  // namespace
}  // namespace ctorch::CT_ISA
