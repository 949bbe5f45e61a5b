// gather, scatter, and reading and writing through index tensors. The arguments and their layout:
// kernels/index.h.
#include "kernels/index.h"

#include <string.h>

#include "core/scratch.h"
#include "kernels/cpu/index_loops.h"

namespace ctorch::CT_ISA {
void fill_mask(IndexTable& table);
void fill_move(IndexTable& table);

namespace {

// Elements per piece of work: below it, a thread's start costs more than it wins.
constexpr int64_t kGrain = 16384;

CT_INLINE int64_t grain_of(int64_t elements_per_item) {
  return elements_per_item >= kGrain
             ? 1
             : (kGrain + elements_per_item - 1) / (elements_per_item > 0 ? elements_per_item : 1);
}

// ---- what happens to a pair of a table element and a value ----

template <class T>
struct Read {
  static CT_INLINE void pair(T& table, T& value) { value = table; }
};
template <class T>
struct Assign {
  static CT_INLINE void pair(T& table, T& value) { table = value; }
};
template <ScatterOp op, class T>
struct Combine {
  static CT_INLINE void pair(T& table, T& value) {
    if constexpr (op == ScatterOp::add) {
      if constexpr (std::is_same_v<T, bool>) {
        table = table | value;
      } else if constexpr (is_half_v<T>) {
        table = T(static_cast<float>(table) + static_cast<float>(value));
      } else {
        table = static_cast<T>(table + value);
      }
    } else if constexpr (op == ScatterOp::multiply) {
      if constexpr (std::is_same_v<T, bool>) {
        table = table & value;
      } else if constexpr (is_half_v<T>) {
        table = T(static_cast<float>(table) * static_cast<float>(value));
      } else if constexpr (is_complex_v<T>) {
        auto a = table.real(), b = table.imag(), c = value.real(), d = value.imag();
        table = T(a * c - b * d, a * d + b * c);
      } else if constexpr (std::is_integral_v<T>) {
        table = static_cast<T>(static_cast<uint64_t>(table) * static_cast<uint64_t>(value));
      } else {
        table = table * value;
      }
    } else {  // a NaN, on either side, stays
      acc_t<T> a = static_cast<acc_t<T>>(table), b = static_cast<acc_t<T>>(value);
      bool take = op == ScatterOp::amin ? b < a : a < b;
      if (take || b != b) table = value;
    }
  }
};

// ---- along a dim ----

// Whether all of n indices lie in [0, bound); reports one that does not. Branch-free inside, so that it
// vectorises.
CT_NOINLINE bool all_inside(const int64_t* index, int64_t stride, int64_t n, int64_t bound, BadIndex* bad) {
  const uint64_t last = static_cast<uint64_t>(bound) - 1;
  uint64_t signs = 0;  // the sign bit of i, or of last - i, is set for an i outside
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i)
      signs |= static_cast<uint64_t>(index[i]) | (last - static_cast<uint64_t>(index[i]));
  } else {
    for (int64_t i = 0; i < n; ++i) {
      signs |= static_cast<uint64_t>(index[i * stride]) | (last - static_cast<uint64_t>(index[i * stride]));
    }
  }
  if (CT_LIKELY(!(signs >> 63))) return true;
  int64_t i = 0;
  while (!outside(index[i * stride], bound)) ++i;
  report(bad, 0, index[i * stride]);
  return false;
}

// One line. The indices of a block are checked before any is used.
template <class T, class Op>
void along_line(const AlongDimArgs& a, const int64_t* index, T* table, T* value, int64_t from, int64_t to,
                BadIndex* bad) {
  constexpr int64_t kBlock = 1024;
  const int64_t is = a.index_stride, ts = a.table_stride, vs = a.value_stride;
  for (int64_t b = from; b < to; b += kBlock) {
    int64_t end = b + kBlock < to ? b + kBlock : to;
    if (!all_inside(index + b * is, is, end - b, a.bound, bad)) return;
    if (std::is_same_v<Op, Read<T>> && is == 1 && ts == 1 && vs == 1) {
      T* CT_RESTRICT out = value;
      const T* CT_RESTRICT in = table;
      for (int64_t i = b; i < end; ++i) out[i] = in[index[i]];
    } else {
      for (int64_t i = b; i < end; ++i) Op::pair(table[index[i * is] * ts], value[i * vs]);
    }
  }
}

// `run` neighbouring lines at once, entry by entry: for lines whose elements lie far apart, as with dim 0 of
// a matrix.
template <class T, class Op>
void along_run(const AlongDimArgs& a, const int64_t* index, T* table, T* value, int64_t run, BadIndex* bad) {
  const int64_t d = a.ndim - 1;
  const int64_t ic = a.index_strides[d], tc = a.table_strides[d], vc = a.value_strides[d];
  for (int64_t i = 0; i < a.length; ++i) {
    const int64_t* row = index + i * a.index_stride;
    T* v = value + i * a.value_stride;
    for (int64_t c = 0; c < run; ++c) {
      int64_t k = row[c * ic];
      if (CT_UNLIKELY(outside(k, a.bound))) return report(bad, 0, k);
      Op::pair(table[k * a.table_stride + c * tc], v[c * vc]);
    }
  }
}

template <class T, class Op>
BadIndex along_dim(const AlongDimArgs& a) {
  BadIndex bad;
  const int64_t lines = product(a.sizes, a.ndim);
  if (lines == 0 || a.length == 0) return bad;
  auto magnitude = [](int64_t s) { return s < 0 ? -s : s; };
  const bool runs = a.ndim > 0 && a.sizes[a.ndim - 1] >= 4 &&
                    magnitude(a.table_strides[a.ndim - 1]) < magnitude(a.table_stride) &&
                    magnitude(a.value_strides[a.ndim - 1]) <= magnitude(a.value_stride);
  auto walk_lines = [&](int64_t from, int64_t to, int64_t begin, int64_t end) {
    Walk<3> w{a.ndim, a.sizes, {a.index_strides, a.table_strides, a.value_strides}, {}, {}};
    w.start(from);
    for (int64_t line = from; line < to;) {
      const int64_t* index = a.index + w.offset[0];
      T* table = static_cast<T*>(a.table) + w.offset[1];
      T* value = static_cast<T*>(a.value) + w.offset[2];
      int64_t step = 1;
      if (runs) {
        int64_t left = a.sizes[a.ndim - 1] - w.at[a.ndim - 1];
        step = left < to - line ? left : to - line;
        along_run<T, Op>(a, index, table, value, step, &bad);
      } else {
        along_line<T, Op>(a, index, table, value, begin, end, &bad);
      }
      line += step;
      w.advance(step);
    }
  };
  // Reading may also share out the entries of a line; when writing, one line belongs to one thread, so that
  // repeated targets are met in order.
  if (std::is_same_v<Op, Read<T>> && !runs && lines < 16 && a.length > kGrain) {
    parallel_for(0, a.length, kGrain, [&](int64_t begin, int64_t end) { walk_lines(0, lines, begin, end); });
  } else {
    // Runs want to be long: two pieces per thread even out their loads.
    const int64_t piece = runs ? (lines + 2 * num_threads() - 1) / (2 * num_threads()) : 1,
                  least = grain_of(a.length);
    parallel_for(0, lines, piece > least ? piece : least,
                 [&](int64_t from, int64_t to) { walk_lines(from, to, 0, a.length); });
  }
  return bad;
}

// ---- through index tensors ----

// offset + index * stride, whatever the index: those outside are reported after the run, and not before.
CT_INLINE int64_t wrapping_offset(int64_t offset, int64_t index, int64_t stride) {
  return static_cast<int64_t>(static_cast<uint64_t>(offset) +
                              static_cast<uint64_t>(index) * static_cast<uint64_t>(stride));
}

// Offsets into table and value of the positions [from, to).
CT_NOINLINE void position_offsets(const IndexedArgs& a, int64_t from, int64_t to, int64_t* table,
                                  int64_t* value, BadIndex* bad) {
  const int64_t d = a.position_ndim - 1;
  const int64_t n = to - from;
  for (int64_t i = 0; i < n; ++i) table[i] = 0;
  for (int64_t k = 0; k < a.num_indices; ++k) {
    const int64_t bound = a.bounds[k], stride = a.index_table_strides[k];
    Walk<2> w{a.position_ndim,
              a.position_sizes,
              {a.index_strides + k * a.position_ndim, a.value_position_strides},
              {},
              {}};
    w.start(from);
    for (int64_t i = 0; i < n;) {
      int64_t left = d >= 0 ? a.position_sizes[d] - w.at[d] : 1, run = left < n - i ? left : n - i;
      const int64_t* index = a.index[k] + w.offset[0];
      const int64_t step = d >= 0 ? w.strides[0][d] : 0, value_step = d >= 0 ? w.strides[1][d] : 0;
      int64_t* t = table + i;
      uint64_t outside_any = 0;
      if (a.wrap) {
        for (int64_t j = 0; j < run; ++j) {
          int64_t x = index[j * step];
          x += x < 0 ? bound : 0;
          outside_any |=
              static_cast<uint64_t>(x) | (static_cast<uint64_t>(bound) - 1 - static_cast<uint64_t>(x));
          t[j] = wrapping_offset(t[j], x, stride);
        }
      } else {
        for (int64_t j = 0; j < run; ++j) {
          int64_t x = index[j * step];
          outside_any |=
              static_cast<uint64_t>(x) | (static_cast<uint64_t>(bound) - 1 - static_cast<uint64_t>(x));
          t[j] = wrapping_offset(t[j], x, stride);
        }
      }
      if (CT_UNLIKELY(outside_any >> 63)) {
        for (int64_t j = 0; j < run; ++j) {
          int64_t x = index[j * step];
          if (x >= bound || x < (a.wrap ? -bound : 0)) return report(bad, k, x);
        }
      }
      if (k == 0) {
        for (int64_t j = 0; j < run; ++j) value[i + j] = w.offset[1] + j * value_step;
      }
      i += run;
      w.advance(run);
    }
  }
}

// One slice row: the innermost slice dim.
template <class T, class Op>
CT_INLINE void pair_row(T* table, T* value, int64_t n, int64_t table_step, int64_t value_step) {
  if (table_step == 1 && value_step == 1) {
    if constexpr (std::is_same_v<Op, Read<T>> || std::is_same_v<Op, Assign<T>>) {
      constexpr bool reads = std::is_same_v<Op, Read<T>>;
      T* to = reads ? value : table;
      const T* from = reads ? table : value;
      if (n * static_cast<int64_t>(sizeof(T)) >= 64) {
        memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i];
      }
    } else {
      T* CT_RESTRICT t = table;
      T* CT_RESTRICT v = value;
      for (int64_t i = 0; i < n; ++i) Op::pair(t[i], v[i]);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) Op::pair(table[i * table_step], value[i * value_step]);
  }
}

// The row of slice coordinates at table + t0, value + v0, for n positions.
template <class T, class Op>
CT_NOINLINE void pair_positions(T* table, T* value, const int64_t* toff, const int64_t* voff, int64_t n,
                                int64_t row, int64_t ts, int64_t vs) {
  if (row == 1) {
    for (int64_t i = 0; i < n; ++i) Op::pair(table[toff[i]], value[voff[i]]);
    return;
  }
  // Rows of a table larger than the caches: fetch ahead what the hardware cannot guess.
  constexpr int64_t kAhead = 4;
  const int64_t lines = ts == 1 ? (row * static_cast<int64_t>(sizeof(T)) + 63) / 64 : 1;
  const int64_t fetched = lines < 8 ? lines : 8;
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) {
      const char* next = reinterpret_cast<const char*>(table + toff[i + kAhead]);
      for (int64_t l = 0; l < fetched; ++l) __builtin_prefetch(next + l * 64);
    }
    pair_row<T, Op>(table + toff[i], value + voff[i], row, ts, vs);
  }
}

template <class T>
BadIndex read(const IndexedArgs& a) {
  BadIndex bad;
  constexpr int64_t kChunk = 512;
  const int64_t positions = product(a.position_sizes, a.position_ndim);
  const int64_t outer_ndim = a.slice_ndim > 0 ? a.slice_ndim - 1 : 0;
  const int64_t outer = product(a.slice_sizes, outer_ndim);
  const int64_t row = a.slice_ndim > 0 ? a.slice_sizes[outer_ndim] : 1;
  if (positions == 0 || outer == 0 || row == 0) return bad;
  const int64_t ts = a.slice_ndim > 0 ? a.table_strides[outer_ndim] : 0,
                vs = a.slice_ndim > 0 ? a.value_strides[outer_ndim] : 0;
  const int64_t chunk = positions < kChunk ? positions : kChunk, chunks = (positions + chunk - 1) / chunk;
  // A piece of work: one chunk of positions, for `block` of the outer slice coordinates.
  const int64_t block = grain_of(chunk * row) < outer ? grain_of(chunk * row) : outer,
                blocks = (outer + block - 1) / block;
  parallel_for(0, chunks * blocks, grain_of(chunk * row * block), [&](int64_t from, int64_t to) {
    int64_t toff[kChunk], voff[kChunk];
    int64_t ready = -1;
    for (int64_t piece = from; piece < to; ++piece) {
      const int64_t c = piece / blocks, b = piece % blocks;
      const int64_t begin = c * chunk, n = (begin + chunk < positions ? begin + chunk : positions) - begin;
      if (ready != c) {
        position_offsets(a, begin, begin + n, toff, voff, &bad);
        if (__atomic_load_n(&bad.tensor, __ATOMIC_RELAXED) >= 0) return;
        ready = c;
      }
      Walk<2> w{outer_ndim, a.slice_sizes, {a.table_strides, a.value_strides}, {}, {}};
      w.start(b * block);
      const int64_t last = (b + 1) * block < outer ? (b + 1) * block : outer;
      for (int64_t o = b * block; o < last; ++o, w.advance(1)) {
        pair_positions<T, Read<T>>(static_cast<T*>(a.table) + w.offset[0],
                                   static_cast<T*>(a.value) + w.offset[1], toff, voff, n, row, ts, vs);
      }
    }
  });
  return bad;
}

// Positions may repeat a target, so work is shared out by target, never by position: each part goes through
// all positions in order and takes those that are its own. The result is the same for any number of parts.
template <class T, class Op>
BadIndex write(const IndexedArgs& a) {
  BadIndex bad;
  const int64_t positions = product(a.position_sizes, a.position_ndim);
  const int64_t outer_ndim = a.slice_ndim > 0 ? a.slice_ndim - 1 : 0;
  const int64_t outer = product(a.slice_sizes, outer_ndim);
  const int64_t row = a.slice_ndim > 0 ? a.slice_sizes[outer_ndim] : 1;
  if (positions == 0 || outer == 0 || row == 0) return bad;
  const int64_t ts = a.slice_ndim > 0 ? a.table_strides[outer_ndim] : 0,
                vs = a.slice_ndim > 0 ? a.value_strides[outer_ndim] : 0;
  Scratch buffer(static_cast<size_t>(positions) * 2 * sizeof(int64_t));
  int64_t *toff = buffer.as<int64_t>(), *voff = toff + positions;
  parallel_for(0, positions, kGrain, [&](int64_t from, int64_t to) {
    position_offsets(a, from, to, toff + from, voff + from, &bad);
  });
  if (bad.tensor >= 0) return bad;

  auto slices = [&](int64_t from, int64_t to, const int64_t* t, const int64_t* v, int64_t n) {
    Walk<2> w{outer_ndim, a.slice_sizes, {a.table_strides, a.value_strides}, {}, {}};
    w.start(from);
    for (int64_t o = from; o < to; ++o, w.advance(1)) {
      pair_positions<T, Op>(static_cast<T*>(a.table) + w.offset[0], static_cast<T*>(a.value) + w.offset[1], t,
                            v, n, row, ts, vs);
    }
  };
  const int64_t parts = num_threads();
  if (outer >= 4 * parts || positions * row * outer <= 2 * kGrain || positions == 1) {
    parallel_for(0, outer, grain_of(positions * row),
                 [&](int64_t from, int64_t to) { slices(from, to, toff, voff, positions); });
    return bad;
  }
  parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    constexpr int64_t kChunk = 512;
    int64_t t[kChunk + 1], v[kChunk + 1];
    for (int64_t part = from; part < to; ++part) {
      for (int64_t begin = 0; begin < positions; begin += kChunk) {
        const int64_t end = begin + kChunk < positions ? begin + kChunk : positions;
        int64_t n = 0;
        for (int64_t i = begin; i < end; ++i) {
          const uint64_t hash = static_cast<uint64_t>(toff[i]) * 0x9e3779b97f4a7c15u >> 40;
          t[n] = toff[i];
          v[n] = voff[i];
          n += static_cast<int64_t>(hash * static_cast<uint64_t>(parts) >> 24) == part;
        }
        slices(0, outer, t, v, n);
      }
    }
  });
  return bad;
}

// Two's complement addition and multiplication are the same for both signs: the unsigned function serves.
template <class T>
struct Unsigned {
  using type = T;
};
template <>
struct Unsigned<int8_t> {
  using type = uint8_t;
};
template <>
struct Unsigned<int16_t> {
  using type = uint16_t;
};
template <>
struct Unsigned<int32_t> {
  using type = uint32_t;
};
template <>
struct Unsigned<int64_t> {
  using type = uint64_t;
};

template <class... Ts>
CT_INLINE void fill_moves(IndexTable& t, TypeList<Ts...>) {
  int i = 0;
  ((t.gather[i] = along_dim<Ts, Read<Ts>>, t.scatter[i] = along_dim<Ts, Assign<Ts>>, t.read[i] = read<Ts>,
    t.write[i] = write<Ts, Assign<Ts>>, ++i),
   ...);
}

template <ScatterOp op, class T>
CT_INLINE void fill_scatter(IndexTable& t) {
  constexpr bool sign_free = op == ScatterOp::add || op == ScatterOp::multiply;
  using U = std::conditional_t<sign_free, typename Unsigned<T>::type, T>;
  t.scatter_reduce[static_cast<int>(op)][static_cast<int>(dtype_of<T>)] = along_dim<U, Combine<op, U>>;
}

template <class... Ts>
CT_INLINE void fill_all(IndexTable& t, TypeList<Ts...>) {
  (fill_scatter<ScatterOp::add, Ts>(t), ...);
  (fill_scatter<ScatterOp::multiply, Ts>(t), ...);
  ((t.add[static_cast<int>(dtype_of<Ts>)] =
        write<typename Unsigned<Ts>::type, Combine<ScatterOp::add, typename Unsigned<Ts>::type>>),
   ...);
}

template <class... Ts>
CT_INLINE void fill_ordered(IndexTable& t, TypeList<Ts...>) {
  (fill_scatter<ScatterOp::amin, Ts>(t), ...);
  (fill_scatter<ScatterOp::amax, Ts>(t), ...);
}

}  // namespace

void fill_index(IndexTable& table) {
  table = {};
  fill_moves(table, MoveList{});
  fill_all(table, AllTypes{});
  fill_ordered(table, OrderedTypes{});
  fill_mask(table);
  fill_move(table);
}

}  // namespace ctorch::CT_ISA
