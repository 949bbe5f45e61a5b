// What the normalisations share: statistics of a group of elements, sums of its gradient, the writing of
// results.
#pragma once

#include "core/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/stream.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 16384;  // elements that are worth handing to a thread
constexpr int64_t kSumRun = 8192;      // elements whose sum is kept in the lanes' own precision

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// `count` pieces of `length` contiguous elements each, `pitch` apart.
template <class T>
struct Pieces {
  const T* x;
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
    Lanes<acc_t<T>> s(0);
    for (int64_t k = 0; k < count; ++k) {
      read_lanes(x + k * pitch, length, 0, [&](const T* p) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) s[j] += widen(p[j]);
      });
    }
    return s.sum();
  }
  // Sums of x - centre and of its square.
  CT_INLINE void distances(acc_t<T> centre, double& sum, double& squares) const {
    using V = acc_t<T>;
    Lanes<V> s(0), q(0);
    const auto add = [&](const T* p, int64_t n) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) {
        const V d = j < n ? widen(p[j]) - centre : V(0);
        s[j] += d;
        q[j] += d * d;
      }
    };
    const int64_t whole = length / kRowLanes * kRowLanes;
    for (int64_t k = 0; k < count; ++k) {
      const T* p = x + k * pitch;
      for (int64_t i = 0; i < whole; i += kRowLanes) add(p + i, kRowLanes);
      if (whole == length) continue;
      T rest[kRowLanes] = {};
      std::memcpy(rest, p + whole, static_cast<size_t>(length - whole) * sizeof(T));
      add(rest, length - whole);
    }
    sum = s.sum();
    squares = q.sum();
  }
};

// Mean and variance (not corrected), run by run, each read once, but the first. Runs are joined as in
// reduce_moments.cpp. Without `centre` the mean counts as 0.
template <class T>
struct Statistics {
  double mean = 0, var = 0;

  CT_INLINE explicit Statistics(const Pieces<T>& x, bool centre = true) {
    using V = acc_t<T>;
    double m2 = 0, start = 0;
    x.for_each_run([&](const Pieces<T>& run) __attribute__((always_inline)) {
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
  CT_INLINE acc_t<T> rstd(double eps) const { return static_cast<acc_t<T>>(1 / __builtin_sqrt(var + eps)); }
};

// Adds up a gradient, and the gradient times x - centre.
template <class T>
CT_INLINE void line_sums(const T* CT_RESTRICT x, const T* CT_RESTRICT g, int64_t n, acc_t<T> centre,
                         double& sum, double& sum_x) {
  using V = acc_t<T>;
  for (int64_t start = 0; start < n; start += kSumRun) {
    Lanes<V> s(0), sx(0);
    const int64_t end = least(n, start + kSumRun), whole = start + (end - start) / kRowLanes * kRowLanes;
    for (int64_t i = start; i < whole; i += kRowLanes) {
      for (int j = 0; j < kRowLanes; ++j) {
        const V d = widen(g[i + j]);
        s[j] += d;
        sx[j] += d * (widen(x[i + j]) - centre);
      }
    }
    for (int64_t i = whole; i < end; ++i) {
      const V d = widen(g[i]);
      s[static_cast<int>(i - whole)] += d;
      sx[static_cast<int>(i - whole)] += d * (widen(x[i]) - centre);
    }
    sum += s.sum();
    sum_x += sx.sum();
  }
}

// y[i] = value(i), past the caches by way of runs that end at lines of theirs.
template <class T, class Value>
__attribute__((noinline)) void stream_line(T* y, int64_t n, Value value) {
  constexpr int64_t size = sizeof(T), run = 1024 / size;
  alignas(64) T results[run];
  for (int64_t i = 0, count; i < n; i += count) {
    count = least(n - i, run - static_cast<int64_t>(reinterpret_cast<uintptr_t>(y + i) % 64) / size);
    for (int64_t k = 0; k < count; ++k) results[k] = narrow<T>(value(i + k));
    stream(y + i, results, count * size);
  }
}
// Short lines would be streamed in parts of cache lines.
template <class T, class Value>
CT_INLINE void write_line(T* y, int64_t n, bool past_caches, Value value) {
  if (past_caches && n * static_cast<int64_t>(sizeof(T)) >= 1024) return stream_line(y, n, value);
#pragma GCC ivdep  // y is none of what value() reads
  for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(value(i));
}

}  // namespace
}  // namespace ctorch::CT_ISA
