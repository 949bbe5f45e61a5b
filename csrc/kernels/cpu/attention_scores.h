// What becomes of a block of scores, rows of queries by columns of keys: masks, dropout, and the weights of a
// softmax whose maxima and sums run over the blocks. Scores are logarithms to the base 2, whose powers take
// fewer instructions than those of e.
#pragma once

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "kernels/attention.h"
#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

// 128 x 256 floats are 128 KB; backward holds up to three such blocks. More queries read their
// keys less often, more keys write their results less often.
constexpr int64_t kQueryBlock = 128, kKeyBlock = 256;

template <class T>
CT_INLINE void fill_row(T* row, int64_t n, T value) {
  for (int64_t c = 0; c < n; ++c) row[c] = value;
}
template <class T>
CT_INLINE void scale_row(T* row, int64_t n, T by) {
  for (int64_t c = 0; c < n; ++c) row[c] *= by;
}

// Row i of head h of batch b.
template <class T, class Pointer>
CT_INLINE auto row_at(const AttentionRows<Pointer>& rows, int64_t b, int64_t h, int64_t i) {
  using Element = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const T, T>;
  return static_cast<Element*>(rows.data) + b * rows.batch + h * rows.head + i * rows.row;
}

// Scores lie in rows of kKeyBlock, of which whole pairs of vectors are read. They are products of queries
// with keys: of queries that were scaled, or else to be scaled on their way to the weights.
template <class T, bool kScaled>
struct AttentionScores {
  using Vector = typename Simd<T>::Vector;
  static constexpr int64_t lanes = kLanes<T>;
  static constexpr T kInf = static_cast<T>(__builtin_inf());
  static constexpr double kLog2E = 1.4426950408889634;

  const AttentionArgs& g;
  double unit = 1;  // of the products: what they are multiplied by besides

  T scale() const { return static_cast<T>(g.scale * kLog2E * unit); }
  // What products are multiplied by on the way; where something is added to them, or the order of their sizes
  // would change, they are multiplied before.
  T factor() const { return scales_first() ? T(1) : scale(); }
  bool scales_first() const { return !kScaled && (g.mask_kind == AttentionMask::added || !(g.scale > 0)); }

  // Masks the products of queries [i, i + rows) with keys [j, j + cols).
  void mask(int64_t b, int64_t h, int64_t i, int64_t rows, int64_t j, int64_t cols, T* s) const {
    for (int64_t r = 0; r < rows; ++r) {
      T* row = s + r * kKeyBlock;
      if (scales_first()) scale_row(row, cols, scale());
      mask_row(b, h, i + r, j, cols, row);
      if (g.causal) {
        const int64_t seen = std::clamp<int64_t>(i + r + g.first_query + 1 - j, 0, cols);
        fill_row(row + seen, cols - seen, -kInf);
      }
      fill_row(row + cols, -cols & (2 * lanes - 1), -kInf);
    }
  }
  // Keys that some of the queries [i, i + rows) see.
  int64_t keys_seen(int64_t i, int64_t rows) const {
    return g.causal ? std::min(g.keys, i + rows + g.first_query) : g.keys;
  }
  void drop_row(int64_t i, int64_t j, int64_t cols, const T* from, T* to) const {
    const uint8_t* kept = g.kept + i * g.keys + j;
    const T scale = static_cast<T>(g.kept_scale);
    for (int64_t c = 0; c < cols; ++c) to[c] = kept[c] ? from[c] * scale : T(0);
  }

  // 2^(factor x - shift).
  static CT_INLINE Vector exponential(Vector x, T factor, T shift) {
    Vector e;
    for (int64_t l = 0; l < lanes; ++l) e[l] = exp2_below_zero(relative(x[l], factor, shift));
    return e;
  }
  static CT_INLINE T relative(T x, T factor, T shift) {
    return kScaled ? x - shift : math::fma(x, factor, -shift);
  }

  // Of up to `lanes` rows: scores become weights with respect to the highest score so far, by which the sums
  // and what was added up `before` are brought up to date. A row that has seen no key has a highest of -inf.
  // store(r, c, w0, w1) takes the weights of two vectors of row r, from column c on.
  template <class Store>
  CT_INLINE void weights(const T* s, int64_t rows, int64_t cols, T* highest, T* sum, T* before,
                         Store store) const {
    const T by = factor();
    Vector part[lanes] = {};
    for (int64_t r = 0; r < rows; ++r) part[r] = max_of(s + r * kKeyBlock, cols, by);
    const Vector last = load_vector(highest), next = larger(last, across_lanes<T>(part, larger));
    const Vector shift = next == -kInf ? Vector{} : next;
    Vector scale;
    for (int64_t l = 0; l < lanes; ++l) scale[l] = exp2_below_zero(last[l] - shift[l]);
    for (int64_t r = 0; r < lanes; ++r) {
      Vector total[2] = {};
      for (int64_t c = 0; r < rows && c < cols; c += 2 * lanes) {
        const T* at = s + r * kKeyBlock + c;
        const Vector w0 = exponential(load_vector(at), by, shift[r]),
                     w1 = exponential(load_vector(at + lanes), by, shift[r]);
        total[0] += w0, total[1] += w1;
        store(r, c, w0, w1);
      }
      part[r] = total[0] + total[1];
    }
    const Vector added = sums_of_lanes<T>(part);
    store_vector(sum, load_vector(sum) * scale + added);
    store_vector(highest, next);
    store_vector(before, scale);
  }
  // Rows of highest and log_sum, from query i on.
  T* row_sums(void* of, int64_t b, int64_t h, int64_t i) const {
    return static_cast<T*>(of) + (b * g.heads + h) * g.queries + i;
  }
  void write_sums(int64_t b, int64_t h, int64_t i, int64_t rows, const T* highest, const T* sum) const {
    T *to_highest = row_sums(g.highest, b, h, i), *to_sum = row_sums(g.log_sum, b, h, i);
    for (int64_t r = 0; r < rows; ++r) {
      to_highest[r] = sum[r] == T(0) ? T(0) : highest[r];
      to_sum[r] = sum[r] == T(0) ? kInf : static_cast<T>(__builtin_log2(static_cast<double>(sum[r])));
    }
  }
  // Backward's weights. Beside a very low score, of a row that a mask all but hides, a logarithm would be
  // lost: it is subtracted by itself.
  static CT_INLINE Vector weight(Vector x, T factor, T highest, T log_sum) {
    Vector e;
    for (int64_t l = 0; l < lanes; ++l) e[l] = exp2_below_zero(relative(x[l], factor, highest) - log_sum);
    return e;
  }

  // Of a block that a causal mask cuts, half is computed in vain.
  int64_t query_block() const { return g.causal ? kQueryBlock / 2 : kQueryBlock; }
  // Tasks of so many queries each that are worth a thread.
  int64_t grain(int64_t queries) const {
    const int64_t work =
        std::min(queries, g.queries) * std::max<int64_t>(g.keys, 1) * (g.width + g.value_width);
    return std::max<int64_t>(1, (1 << 17) / std::max<int64_t>(work, 1));
  }
  // block(b, h, i, rows) for every block of queries of every head, in any order.
  template <class Block>
  void for_each_query_block(Block block) const {
    const int64_t high = query_block(), blocks = (g.queries + high - 1) / high;
    parallel_for(0, g.batch * g.heads * blocks, grain(high), [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t i = task % blocks * high, head = task / blocks;
        block(head / g.heads, head % g.heads, i, std::min(high, g.queries - i));
      }
    });
  }

 private:
  void mask_row(int64_t b, int64_t h, int64_t i, int64_t j, int64_t cols, T* row) const {
    const int64_t* stride = g.mask_strides;
    const int64_t from = b * stride[0] + h * stride[1] + i * stride[2] + j * stride[3], step = stride[3];
    if (g.mask_kind == AttentionMask::taken) {
      const auto* mask = static_cast<const uint8_t*>(g.mask) + from;
      for (int64_t c = 0; c < cols; ++c) row[c] = mask[c * step] ? row[c] : -kInf;
    } else if (g.mask_kind == AttentionMask::added) {
      const T* mask = static_cast<const T*>(g.mask) + from;
      if (step == 1) {
        for (int64_t c = 0; c < cols; ++c) row[c] = added(row[c], mask[c]);
      } else {
        for (int64_t c = 0; c < cols; ++c) row[c] = added(row[c], mask[c * step]);
      }
    }
  }
  // The lowest number, with which some masks mean "unseen", stays a number when it is brought to the base 2.
  static CT_INLINE T added(T score, T mask) {
    const T sum = math::fma(mask, static_cast<T>(kLog2E), score);
    return sum == -kInf && mask != -kInf ? std::numeric_limits<T>::lowest() : sum;
  }

  static CT_INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }
  static Vector max_of(const T* x, int64_t n, T factor) {
    Vector best[2] = {Vector{} - kInf, Vector{} - kInf};
    for (int64_t c = 0; c < n; c += 2 * lanes) {
      best[0] = larger(best[0], load_vector(x + c));
      best[1] = larger(best[1], load_vector(x + c + lanes));
    }
    return kScaled ? larger(best[0], best[1]) : larger(best[0], best[1]) * factor;
  }
};

}  // namespace
}  // namespace ctorch::CT_ISA
