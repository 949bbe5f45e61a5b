// Products with few rows: the large operand is read once, in place, at the speed of memory.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {
namespace {

template <class Body>
CT_INLINE void with_row_count(int64_t rows, Body&& body) {
  switch (rows) {
    case 1: body.template operator()<1>(); break;
    case 2: body.template operator()<2>(); break;
    case 3: body.template operator()<3>(); break;
    default: body.template operator()<4>(); break;
  }
}

// O rows of the large matrix, row o at big + o * big_out, contiguous along k, times R contiguous vectors of
// length k at x + r * x_row: sums[r * sums_row + o]. Four loads of the large matrix are under way at a time:
// of four rows, or of one in four places.
template <int R, int O, class T, class S>
CT_INLINE void dot_block(const T* big, int64_t big_out, const S* x, int64_t x_row, int64_t k, S* sums,
                         int64_t sums_row) {
  using Vector = typename Simd<S>::Vector;
  constexpr int64_t lanes = kLanes<S>, stride = 4 / O * lanes;
  Vector acc[R][4] = {};
  int64_t p = 0;
  for (; p + stride <= k; p += stride) {
    Vector bv[4];
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) bv[s] = load_convert<S>(big + s % O * big_out + p + s / O * lanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) acc[r][s] += load_vector(x + r * x_row + p + s / O * lanes) * bv[s];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      for (int s = o + O; s < 4; s += O) acc[r][o] += acc[r][s];
      S sum = sum_lanes<S>(acc[r][o]);
      for (int64_t q = p; q < k; ++q) sum += x[r * x_row + q] * static_cast<S>(big[o * big_out + q]);
      sums[r * sums_row + o] = sum;
    }
  }
}

// Rows of a few cache lines, several of which are read side by side, are asked for so many rows ahead: the
// hardware does not see that they make one stream.
inline constexpr int64_t kAhead = 16;
template <class T>
CT_INLINE void prefetch_short(const T* row, int64_t n) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), most = 8 * line;
  for (int64_t p = 0; p < n && n <= most; p += line) __builtin_prefetch(row + p);
}

// Short rows of a large matrix by one vector: as many as a register has lanes, whose sums are finished
// together.
inline constexpr int64_t kShortRow = 512;
template <class T, class S>
CT_INLINE void dot_short_rows(const T* big, int64_t big_out, const S* x, int64_t k, S* sums) {
  using Vector = typename Simd<S>::Vector;
  constexpr int64_t lanes = kLanes<S>;
  Vector acc[lanes];
  for (int64_t i = 0; i < lanes; ++i) {
    const T* row = big + i * big_out;
    prefetch_short(row + kAhead * big_out, k);
    Vector sum = {};
    int64_t p = 0;
    for (; p + lanes <= k; p += lanes) sum += load_vector(x + p) * load_convert<S>(row + p);
    if (p < k) sum += load_partial(x + p, k - p) * load_convert_partial<S>(row + p, k - p);
    acc[i] = sum;
  }
  store_vector(sums, sums_of_lanes<S>(acc));
}

// `few` times `outs` of them.
template <class T, class S>
CT_INLINE void dot_blocks(const T* big, int64_t big_out, int64_t outs, const S* x, int64_t x_row, int64_t few,
                          int64_t k, S* sums, int64_t sums_row) {
  int64_t o = 0;
  if (few == 1 && k <= kShortRow) {
    for (; o + kLanes<S> <= outs; o += kLanes<S>) dot_short_rows(big + o * big_out, big_out, x, k, sums + o);
  }
  for (; o < outs; o += 4) {
    if (outs - o < 4) {
      for (int64_t r = 0; r < few; ++r) {
        for (int64_t i = o; i < outs; ++i)
          dot_block<1, 1>(big + i * big_out, big_out, x + r * x_row, x_row, k, sums + r * sums_row + i,
                          sums_row);
      }
      return;
    }
    for (int64_t i = 0; i < 4; ++i) prefetch_short(big + (o + kAhead + i) * big_out, k);
    for (int64_t r = 0; r < few; r += 4) {
      with_row_count(few - r, [&]<int R>() {
        dot_block<R, 4>(big + o * big_out, big_out, x + r * x_row, x_row, k, sums + r * sums_row + o,
                        sums_row);
      });
    }
  }
}

// The same for a large matrix that is contiguous along its outputs: element (p, o) at big + p * big_k + o.
// Adds to `sums`, eight steps of k at a time, which are summed apart: here for NV vectors of outputs.
template <int R, int NV, class T, class S>
CT_INLINE void axpy_vectors(const T* big, int64_t big_k, const S* x, int64_t x_row, S* sums,
                            int64_t sums_row) {
  using Vector = typename Simd<S>::Vector;
  Vector acc[R][NV] = {};
#pragma GCC unroll 8
  for (int q = 0; q < 8; ++q) {
    Vector bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) bv[j] = load_convert<S>(big + q * big_k + j * kLanes<S>);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[r][j] += bv[j] * x[r * x_row + q];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      S* to = sums + r * sums_row + j * kLanes<S>;
      store_vector(to, load_vector(to) + acc[r][j]);
    }
  }
}
template <int R, class T, class S>
CT_INLINE void axpy_block(const T* big, int64_t big_k, int64_t outs, const S* x, int64_t x_row, int64_t steps,
                          S* sums, int64_t sums_row) {
  constexpr int64_t lanes = kLanes<S>;
  int64_t p = 0;
  for (; p + 8 <= steps; p += 8) {
    int64_t o = 0;
    if constexpr (R == 1) {  // else there are enough sums under way
      for (; o + 4 * lanes <= outs; o += 4 * lanes)
        axpy_vectors<R, 4>(big + p * big_k + o, big_k, x + p, x_row, sums + o, sums_row);
    }
    for (; o + lanes <= outs; o += lanes)
      axpy_vectors<R, 1>(big + p * big_k + o, big_k, x + p, x_row, sums + o, sums_row);
    for (; o < outs; ++o) {
      for (int r = 0; r < R; ++r) {
        S sum = S(0);
        for (int q = 0; q < 8; ++q) sum += x[r * x_row + p + q] * static_cast<S>(big[(p + q) * big_k + o]);
        sums[r * sums_row + o] += sum;
      }
    }
  }
  for (; p < steps; ++p) {
    for (int r = 0; r < R; ++r) {
      const S xv = x[r * x_row + p];
      for (int64_t o = 0; o < outs; ++o) sums[r * sums_row + o] += xv * static_cast<S>(big[p * big_k + o]);
    }
  }
}

// `few` times `outs` of them.
template <class T, class S>
CT_INLINE void axpy_blocks(const T* big, int64_t big_k, int64_t outs, const S* x, int64_t x_row, int64_t few,
                           int64_t steps, S* sums, int64_t sums_row) {
  for (int64_t r = 0; r < few; ++r) std::fill(sums + r * sums_row, sums + r * sums_row + outs, S(0));
  for (int64_t p = 0; p < steps; p += 8) {
    for (int64_t i = 0; i < 8; ++i) prefetch_short(big + (p + kAhead + i) * big_k, outs);
    for (int64_t r = 0; r < few; r += 4) {
      with_row_count(few - r, [&]<int R>() {
        axpy_block<R>(big + p * big_k, big_k, outs, x + r * x_row + p, x_row, std::min<int64_t>(8, steps - p),
                      sums + r * sums_row, sums_row);
      });
    }
  }
}

// (few, k) times (k, outs), few <= kSkinnyRows, with the small operand at x + r * x_row + p * x_k and the
// large at big + p * big_k + o * big_out, one of big_k and big_out being 1. `w` is the write-out of the (few,
// outs) result.
template <class T, class S>
void skinny_product(const T* x, int64_t x_row, int64_t x_k, int64_t few, const T* big, int64_t big_k,
                    int64_t big_out, int64_t outs, int64_t k, const WriteOut<T, S>& w) {
  // The small operand, contiguous and in S: as it is, or a copy.
  const bool in_place = std::is_same_v<T, S> && x_k == 1;
  Scratch small(in_place ? 0 : static_cast<size_t>(few * k) * sizeof(S));
  const S* xs = small.as<S>();
  int64_t xs_row = k;
  if constexpr (std::is_same_v<T, S>) {
    if (in_place) xs = x, xs_row = x_row;
  }
  auto copy_steps = [&](int64_t from, int64_t to) {
    for (int64_t r = 0; r < few && !in_place; ++r) {
      for (int64_t p = from; p < to; ++p) small.as<S>()[r * k + p] = static_cast<S>(x[r * x_row + p * x_k]);
    }
  };
  // Few outputs of great length are cut along k; the cuts depend on the shape alone.
  constexpr int64_t kCut = 1 << 15, kFewOutputs = 16;
  if (big_k == 1 && k > kCut && outs * few <= kFewOutputs) {
    const int64_t cuts = (k + kCut - 1) / kCut;
    // write_tile() reads whole vectors, from the last row also beyond its end.
    Scratch partial(static_cast<size_t>(few * outs * cuts + kLanes<S>) * sizeof(S));
    S* sums = partial.as<S>();
    parallel_for(0, cuts, 1, [&](int64_t from, int64_t to) {
      for (int64_t cut = from; cut < to; ++cut) {
        const int64_t start = cut * kCut, length = std::min(kCut, k - start);
        copy_steps(start, start + length);
        dot_blocks(big + start, big_out, outs, xs + start, xs_row, few, length, sums + cut * few * outs,
                   outs);
      }
    });
    for (int64_t cut = 1; cut < cuts; ++cut) {
      for (int64_t i = 0; i < few * outs; ++i) sums[i] += sums[cut * few * outs + i];
    }
    write_tile(w, 0, 0, few, outs, sums, outs);
    return;
  }
  copy_steps(0, k);
  // Sums of a block of outputs, 32 KB: the fewer rows there are, the longer the runs of memory that are read
  // at a stretch.
  constexpr int64_t kSums = 32768 / static_cast<int64_t>(sizeof(S));
  const int64_t block = kSums / few / 64 * 64;
  constexpr int64_t kStretch = 512;  // steps of k that are summed apart: errors grow with a sum's length
  constexpr int64_t kRun = 1024;
  constexpr int64_t kDepth = 32768;  // elements of the large operand that are worth a thread of their own
  // Outputs in one step of the inner loops.
  const int64_t unit = big_k == 1 && (few > 1 || k > kShortRow) ? 4 : kLanes<S>;
  const int64_t units = (outs + unit - 1) / unit;
  // Narrow pieces would read the large operand in short runs, which the hardware does not prefetch.
  const int64_t narrowest = big_k == 1 ? 1 : kRun / kLanes<S>;
  const int64_t grain = std::max(narrowest, kDepth / (k * unit + 1));
  parallel_for(0, units, grain, [&](int64_t from, int64_t to) {
    alignas(64) S sums[kSums], part[kSums];
    for (int64_t o0 = from * unit; o0 < std::min(outs, to * unit); o0 += block) {
      const int64_t count = std::min(block, std::min(outs, to * unit) - o0);
      if (big_k == 1) {
        dot_blocks(big + o0 * big_out, big_out, count, xs, xs_row, few, k, sums, block);
      } else {
        for (int64_t p = 0; p < k; p += kStretch) {
          axpy_blocks(big + p * big_k + o0, big_k, count, xs + p, xs_row, few, std::min(kStretch, k - p),
                      p == 0 ? sums : part, block);
          for (int64_t r = 0; r < few && p > 0; ++r) {
            for (int64_t o = r * block; o < r * block + count; ++o) sums[o] += part[o];
          }
        }
      }
      write_tile(w, 0, o0, few, count, sums, block);
    }
  });
}

}  // namespace
}  // namespace ctorch::CT_ISA
