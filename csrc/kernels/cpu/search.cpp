// Kernels over ordered elements (binary search, runs of equal elements) and counting. Arguments:
// kernels/sort.h.
#include <string.h>

#include "core/parallel.h"
#include "kernels/cpu/sort_keys.h"
#include "kernels/sort.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kGrain = 1 << 14;

// Whether a comes before b: NaN after everything.
template <class T>
CT_INLINE bool before(T a, T b) {
  if constexpr (is_float_v<T>) {
    acc_t<T> x = static_cast<acc_t<T>>(a), y = static_cast<acc_t<T>>(b);
    return x < y || (x == x && y != y);
  } else {
    return a < b;
  }
}

// Number of elements before the place of `value`. Halving without a branch: the loads of a random search are
// mispredicted half of the time otherwise.
template <class T, bool right, bool sorted_by>
CT_INLINE int64_t place_of(const T* sequence, const int64_t* sorter, int64_t n, T value) {
  int64_t low = 0;
  while (n > 0) {
    const int64_t half = n / 2, at = low + half;
    const T x = sequence[sorted_by ? sorter[at] : at];
    const bool go_on = right ? !before(value, x) : before(x, value);
    low = go_on ? at + 1 : low;
    n = go_on ? n - half - 1 : half;
  }
  return low;
}

template <class T, bool right, bool sorted_by>
CT_INLINE void search_lines(const SearchArgs& a) {
  const T* values = static_cast<const T*>(a.values);
  parallel_for(0, a.lines * a.count, kGrain / 16, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t base = a.one_sequence ? 0 : i / a.count * a.length;
      a.out[i] = place_of<T, right, sorted_by>(static_cast<const T*>(a.sequence) + base,
                                               sorted_by ? a.sorter + base : nullptr, a.length, values[i]);
    }
  });
}

template <class T>
void search(const SearchArgs& a) {
  if (a.right) {
    a.sorter ? search_lines<T, true, true>(a) : search_lines<T, true, false>(a);
  } else {
    a.sorter ? search_lines<T, false, true>(a) : search_lines<T, false, false>(a);
  }
}

template <class T>
CT_INLINE bool differs(const T& a, const T& b) {
  if constexpr (is_half_v<T>) {
    return static_cast<float>(a) != static_cast<float>(b);
  } else if constexpr (is_complex_v<T>) {
    return a.real() != b.real() || a.imag() != b.imag();
  } else {
    return a != b;
  }
}

template <class T>
void run_starts(const void* in, int64_t n, bool* first) {
  const T* x = static_cast<const T*>(in);
  parallel_for(0, n, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from > 0 ? from : 1; i < to; ++i) first[i] = differs(x[i], x[i - 1]);
    if (from == 0 && to > 0) first[0] = true;
  });
}

template <class T>
void mode(const void* in, int64_t lines, int64_t length, int64_t* last) {
  parallel_for(0, lines, kGrain / length + 1, [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; ++line) {
      const T* x = static_cast<const T*>(in) + line * length;
      int64_t best = 0, run = 0;
      for (int64_t i = 0; i < length; ++i) {
        run = i > 0 && Key<T>::of(x[i]) == Key<T>::of(x[i - 1]) ? run + 1 : 1;
        if (run > best) {
          best = run;
          last[line] = i;
        }
      }
    }
  });
}

template <class T>
void count_nan(const void* in, int64_t lines, int64_t length, int64_t* out) {
  parallel_for(0, lines, kGrain / (length + 1) + 1, [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; ++line) {
      const T* x = static_cast<const T*>(in) + line * length;
      int64_t count = 0;
      if constexpr (is_float_v<T>) {
        for (int64_t i = 0; i < length; ++i) count += differs(x[i], x[i]);
      }
      out[line] = count;
    }
  });
}

template <class T>
void ordered_bytes(const void* in, int64_t n, uint8_t* out) {
  const T* x = static_cast<const T*>(in);
  using K = typename Key<T>::type;
  parallel_for(0, n, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const K key = Key<T>::of(x[i]);
      for (size_t b = 0; b < sizeof(K); ++b) {
        out[i * static_cast<int64_t>(sizeof(K)) + static_cast<int64_t>(b)] =
            static_cast<uint8_t>(key >> (8 * (sizeof(K) - 1 - b)));
      }
    }
  });
}

template <class T>
void integer_range(const void* in, int64_t n, int64_t* smallest, int64_t* largest) {
  const T* x = static_cast<const T*>(in);
  T low = x[0], high = x[0];
  for (int64_t i = 1; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = high < x[i] ? x[i] : high;
  }
  *smallest = static_cast<int64_t>(low);
  *largest = static_cast<int64_t>(high);
}

template <class T>
void count_integers(const void* in, int64_t n, int64_t smallest, int64_t* counts) {
  const T* x = static_cast<const T*>(in);
  for (int64_t i = 0; i < n; ++i) ++counts[static_cast<int64_t>(x[i]) - smallest];
}

void weighted_count(const int64_t* bins, const double* weights, int64_t n, double* counts) {
  for (int64_t i = 0; i < n; ++i) counts[bins[i]] += weights ? weights[i] : 1.0;
}

template <class T>
void histogram(const void* in, int64_t n, double low, double high, int64_t bins, int64_t* counts) {
  const T* x = static_cast<const T*>(in);
  using A = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const A from = static_cast<A>(low), to = static_cast<A>(high), width = to - from;
  for (int64_t i = 0; i < n; ++i) {
    const A v = static_cast<A>(x[i]);
    if (!(v >= from && v <= to)) continue;
    int64_t bin = static_cast<int64_t>((v - from) / width * static_cast<A>(bins));
    ++counts[bin < bins ? bin : bins - 1];
  }
}

template <class... Ts>
CT_INLINE void fill_ordered(SortTable& t, TypeList<Ts...>) {
  ((t.search[static_cast<int>(dtype_of<Ts>)] = search<Ts>, t.mode[static_cast<int>(dtype_of<Ts>)] = mode<Ts>,
    t.count_nan[static_cast<int>(dtype_of<Ts>)] = count_nan<Ts>,
    t.ordered_bytes[static_cast<int>(dtype_of<Ts>)] = ordered_bytes<Ts>,
    t.histogram[static_cast<int>(dtype_of<Ts>)] = histogram<Ts>),
   ...);
}
template <class... Ts>
CT_INLINE void fill_all(SortTable& t, TypeList<Ts...>) {
  ((t.run_starts[static_cast<int>(dtype_of<Ts>)] = run_starts<Ts>), ...);
}
template <class... Ts>
CT_INLINE void fill_integers(SortTable& t, TypeList<Ts...>) {
  ((t.integer_range[static_cast<int>(dtype_of<Ts>)] = integer_range<Ts>,
    t.count_integers[static_cast<int>(dtype_of<Ts>)] = count_integers<Ts>),
   ...);
}

}  // namespace

void fill_search(SortTable& table) {
  table.weighted_count = weighted_count;
  fill_ordered(table, OrderedTypes{});
  fill_all(table, AllTypes{});
  fill_integers(table, Integers{});
}

}  // namespace ctorch::CT_ISA
