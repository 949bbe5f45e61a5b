// Distributions through functions of the C library, and those that are sequential by nature. The words come
// in bulk from a level's table, and the calls are shared among threads: every element has its place in the
// stream beforehand.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/random.h"

namespace ctorch {
namespace {

// Elements drawn at a time, and the fewest worth a thread of their own (a logarithm takes some 10 ns).
constexpr int64_t kSegment = 1 << 15;
constexpr int64_t kGrain = 1024;

// Call body(u, begin, end) for pieces of [0, n), u[i] being the uniform double of element i, from any thread.
template <class Body>
void for_uniforms(const RandomTable& table, RandomState& state, int64_t n, Body body) {
  Scratch scratch(static_cast<size_t>(std::min(n, kSegment)) * sizeof(double));
  double* uniforms = scratch.as<double>();
  for (int64_t base = 0; base < n; base += kSegment) {
    int64_t count = std::min(kSegment, n - base);
    table.uniform[static_cast<int>(DType::float64)](state, uniforms, count, 0.0, 1.0);
    const double* u = uniforms - base;
    parallel_for(base, base + count, kGrain, [&](int64_t begin, int64_t end) { body(u, begin, end); });
  }
}

template <class T>
T from_double(double value) {
  if constexpr (is_half_v<T>) {
    return T(static_cast<float>(value));
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<int64_t>(value));  // wraps, where the value is too large for T
  } else {
    return static_cast<T>(value);
  }
}

// out[i] = formula(uniform i)
template <class Formula>
void transform_uniforms(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                        const char* op, Formula formula) {
  visit_dtype<Reals>(dt, op, [&]<class T>() {
    T* target = static_cast<T*>(out);
    for_uniforms(table, state, n, [=](const double* u, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) target[i] = from_double<T>(formula(u[i]));
    });
  });
}

// out[i] = formula(standard normal i). Box-Muller makes two at a time; a second one that is left over waits
// in the state.
template <class Formula>
void transform_normals(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                       const char* op, Formula formula) {
  visit_dtype<Floats>(dt, op, [&]<class T>() {
    T* target = static_cast<T*>(out);
    if (n > 0 && state.has_next_normal) {
      state.has_next_normal = false;
      *target++ = from_double<T>(formula(state.next_normal));
      --n;
    }
    int64_t pairs = (n + 1) / 2;
    double last = 0;
    // kSegment is even, so a pair lies in one segment, but a thread's piece may begin in its middle.
    for_uniforms(table, state, 2 * pairs, [&, target, n](const double* u, int64_t begin, int64_t end) {
      for (int64_t i = begin + begin % 2; i < end; i += 2) {
        double radius = std::sqrt(-2.0 * std::log1p(-u[i + 1]));
        double theta = 2.0 * M_PI * u[i];
        target[i] = from_double<T>(formula(radius * std::cos(theta)));
        double second = radius * std::sin(theta);
        if (i + 1 < n) {
          target[i + 1] = from_double<T>(formula(second));
        } else {
          last = second;
        }
      }
    });
    if (n % 2 == 1) {
      state.has_next_normal = true;
      state.next_normal = last;
    }
  });
}

}  // namespace

void normal_serial(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double mean,
                   double std) {
  transform_normals(table, state, dt, out, n, "normal_", [=](double z) { return std::fma(z, std, mean); });
}

void log_normal_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                     double mean, double std) {
  transform_normals(table, state, dt, out, n, "log_normal_",
                    [=](double z) { return std::exp(std::fma(z, std, mean)); });
}

void exponential_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                      double lambda) {
  double scale = -1.0 / lambda;
  transform_uniforms(table, state, dt, out, n, "exponential_",
                     [=](double u) { return scale * std::log1p(-u); });
}

void cauchy_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double median,
                 double sigma) {
  transform_uniforms(table, state, dt, out, n, "cauchy_",
                     [=](double u) { return std::fma(sigma, std::tan(M_PI * (u - 0.5)), median); });
}

void geometric_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double p) {
  double log_failure = std::log1p(-p);
  transform_uniforms(table, state, dt, out, n, "geometric_",
                     [=](double u) { return std::ceil(std::log(u) / log_failure); });
}

void bernoulli_fill(const RandomTable& table, RandomState& state, DType dt, void* out, DType p_dtype,
                    const void* p, int64_t n) {
  visit_dtype<FullFloats>(p_dtype, "bernoulli", [&]<class P>() {
    const P* chance = static_cast<const P*>(p);
    for (int64_t i = 0; i < n; ++i) {
      check(chance[i] >= 0 && chance[i] <= 1, "bernoulli: expected probabilities in [0, 1], got ", chance[i]);
    }
    Scratch scratch(static_cast<size_t>(std::min(n, kSegment)) * sizeof(P));
    P* u = scratch.as<P>();
    visit_dtype<OrderedTypes>(dt, "bernoulli", [&]<class T>() {
      T* target = static_cast<T*>(out);
      for (int64_t base = 0; base < n; base += kSegment) {
        int64_t count = std::min(kSegment, n - base);
        table.uniform[static_cast<int>(p_dtype)](state, u, count, 0.0, 1.0);
        for (int64_t i = 0; i < count; ++i)
          target[base + i] = from_double<T>(u[i] < chance[base + i] ? 1.0 : 0.0);
      }
    });
  });
}

void permutation_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n) {
  // Up to here PyTorch takes one word for each element, whose remainder is then near enough to uniform;
  // beyond it takes two and another variant of the shuffle.
  constexpr int64_t kOneWord = int64_t{UINT32_MAX} / 20;
  constexpr int64_t kBlock = 512;
  visit_dtype<Reals>(dt, "randperm", [&]<class T>() {
    T* r = static_cast<T*>(out);
    uint32_t words[2 * kBlock];
    int64_t picks[kBlock];
    if (n < kOneWord) {
      for (int64_t i = 0; i < n; ++i) r[i] = from_double<T>(static_cast<double>(i));
      for (int64_t base = 0; base < n - 1; base += kBlock) {
        int64_t count = std::min(kBlock, n - 1 - base);
        table.words(state, words, count);
        for (int64_t i = 0; i < count; ++i) {
          picks[i] = base + i + words[i] % static_cast<uint32_t>(n - base - i);
          __builtin_prefetch(r + picks[i], 1);
        }
        for (int64_t i = 0; i < count; ++i) std::swap(r[base + i], r[picks[i]]);
      }
      return;
    }
    for (int64_t base = 0; base < n; base += kBlock) {
      int64_t count = std::min(kBlock, n - base);
      table.words(state, words, 2 * count);
      for (int64_t i = 0; i < count; ++i) {
        uint64_t word = (static_cast<uint64_t>(words[2 * i]) << 32) | words[2 * i + 1];
        picks[i] = static_cast<int64_t>(word % static_cast<uint64_t>(base + i + 1));
        __builtin_prefetch(r + picks[i], 1);
      }
      for (int64_t i = 0; i < count; ++i) {
        T value = from_double<T>(static_cast<double>(base + i));
        r[base + i] = value;
        r[base + i] = r[picks[i]];
        r[picks[i]] = value;
      }
    }
  });
}

void pick_distinct(DType dt, const void* weights, const void* waiting, int64_t rows, int64_t columns,
                   int64_t* out, int64_t samples) {
  visit_dtype<Floats>(dt, "multinomial", [&]<class T>() {
    using A = acc_t<T>;
    struct Column {
      A ratio;
      int64_t index;
    };
    Scratch scratch(static_cast<size_t>(columns) * sizeof(Column));
    Column* first = scratch.as<Column>();
    Column* last = first + columns;
    auto larger = [](const Column& a, const Column& b) {
      return (std::isnan(a.ratio) && !std::isnan(b.ratio)) || a.ratio > b.ratio;
    };
    for (int64_t row = 0; row < rows; ++row) {
      const T* w = static_cast<const T*>(weights) + row * columns;
      const T* t = static_cast<const T*>(waiting) + row * columns;
      for (int64_t j = 0; j < columns; ++j) {
        first[j] = {static_cast<A>(static_cast<T>(static_cast<A>(w[j]) / static_cast<A>(t[j]))), j};
      }
      // Among equals (weights of 0) the choice is that of PyTorch's topk, so the cases are its cases.
      if (samples == 1) {
        std::swap(*first, *std::min_element(first, last, larger));
      } else if (samples * 64 <= columns) {
        std::partial_sort(first, first + samples, last, larger);
      } else {
        std::nth_element(first, first + samples - 1, last, larger);
        std::sort(first, first + samples - 1, larger);
      }
      for (int64_t j = 0; j < samples; ++j) out[row * samples + j] = first[j].index;
    }
  });
}

void multinomial_fill(const RandomTable& table, RandomState& state, DType dt, const void* weights,
                      int64_t rows, int64_t columns, int64_t* out, int64_t samples) {
  visit_dtype<FullFloats>(dt, "multinomial", [&]<class T>() {
    Scratch cumulated(static_cast<size_t>(columns) * sizeof(T));
    Scratch uniforms(static_cast<size_t>(std::min(samples, kSegment)) * sizeof(double));
    T* sums = cumulated.as<T>();
    double* u = uniforms.as<double>();
    for (int64_t row = 0; row < rows; ++row) {
      const T* w = static_cast<const T*>(weights) + row * columns;
      T sum = 0;
      for (int64_t j = 0; j < columns; ++j) {
        check(w[j] >= 0 && std::isfinite(w[j]), "multinomial: expected finite weights of at least 0, got ",
              w[j]);
        sum += w[j];
        sums[j] = sum;
      }
      check(sum > 0, "multinomial: expected weights with a sum above 0, got ", sum, " in row ", row);
      for (int64_t j = 0; j < columns; ++j) sums[j] /= sum;
      sums[columns - 1] = 1;
      for (int64_t base = 0; base < samples; base += kSegment) {
        int64_t count = std::min(kSegment, samples - base);
        table.uniform[static_cast<int>(DType::float64)](state, u, count, 0.0, 1.0);
        int64_t* target = out + row * samples + base;
        for (int64_t i = 0; i < count; ++i) {
          target[i] =
              std::partition_point(sums, sums + columns, [&](T s) { return static_cast<double>(s) < u[i]; }) -
              sums;
        }
      }
    }
  });
}

}  // namespace ctorch
