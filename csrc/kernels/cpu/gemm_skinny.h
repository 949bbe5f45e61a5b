// Products with few rows: the large operand is read once, in place, at the speed of memory.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_write.h"

namespace ctorch::CT_ISA {
namespace {

inline constexpr int64_t kSkinnyRows = 16;

// `outs` rows of the large matrix, row o at big + o * big_out, contiguous along k, times `few` contiguous
// vectors of length k at x + r * k: sums[r * sums_row + o]. Sums run over four rows and R vectors at a time.
template <int R, class T, class S>
CT_INLINE void dot_block(const T* big, int64_t big_out, int64_t outs, const S* x, int64_t k, S* sums,
                         int64_t sums_row) {
  using Vector = typename Simd<S>::Vector;
  constexpr int64_t lanes = kLanes<S>;
  const T* rows[4];
  for (int64_t o = 0; o < 4; ++o) rows[o] = big + std::min(o, outs - 1) * big_out;
  Vector acc[R][4] = {};
  int64_t p = 0;
  for (; p + lanes <= k; p += lanes) {
    Vector bv[4];
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) bv[o] = load_convert<S>(rows[o] + p);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vector xv = load_vector(x + r * k + p);
#pragma GCC unroll 4
      for (int o = 0; o < 4; ++o) acc[r][o] += xv * bv[o];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t o = 0; o < outs; ++o) {
      S sum = sum_lanes<S>(acc[r][o]);
      for (int64_t q = p; q < k; ++q) sum += x[r * k + q] * static_cast<S>(rows[o][q]);
      sums[r * sums_row + o] = sum;
    }
  }
}

// The same for a large matrix that is contiguous along its outputs: element (p, o) at big + p * big_k + o.
// Adds to `sums`, eight steps of k at a time, which are summed apart: the error grows with the length of the
// chain of additions.
template <int R, class T, class S>
CT_INLINE void axpy_block(const T* big, int64_t big_k, int64_t outs, const S* x, int64_t x_row, int64_t steps,
                          S* sums, int64_t sums_row) {
  using Vector = typename Simd<S>::Vector;
  constexpr int64_t lanes = kLanes<S>;
  int64_t p = 0;
  for (; p + 8 <= steps; p += 8) {
    int64_t o = 0;
    for (; o + lanes <= outs; o += lanes) {
      Vector acc[R] = {};
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) {
        const Vector bv = load_convert<S>(big + (p + q) * big_k + o);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) acc[r] += bv * x[r * x_row + p + q];
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        S* to = sums + r * sums_row + o;
        store_vector(to, load_vector(to) + acc[r]);
      }
    }
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

template <class Body>
CT_INLINE void with_row_count(int64_t rows, Body&& body) {
  switch (rows) {
    case 1: body.template operator()<1>(); break;
    case 2: body.template operator()<2>(); break;
    case 3: body.template operator()<3>(); break;
    default: body.template operator()<4>(); break;
  }
}

// (few, k) times (k, outs), few <= kSkinnyRows, with the small operand at x + r * x_row + p * x_k and the
// large at big + p * big_k + o * big_out, one of big_k and big_out being 1. `w` is the write-out of the (few,
// outs) result.
template <class T, class S>
void skinny_product(const T* x, int64_t x_row, int64_t x_k, int64_t few, const T* big, int64_t big_k,
                    int64_t big_out, int64_t outs, int64_t k, const WriteOut<T, S>& w) {
  // A single output of great length is cut along k; the cuts depend on k alone.
  constexpr int64_t kCut = 1 << 16;
  Scratch small(static_cast<size_t>(few * k) * sizeof(S));
  S* xs = small.as<S>();
  for (int64_t r = 0; r < few; ++r) {
    for (int64_t p = 0; p < k; ++p) xs[r * k + p] = static_cast<S>(x[r * x_row + p * x_k]);
  }
  // Sums of a block of outputs, 32 KB: the fewer rows there are, the longer the runs of memory that are read
  // at a stretch.
  constexpr int64_t kSums = 32768 / static_cast<int64_t>(sizeof(S));
  const int64_t block = kSums / few / 64 * 64;
  constexpr int64_t kRun = 1024;
  constexpr int64_t kDepth = 32768;  // elements of the large operand that are worth a thread of their own
  if (big_k == 1 && k > kCut && outs * few <= 4) {
    const int64_t cuts = (k + kCut - 1) / kCut;
    // write_tile() reads whole vectors, from the last row also beyond its end.
    Scratch partial(static_cast<size_t>(few * outs * cuts + kLanes<S>) * sizeof(S));
    S* sums = partial.as<S>();
    parallel_for(0, cuts, 1, [&](int64_t from, int64_t to) {
      for (int64_t cut = from; cut < to; ++cut) {
        const int64_t length = std::min(kCut, k - cut * kCut);
        for (int64_t r = 0; r < few; ++r) {
          dot_block<1>(big + cut * kCut, big_out, outs, xs + r * k + cut * kCut, length,
                       sums + (cut * few + r) * outs, outs);
        }
      }
    });
    for (int64_t cut = 1; cut < cuts; ++cut) {
      for (int64_t i = 0; i < few * outs; ++i) sums[i] += sums[cut * few * outs + i];
    }
    write_tile(w, 0, 0, few, outs, sums, outs);
    return;
  }
  const int64_t unit = big_k == 1 ? 4 : kLanes<S>;  // outputs in one step of the inner loops
  const int64_t units = (outs + unit - 1) / unit;
  // Narrow pieces would read the large operand in short runs, which the hardware does not prefetch.
  const int64_t narrowest = big_k == 1 ? 1 : kRun / kLanes<S>;
  const int64_t grain = std::max(narrowest, kDepth / (k * unit + 1));
  parallel_for(0, units, grain, [&](int64_t from, int64_t to) {
    alignas(64) S sums[kSums];
    for (int64_t o0 = from * unit; o0 < std::min(outs, to * unit); o0 += block) {
      const int64_t count = std::min(block, std::min(outs, to * unit) - o0);
      if (big_k == 1) {
        for (int64_t o = 0; o < count; o += 4) {
          for (int64_t r = 0; r < few; r += 4) {
            with_row_count(few - r, [&]<int R>() {
              dot_block<R>(big + (o0 + o) * big_out, big_out, std::min<int64_t>(4, count - o), xs + r * k, k,
                           sums + r * block + o, block);
            });
          }
        }
      } else {
        for (int64_t r = 0; r < few; ++r) std::fill(sums + r * block, sums + r * block + count, S(0));
        for (int64_t p = 0; p < k; p += 8) {
          for (int64_t r = 0; r < few; r += 4) {
            with_row_count(few - r, [&]<int R>() {
              axpy_block<R>(big + p * big_k + o0, big_k, count, xs + r * k + p, k,
                            std::min<int64_t>(8, k - p), sums + r * block, block);
            });
          }
        }
      }
      write_tile(w, 0, o0, few, count, sums, block);
    }
  });
}

}  // namespace
}  // namespace ctorch::CT_ISA
