// Sorting, by keys: an element becomes an unsigned integer of the same order, and a record of key and
// position is sorted. Short lines are merged, long ones go through a stable radix sort, least significant
// digit first; digits that are the same for all elements cost nothing. Records of one key are in the order of
// their positions, so all sorts are stable.
#include "kernels/sort.h"

#include <string.h>

#include "core/macros.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/sort_keys.h"

namespace ctorch::CT_ISA {
void fill_search(SortTable& table);

namespace {

// A key of up to 32 bits above a position of 32 bits; in longer lines, and for 64-bit keys, side by side.
struct NarrowRecord {
  uint64_t bits;
  static CT_INLINE NarrowRecord make(uint64_t key, int64_t position) {
    return {key << 32 | static_cast<uint64_t>(position)};
  }
  CT_INLINE uint64_t key() const { return bits >> 32; }
  CT_INLINE int64_t position() const { return static_cast<int64_t>(bits & 0xffffffffu); }
  CT_INLINE bool before(const NarrowRecord& other) const { return bits < other.bits; }
};
struct WideRecord {
  uint64_t bits, at;
  static CT_INLINE WideRecord make(uint64_t key, int64_t position) {
    return {key, static_cast<uint64_t>(position)};
  }
  CT_INLINE uint64_t key() const { return bits; }
  CT_INLINE int64_t position() const { return static_cast<int64_t>(at); }
  CT_INLINE bool before(const WideRecord& other) const {
    return bits < other.bits || (bits == other.bits && at < other.at);
  }
};

// ---- short lines: insertion sort of runs, then merges ----

constexpr int64_t kRun = 16;
constexpr int64_t kMergeLimit = 48;  // from here on, the histograms of the radix sort pay off

template <class R>
void merge_sort(R* data, R* spare, int64_t n) {
  for (int64_t b = 0; b < n; b += kRun) {
    const int64_t end = b + kRun < n ? b + kRun : n;
    for (int64_t i = b + 1; i < end; ++i) {
      R r = data[i];
      int64_t j = i;
      for (; j > b && r.before(data[j - 1]); --j) data[j] = data[j - 1];
      data[j] = r;
    }
  }
  R *from = data, *to = spare;
  for (int64_t width = kRun; width < n; width *= 2) {
    for (int64_t b = 0; b < n; b += 2 * width) {
      const int64_t middle = b + width < n ? b + width : n, end = b + 2 * width < n ? b + 2 * width : n;
      int64_t i = b, j = middle, k = b;
      while (i < middle && j < end) {  // compiled to conditional moves
        const bool second = from[j].before(from[i]);
        to[k++] = second ? from[j] : from[i];
        j += second;
        i += !second;
      }
      while (i < middle) to[k++] = from[i++];
      while (j < end) to[k++] = from[j++];
    }
    R* t = from;
    from = to;
    to = t;
  }
  if (from != data) memcpy(data, from, static_cast<size_t>(n) * sizeof(R));
}

// ---- long lines: radix sort ----

template <class R>
constexpr int kKeyShift = std::is_same_v<R, NarrowRecord> ? 32 : 0;

template <class R, int kDigitBits>
CT_INLINE int64_t digit_of(const R& r, int pass) {
  return static_cast<int64_t>(r.bits >> (kKeyShift<R> + pass * kDigitBits) & ((1u << kDigitBits) - 1));
}

// Sorts data of keys with key_bits bits, through spare; the return value is whichever of the two holds the
// result. The line is cut into `parts`, each counted and moved by one thread; any number of them gives the
// same order.
template <class R, int kDigitBits>
R* radix_sort(R* data, R* spare, int64_t n, int key_bits, int64_t parts) {
  constexpr int64_t kDigits = int64_t{1} << kDigitBits;
  const int passes = (key_bits + kDigitBits - 1) / kDigitBits;
  const int64_t part = (n + parts - 1) / parts;
  Scratch counts_memory(static_cast<size_t>(parts * passes * kDigits) * sizeof(uint32_t) * (sizeof(R) / 8));
  using Count = std::conditional_t<sizeof(R) == 8, uint32_t, uint64_t>;
  Count* counts = counts_memory.as<Count>();  // (parts, passes, digits)
  auto part_range = [&](int64_t p, int64_t* begin, int64_t* end) {
    *begin = p * part < n ? p * part : n;
    *end = *begin + part < n ? *begin + part : n;
  };
  auto count = [&](int64_t p, const R* from, int first_pass, int last_pass) {
    int64_t begin, end;
    part_range(p, &begin, &end);
    Count* c = counts + p * passes * kDigits;
    memset(c + first_pass * kDigits, 0,
           static_cast<size_t>((last_pass - first_pass) * kDigits) * sizeof(Count));
    for (int64_t i = begin; i < end; ++i) {
      for (int pass = first_pass; pass < last_pass; ++pass)
        ++c[pass * kDigits + digit_of<R, kDigitBits>(from[i], pass)];
    }
  };
  if (parts == 1) {
    count(0, data, 0, passes);
  } else {
    parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t p = from; p < to; ++p) count(p, data, 0, passes);
    });
  }
  bool moved = false;
  for (int pass = 0; pass < passes; ++pass) {
    // A digit that all records share needs no pass. (Totals over the parts do not change as records move.)
    const int64_t common = digit_of<R, kDigitBits>(data[0], pass);
    Count of_common = 0;
    for (int64_t p = 0; p < parts; ++p) of_common += counts[(p * passes + pass) * kDigits + common];
    if (static_cast<int64_t>(of_common) == n) continue;
    if (parts > 1 && moved) {
      parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
        for (int64_t p = from; p < to; ++p) count(p, data, pass, pass + 1);
      });
    }
    Count sum = 0;
    for (int64_t d = 0; d < kDigits; ++d) {
      for (int64_t p = 0; p < parts; ++p) {
        Count& c = counts[(p * passes + pass) * kDigits + d];
        Count here = c;
        c = sum;
        sum += here;
      }
    }
    auto move = [&](int64_t p) {
      int64_t begin, end;
      part_range(p, &begin, &end);
      Count* next = counts + (p * passes + pass) * kDigits;
      for (int64_t i = begin; i < end; ++i) spare[next[digit_of<R, kDigitBits>(data[i], pass)]++] = data[i];
    };
    if (parts == 1) {
      move(0);
    } else {
      parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
        for (int64_t p = from; p < to; ++p) move(p);
      });
    }
    R* t = data;
    data = spare;
    spare = t;
    moved = true;
  }
  return data;
}

template <class R>
R* sort_records(R* data, R* spare, int64_t n, int key_bits, int64_t parts) {
  if (n < kMergeLimit) {
    merge_sort(data, spare, n);
    return data;
  }
  // Wide digits save passes; their counters must stay small beside the line, and the places written to in the
  // TLB.
  if (n < 1 << 15 || key_bits <= 16) return radix_sort<R, 8>(data, spare, n, key_bits, parts);
  return radix_sort<R, 11>(data, spare, n, key_bits, parts);
}

// ---- elements to records and back ----

template <class T, class R>
CT_INLINE void to_records(const T* in, int64_t from, int64_t to, bool descending, R* out) {
  using K = typename Key<T>::type;
  const K flip = descending ? static_cast<K>(~K{0}) : K{0};
  for (int64_t i = from; i < to; ++i) out[i] = R::make(static_cast<K>(Key<T>::of(in[i]) ^ flip), i);
}

template <class T, class R>
CT_INLINE void from_records(const R* sorted, const T* in, int64_t from, int64_t to, T* values,
                            int64_t* indices) {
  if (indices) {
    for (int64_t i = from; i < to; ++i) indices[i] = sorted[i].position();
  }
  if (values) {
    for (int64_t i = from; i < to; ++i) values[i] = in[sorted[i].position()];
  }
}

constexpr int64_t kParallelLine = 1 << 16;  // a line this long is shared between threads
constexpr int64_t kLineGrain = 1 << 13;     // elements per thread, for many short lines

template <class T, class R>
void sort_lines(const SortArgs& a) {
  constexpr int kBits = static_cast<int>(8 * sizeof(typename Key<T>::type));
  const T* in = static_cast<const T*>(a.in);
  T* values = static_cast<T*>(a.values);
  const int64_t n = a.length;
  auto one_line = [&](int64_t line, R* data, R* spare) {
    to_records(in + line * n, 0, n, a.descending, data);
    R* sorted = sort_records(data, spare, n, kBits, 1);
    from_records(sorted, in + line * n, 0, n, values ? values + line * n : nullptr,
                 a.indices ? a.indices + line * n : nullptr);
  };
  if (n < kParallelLine || a.lines >= num_threads() || num_threads() == 1) {
    parallel_for(0, a.lines, kLineGrain / n + 1, [&](int64_t from, int64_t to) {
      Scratch buffer(2 * static_cast<size_t>(n) * sizeof(R));
      for (int64_t line = from; line < to; ++line) one_line(line, buffer.as<R>(), buffer.as<R>() + n);
    });
    return;
  }
  Scratch buffer(2 * static_cast<size_t>(n) * sizeof(R));
  for (int64_t line = 0; line < a.lines; ++line) {
    R* data = buffer.as<R>();
    parallel_for(0, n, kParallelLine,
                 [&](int64_t from, int64_t to) { to_records(in + line * n, from, to, a.descending, data); });
    R* sorted = sort_records(data, data + n, n, kBits, num_threads());
    parallel_for(0, n, kParallelLine / 2, [&](int64_t from, int64_t to) {
      from_records(sorted, in + line * n, from, to, values ? values + line * n : nullptr,
                   a.indices ? a.indices + line * n : nullptr);
    });
  }
}

template <class T>
constexpr bool narrow_key = sizeof(typename Key<T>::type) <= 4;

template <class T>
void sort(const SortArgs& a) {
  if (a.lines == 0 || a.length == 0) return;
  if constexpr (narrow_key<T>) {
    if (a.length < int64_t{1} << 32) return sort_lines<T, NarrowRecord>(a);
  }
  sort_lines<T, WideRecord>(a);
}

// ---- the k largest ----

// Bring the k first of n records, in any order, to the front.
template <class R>
void select(R* data, R* spare, int64_t n, int64_t k, int key_bits) {
  int64_t low = 0, high = n;  // the k-th lies in [low, high)
  for (int round = 0; high - low > kRun; ++round) {
    if (round == 64) {  // an order made to mislead the choice of pivots
      R* sorted = sort_records(data, spare, n, key_bits, 1);
      if (sorted != data) memcpy(data, sorted, static_cast<size_t>(n) * sizeof(R));
      return;
    }
    const int64_t middle = low + (high - low) / 2;
    auto order = [&](int64_t i, int64_t j) {
      const R a = data[i], b = data[j];
      const bool swap = b.before(a);
      data[i] = swap ? b : a;
      data[j] = swap ? a : b;
    };
    order(low, middle);
    order(middle, high - 1);
    order(low, middle);
    const R pivot = data[middle];
    data[middle] = data[high - 1];
    data[high - 1] = pivot;
    int64_t at = low;
    for (int64_t i = low; i < high - 1; ++i) {  // without a branch
      const R r = data[i];
      data[i] = data[at];
      data[at] = r;
      at += r.before(pivot);
    }
    data[high - 1] = data[at];
    data[at] = pivot;
    if (at == k) return;
    (at < k ? low : high) = at < k ? at + 1 : at;
  }
  merge_sort(data + low, spare, high - low);
}

// Elements that pass the threshold, the key of the k-th best so far, collect in a buffer; when it is full,
// the best k stay and the threshold rises. Most elements of a line are only compared. An element equal to the
// threshold comes later than k others that are as good, and stays out.
constexpr int64_t kTopkBlock = 32;

template <class T, class R>
void topk_line(const T* in, int64_t n, int64_t k, bool largest, int64_t capacity, R* data, R* spare,
               T* values, int64_t* indices) {
  using K = typename Key<T>::type;
  constexpr int kBits = static_cast<int>(8 * sizeof(K));
  const K flip = largest ? static_cast<K>(~K{0}) : K{0};  // best is smallest
  int64_t held = 0, i = 0;
  for (; i < capacity && i < n; ++i) data[held++] = R::make(static_cast<K>(Key<T>::of(in[i]) ^ flip), i);
  if (i == n) return from_records(sort_records(data, spare, n, kBits, 1), in, 0, k, values, indices);
  auto keep_best = [&]() -> K {
    if (held > k) select(data, spare, held, k, kBits);
    held = k;
    K worst = 0;
    for (int64_t j = 0; j < k; ++j) worst = data[j].key() > worst ? static_cast<K>(data[j].key()) : worst;
    return worst;
  };
  K threshold = keep_best();
  while (i < n) {
    const int64_t end = i + kTopkBlock < n ? i + kTopkBlock : n;
    K keys[kTopkBlock];
    int passing = 0;
    for (int64_t j = i; j < end; ++j) {
      keys[j - i] = static_cast<K>(Key<T>::of(in[j]) ^ flip);
      passing += keys[j - i] < threshold;
    }
    if (passing) {
      for (int64_t j = i; j < end; ++j) {
        data[held] = R::make(keys[j - i], j);  // overwritten by the next one unless it passes
        held += keys[j - i] < threshold;
      }
      if (held + kTopkBlock > capacity) threshold = keep_best();
    }
    i = end;
  }
  keep_best();
  merge_sort(data, spare,
             k);  // select() has mixed the positions of equal keys, so the radix sort would not do
  from_records(data, in, 0, k, values, indices);
}

template <class T, class R>
void topk_lines(const TopkArgs& a) {
  const T* in = static_cast<const T*>(a.in);
  const int64_t least = a.k * 4 > 256 ? a.k * 4 : 256;
  const int64_t capacity = least + kTopkBlock < a.length ? least + kTopkBlock : a.length;
  parallel_for(0, a.lines, kLineGrain / a.length + 1, [&](int64_t from, int64_t to) {
    Scratch buffer(2 * static_cast<size_t>(capacity) * sizeof(R));
    for (int64_t line = from; line < to; ++line) {
      topk_line(in + line * a.length, a.length, a.k, a.largest, capacity, buffer.as<R>(),
                buffer.as<R>() + capacity, static_cast<T*>(a.values) + line * a.k, a.indices + line * a.k);
    }
  });
}

template <class T>
void topk(const TopkArgs& a) {
  if (a.lines == 0 || a.k == 0) return;
  if constexpr (narrow_key<T>) {
    if (a.length < int64_t{1} << 32) return topk_lines<T, NarrowRecord>(a);
  }
  topk_lines<T, WideRecord>(a);
}

// ---- one element of the order ----

template <class T, class R>
void select_lines(const SelectArgs& a) {
  constexpr int kBits = static_cast<int>(8 * sizeof(typename Key<T>::type));
  parallel_for(0, a.lines, kLineGrain / a.length + 1, [&](int64_t from, int64_t to) {
    Scratch buffer(2 * static_cast<size_t>(a.length) * sizeof(R));
    R *data = buffer.as<R>(), *spare = data + a.length;
    for (int64_t line = from; line < to; ++line) {
      to_records(static_cast<const T*>(a.in) + line * a.length, 0, a.length, false, data);
      const int64_t k = a.position[line] + 1;
      if (k < a.length) select(data, spare, a.length, k, kBits);
      R last = data[0];
      for (int64_t i = 1; i < k; ++i) last = last.before(data[i]) ? data[i] : last;
      a.indices[line] = last.position();
    }
  });
}

template <class T>
void select_one(const SelectArgs& a) {
  if (a.lines == 0 || a.length == 0) return;
  if constexpr (narrow_key<T>) {
    if (a.length < int64_t{1} << 32) return select_lines<T, NarrowRecord>(a);
  }
  select_lines<T, WideRecord>(a);
}

template <class... Ts>
CT_INLINE void fill(SortTable& t, TypeList<Ts...>) {
  ((t.sort[static_cast<int>(dtype_of<Ts>)] = sort<Ts>, t.topk[static_cast<int>(dtype_of<Ts>)] = topk<Ts>,
    t.select[static_cast<int>(dtype_of<Ts>)] = select_one<Ts>),
   ...);
}

}  // namespace

void fill_sort(SortTable& table) {
  table = {};
  fill(table, OrderedTypes{});
  fill_search(table);
}

}  // namespace ctorch::CT_ISA
