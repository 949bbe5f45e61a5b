// Attention in blocks of queries by blocks of keys. A block of scores lies in the L2 from the product that
// makes it to the product that uses it; per row a running maximum and sum scale what was added up so far.
// Scores are kept as logarithms to the base 2, whose powers take fewer instructions than those of e.
#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/flush_denormals.h"
#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

// 128 x 256 floats are 128 KB; backward holds up to three such blocks. More queries read their
// keys less often, more keys write their results less often.
constexpr int64_t kQueryBlock = 128, kKeyBlock = 256;

template <class T>
struct Attention {
  using Vector = typename Simd<T>::Vector;
  static constexpr int64_t lanes = kLanes<T>;
  static constexpr T kInf = static_cast<T>(__builtin_inf());
  static constexpr double kLog2E = 1.4426950408889634;

  const AttentionArgs& g;

  // c (m, n) = alpha a b, added to c where asked; rows of b and c are contiguous.
  void product(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b,
               int64_t b_row, T* c, int64_t c_row, bool add, double alpha = 1) const {
    GemmArgs q{.dtype = g.dtype, .m = m, .n = n, .k = k};
    q.a = {.data = a, .row = a_row, .col = a_col};
    q.b = {.data = b, .row = b_row, .col = 1};
    q.c = {.data = c, .row = c_row, .col = 1};
    if (add) q.d = {.data = c, .row = c_row, .col = 1};
    q.alpha.real = alpha;
    g.gemm(q);
  }

  template <class Pointer>
  static auto at(const AttentionRows<Pointer>& rows, int64_t b, int64_t h, int64_t i) {
    using Element = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const T, T>;
    return static_cast<Element*>(rows.data) + b * rows.batch + h * rows.head + i * rows.row;
  }

  // Queries times the scale and log2(e), (rows, width): smaller than their scores.
  void scale_queries(int64_t b, int64_t h, int64_t i, int64_t rows, T* scaled) const {
    const T scale = static_cast<T>(g.scale * kLog2E);
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = at(g.query, b, h, i + r);
      for (int64_t c = 0; c < g.width; ++c) scaled[r * g.width + c] = row[c] * scale;
    }
  }
  // The scores of queries [i, i + rows), given scaled, for keys [j, j + cols), masked.
  void scores(int64_t b, int64_t h, int64_t i, int64_t rows, int64_t j, int64_t cols, const T* scaled,
              T* s) const {
    product(rows, cols, g.width, scaled, g.width, 1, at(g.key_t, b, h / g.group, 0) + j, g.key_t.row, s,
            kKeyBlock, false);
    for (int64_t r = 0; r < rows; ++r) {
      T* row = s + r * kKeyBlock;
      mask_row(b, h, i + r, j, cols, row);
      if (g.causal) {
        const int64_t seen = std::clamp<int64_t>(i + r + g.first_query + 1 - j, 0, cols);
        fill_row(row + seen, cols - seen, -kInf);
      }
      fill_row(row + cols, -cols & (2 * lanes - 1), -kInf);  // what weights() reads in whole vectors
    }
  }
  void mask_row(int64_t b, int64_t h, int64_t i, int64_t j, int64_t cols, T* row) const {
    const int64_t* stride = g.mask_strides;
    const int64_t from = b * stride[0] + h * stride[1] + i * stride[2] + j * stride[3], step = stride[3];
    if (g.mask_kind == AttentionMask::taken) {
      const auto* mask = static_cast<const uint8_t*>(g.mask) + from;
      for (int64_t c = 0; c < cols; ++c) row[c] = mask[c * step] ? row[c] : -kInf;
    } else if (g.mask_kind == AttentionMask::added) {
      const T* mask = static_cast<const T*>(g.mask) + from;
      if (step == 1) {
        for (int64_t c = 0; c < cols; ++c) row[c] = masked(row[c], mask[c]);
      } else {
        for (int64_t c = 0; c < cols; ++c) row[c] = masked(row[c], mask[c * step]);
      }
    }
  }
  // A score plus a mask to the base e. The lowest number, with which masks mean "unseen", stays a number.
  static T masked(T score, T mask) {
    const T sum = math::fma(mask, static_cast<T>(kLog2E), score);
    return sum == -kInf && mask != -kInf ? std::numeric_limits<T>::lowest() : sum;
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

  // ---- forward

  // Over the lanes of as many vectors as one has lanes: result [i] belongs to rows[i].
  template <class Combine>
  CT_INLINE static Vector across(Vector (&rows)[lanes], Combine combine) {
    transpose_square<T>(rows);
#pragma GCC unroll 4
    for (int64_t half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (int64_t l = 0; l < half; ++l) rows[l] = combine(rows[l], rows[l + half]);
    }
    return rows[0];
  }
  CT_INLINE static Vector larger(Vector a, Vector b) { return a > b ? a : b; }
  CT_INLINE static Vector exponential(Vector x) {
    Vector e;
    for (int64_t l = 0; l < lanes; ++l) e[l] = exp2_below_zero(x[l]);
    return e;
  }
  static Vector max_of(const T* x, int64_t n) {
    Vector best[2] = {Vector{} - kInf, Vector{} - kInf};
    for (int64_t c = 0; c < n; c += 2 * lanes) {
      best[0] = larger(best[0], load_vector(x + c));
      best[1] = larger(best[1], load_vector(x + c + lanes));
    }
    return larger(best[0], best[1]);
  }
  // x = 2^(x - shift); returns the sums of the lanes.
  static Vector exponentials(T* x, int64_t n, T shift) {
    Vector sum[2] = {};
    for (int64_t c = 0; c < n; c += 2 * lanes) {
      for (int64_t v = 0; v < 2; ++v) {
        const Vector e = exponential(load_vector(x + c + v * lanes) - shift);
        store_vector(x + c + v * lanes, e);
        sum[v] += e;
      }
    }
    return sum[0] + sum[1];
  }

  // Of up to `lanes` rows: scores become weights with respect to the highest score so far, by which the sums
  // and what was added up `before` are brought up to date. A row that has seen no key has a highest of -inf.
  static void weights(T* s, int64_t rows, int64_t cols, T* highest, T* sum, T* before) {
    Vector part[lanes] = {};
    for (int64_t r = 0; r < rows; ++r) part[r] = max_of(s + r * kKeyBlock, cols);
    const Vector last = load_vector(highest), next = larger(last, across(part, larger));
    const Vector shift = next == -kInf ? Vector{} : next;
    const Vector factor = exponential(last - shift);
    for (int64_t r = 0; r < lanes; ++r)
      part[r] = r < rows ? exponentials(s + r * kKeyBlock, cols, shift[r]) : Vector{};
    const Vector added = across(part, [](Vector a, Vector b) { return a + b; });
    store_vector(sum, load_vector(sum) * factor + added);
    store_vector(highest, next);
    store_vector(before, factor);
  }

  void forward_block(int64_t b, int64_t h, int64_t i, int64_t rows) const {
    Scratch scratch(static_cast<size_t>(kQueryBlock * (kKeyBlock + g.width)) * sizeof(T));
    T *s = scratch.as<T>(), *scaled = s + kQueryBlock * kKeyBlock;
    scale_queries(b, h, i, rows, scaled);
    alignas(64) T highest[kQueryBlock], sum[kQueryBlock], before[kQueryBlock];
    fill_row(highest, kQueryBlock, -kInf);
    fill_row(sum, kQueryBlock, T(0));
    T* out = at(g.out, b, h, i);
    const int64_t keys = keys_seen(i, rows);
    for (int64_t j = 0; j < keys; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, keys - j);
      scores(b, h, i, rows, j, cols, scaled, s);
      for (int64_t r = 0; r < rows; r += lanes)
        weights(s + r * kKeyBlock, std::min(lanes, rows - r), cols, highest + r, sum + r, before + r);
      for (int64_t r = 0; r < rows; ++r) {
        if (g.kept) drop_row(i + r, j, cols, s + r * kKeyBlock, s + r * kKeyBlock);
        if (j > 0 && before[r] != T(1)) scale_row(out + r * g.out.row, g.value_width, before[r]);
      }
      product(rows, g.value_width, cols, s, kKeyBlock, 1, at(g.value, b, h / g.group, j), g.value.row, out,
              g.out.row, j > 0);
    }
    T* log_sum = static_cast<T*>(g.log_sum) + (b * g.heads + h) * g.queries + i;
    for (int64_t r = 0; r < rows; ++r) {
      T* row = out + r * g.out.row;
      if (sum[r] == T(0)) {  // no key seen
        fill_row(row, g.value_width, T(0));
        log_sum[r] = kInf;
      } else {
        scale_row(row, g.value_width, 1 / sum[r]);
        log_sum[r] = highest[r] + static_cast<T>(__builtin_log2(static_cast<double>(sum[r])));
      }
    }
  }
  static void fill_row(T* row, int64_t n, T value) {
    for (int64_t c = 0; c < n; ++c) row[c] = value;
  }
  static void scale_row(T* row, int64_t n, T by) {
    for (int64_t c = 0; c < n; ++c) row[c] *= by;
  }

  void forward() const {
    const int64_t block = query_block();
    const int64_t blocks = (g.queries + block - 1) / block;
    parallel_for(0, g.batch * g.heads * blocks, grain(block), [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t i = task % blocks * block, head = task / blocks;
        forward_block(head / g.heads, head % g.heads, i, std::min(block, g.queries - i));
      }
    });
  }
  // Of a block that a causal mask cuts, half is computed in vain.
  int64_t query_block() const { return g.causal ? kQueryBlock / 2 : kQueryBlock; }
  // Tasks of so many queries each that are worth a thread.
  int64_t grain(int64_t queries) const {
    const int64_t work =
        std::min(queries, g.queries) * std::max<int64_t>(g.keys, 1) * (g.width + g.value_width);
    return std::max<int64_t>(1, (1 << 17) / std::max<int64_t>(work, 1));
  }

  // ---- backward: with P the weights and D = sum(out grad_out) of a row,
  //   grad_value = P^T grad_out,  grad_score = P (grad_out value^T - D),
  //   grad_query = scale grad_score key,  grad_key = scale grad_score^T query.

  void backward_block(int64_t b, int64_t h, int64_t i, int64_t rows, T* s, T* ds, T* scaled,
                      T* p_dropped) const {
    const int64_t key_head = h / g.group;
    const T* log_sum = static_cast<const T*>(g.log_sum) + (b * g.heads + h) * g.queries + i;
    const T* grad_out = at(g.grad_out, b, h, i);
    T dot[kQueryBlock];
    for (int64_t r = 0; r < rows; ++r) {
      Lanes<T> sum(0);
      read_lanes2(static_cast<const T*>(at(g.out, b, h, i + r)), grad_out + r * g.grad_out.row, g.value_width,
                  [&](const T* p, const T* q) __attribute__((always_inline)) {
                    for (int l = 0; l < kRowLanes; ++l) sum[l] += p[l] * q[l];
                  });
      dot[r] = sum.sum();
    }
    scale_queries(b, h, i, rows, scaled);
    const int64_t keys = keys_seen(i, rows);
    for (int64_t j = 0; j < keys; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, keys - j);
      scores(b, h, i, rows, j, cols, scaled, s);
      for (int64_t r = 0; r < rows; ++r) {
        exponentials(s + r * kKeyBlock, cols, log_sum[r]);
        if (g.kept) drop_row(i + r, j, cols, s + r * kKeyBlock, p_dropped + r * kKeyBlock);
      }
      product(cols, g.value_width, rows, g.kept ? p_dropped : s, 1, kKeyBlock, grad_out, g.grad_out.row,
              at(g.grad_value, b, key_head, j), g.grad_value.row, true);
      product(rows, cols, g.value_width, grad_out, g.grad_out.row, 1, at(g.value_t, b, key_head, 0) + j,
              g.value_t.row, ds, kKeyBlock, false);
      for (int64_t r = 0; r < rows; ++r) {
        const T* p = s + r * kKeyBlock;
        T* d = ds + r * kKeyBlock;
        if (g.kept) drop_row(i + r, j, cols, d, d);
        for (int64_t c = 0; c < cols; ++c) d[c] = p[c] * (d[c] - dot[r]);
      }
      product(rows, g.width, cols, ds, kKeyBlock, 1, at(g.key, b, key_head, j), g.key.row,
              at(g.grad_query, b, h, i), g.grad_query.row, j > 0, g.scale);
      product(cols, g.width, rows, ds, 1, kKeyBlock, scaled, g.width, at(g.grad_key, b, key_head, j),
              g.grad_key.row, true, 1 / kLog2E);
    }
  }

  // A task is a head of the keys, whose gradients all its queries add to.
  void backward() const {
    const int64_t key_heads = g.heads / g.group;
    parallel_for(0, g.batch * key_heads, grain(g.queries * g.group), [&](int64_t from, int64_t to) {
      const int64_t block = kQueryBlock * kKeyBlock;
      Scratch scratch(static_cast<size_t>(block * (g.kept ? 3 : 2) + kQueryBlock * g.width) * sizeof(T));
      T *s = scratch.as<T>(), *ds = s + block, *scaled = ds + block,
        *dropped = scaled + kQueryBlock * g.width;
      for (int64_t task = from; task < to; ++task) {
        const int64_t b = task / key_heads, first = task % key_heads * g.group;
        for (int64_t h = first; h < first + g.group; ++h) {
          for (int64_t i = 0; i < g.queries; i += query_block())
            backward_block(b, h, i, std::min(query_block(), g.queries - i), s, ds, scaled, dropped);
        }
      }
    });
  }
};

void forward(const AttentionArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? Attention<double>{g}.forward() : Attention<float>{g}.forward();
}
void backward(const AttentionArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? Attention<double>{g}.backward() : Attention<float>{g}.backward();
}

}  // namespace

void fill_attention(AttentionTable& table) {
  table.forward = forward;
  table.backward = backward;
}

}  // namespace ctorch::CT_ISA
