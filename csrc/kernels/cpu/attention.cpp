// Attention in blocks of queries by blocks of keys. A block of scores lies in the L2 from the product that
// makes it to the product that uses it; per row a running maximum and sum scale what was added up so far.
#include "kernels/attention.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/flush_denormals.h"

namespace ctorch::CT_ISA {
namespace {

template <class T>
struct Attention : AttentionScores<T, true> {
  using Scores = AttentionScores<T, true>;
  using Scores::g;
  static constexpr int64_t lanes = Scores::lanes;

  struct Matrix {
    const T* data;
    int64_t row, col = 1;
  };
  // Columns [j, ...) of the transposed keys or values of a head, which few queries read as they are.
  static Matrix transposed(const AttentionRows<const void*>& turned, const AttentionRows<const void*>& rows,
                           int64_t b, int64_t h, int64_t j) {
    if (!turned.data) return {row_at<T>(rows, b, h, j), 1, rows.row};
    return {row_at<T>(turned, b, h, 0) + j, turned.row};
  }
  // c (m, n) = a b, added to c where asked; rows of c are contiguous.
  void product(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, T* c, int64_t c_row,
               bool add) const {
    GemmArgs q{.dtype = g.dtype, .m = m, .n = n, .k = k};
    q.a = {.data = a.data, .row = a.row, .col = a.col};
    q.b = {.data = b.data, .row = b.row, .col = b.col};
    q.c = {.data = c, .row = c_row, .col = 1};
    if (add) q.d = {.data = c, .row = c_row, .col = 1};
    g.gemm(q);
  }

  // Scaled queries, (rows, width): smaller than their scores.
  void scale_queries(int64_t b, int64_t h, int64_t i, int64_t rows, T* scaled) const {
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = row_at<T>(g.query, b, h, i + r);
      for (int64_t c = 0; c < g.width; ++c) scaled[r * g.width + c] = row[c] * this->scale();
    }
  }
  // The scores of queries [i, i + rows), given scaled, for keys [j, j + cols).
  void scores(int64_t b, int64_t h, int64_t i, int64_t rows, int64_t j, int64_t cols, const T* scaled,
              T* s) const {
    product(rows, cols, g.width, {scaled, g.width}, transposed(g.key_t, g.key, b, h / g.group, j), s,
            kKeyBlock, false);
    this->mask(b, h, i, rows, j, cols, s);
  }

  // ---- forward

  void forward_block(int64_t b, int64_t h, int64_t i, int64_t rows) const {
    Scratch scratch(static_cast<size_t>(kQueryBlock * (kKeyBlock + g.width)) * sizeof(T));
    T *s = scratch.as<T>(), *scaled = s + kQueryBlock * kKeyBlock;
    scale_queries(b, h, i, rows, scaled);
    alignas(64) T highest[kQueryBlock], sum[kQueryBlock], before[kQueryBlock];
    fill_row(highest, kQueryBlock, -this->kInf);
    fill_row(sum, kQueryBlock, T(0));
    T* out = row_at<T>(g.out, b, h, i);
    const int64_t keys = this->keys_seen(i, rows);
    for (int64_t j = 0; j < keys; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, keys - j);
      scores(b, h, i, rows, j, cols, scaled, s);
      for (int64_t r = 0; r < rows; r += lanes) {
        T* at = s + r * kKeyBlock;
        this->weights(at, std::min(lanes, rows - r), cols, highest + r, sum + r, before + r,
                      [&](int64_t row, int64_t c, auto w0, auto w1) __attribute__((always_inline)) {
                        store_vector(at + row * kKeyBlock + c, w0);
                        store_vector(at + row * kKeyBlock + c + lanes, w1);
                      });
      }
      for (int64_t r = 0; r < rows; ++r) {
        if (g.kept) this->drop_row(i + r, j, cols, s + r * kKeyBlock, s + r * kKeyBlock);
        if (j > 0 && before[r] != T(1)) scale_row(out + r * g.out.row, g.value_width, before[r]);
      }
      product(rows, g.value_width, cols, {s, kKeyBlock}, {row_at<T>(g.value, b, h / g.group, j), g.value.row},
              out, g.out.row, j > 0);
    }
    for (int64_t r = 0; r < rows; ++r) {
      T* row = out + r * g.out.row;
      if (sum[r] == T(0)) {  // no key seen
        fill_row(row, g.value_width, T(0));
      } else {
        scale_row(row, g.value_width, 1 / sum[r]);
      }
    }
    this->write_sums(b, h, i, rows, highest, sum);
  }

  void forward() const {
    this->for_each_query_block(
        [&](int64_t b, int64_t h, int64_t i, int64_t rows) { forward_block(b, h, i, rows); });
  }

  // ---- backward: with P the weights and D = sum(out grad_out) of a row,
  //   grad_value = P^T grad_out,  grad_score = scale P (grad_out value^T - D),
  //   grad_query = grad_score key,  grad_key = grad_score^T query.

  void backward_block(int64_t b, int64_t h, int64_t i, int64_t rows, T* s, T* ds, T* scaled,
                      T* p_dropped) const {
    const int64_t key_head = h / g.group;
    const T *highest = this->row_sums(g.highest, b, h, i), *log_sum = this->row_sums(g.log_sum, b, h, i);
    const T *grad_out = row_at<T>(g.grad_out, b, h, i), *query = row_at<T>(g.query, b, h, i);
    T dot[kQueryBlock];
    for (int64_t r = 0; r < rows; ++r) {
      Lanes<T> sum(0);
      read_lanes2(static_cast<const T*>(row_at<T>(g.out, b, h, i + r)), grad_out + r * g.grad_out.row,
                  g.value_width, [&](const T* p, const T* q) __attribute__((always_inline)) {
                    for (int l = 0; l < kRowLanes; ++l) sum[l] += p[l] * q[l];
                  });
      dot[r] = sum.sum();
    }
    const T scale = static_cast<T>(g.scale);
    scale_queries(b, h, i, rows, scaled);
    const int64_t keys = this->keys_seen(i, rows);
    for (int64_t j = 0; j < keys; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, keys - j);
      scores(b, h, i, rows, j, cols, scaled, s);
      for (int64_t r = 0; r < rows; ++r) {
        T* row = s + r * kKeyBlock;
        for (int64_t c = 0; c < cols; c += lanes)
          store_vector(row + c, this->weight(load_vector(row + c), 1, highest[r], log_sum[r]));
        if (g.kept) this->drop_row(i + r, j, cols, row, p_dropped + r * kKeyBlock);
      }
      product(cols, g.value_width, rows, {g.kept ? p_dropped : s, 1, kKeyBlock}, {grad_out, g.grad_out.row},
              row_at<T>(g.grad_value, b, key_head, j), g.grad_value.row, true);
      product(rows, cols, g.value_width, {grad_out, g.grad_out.row},
              transposed(g.value_t, g.value, b, key_head, j), ds, kKeyBlock, false);
      for (int64_t r = 0; r < rows; ++r) {
        const T* p = s + r * kKeyBlock;
        T* d = ds + r * kKeyBlock;
        if (g.kept) this->drop_row(i + r, j, cols, d, d);
        for (int64_t c = 0; c < cols; ++c) d[c] = p[c] * (d[c] - dot[r]) * scale;
      }
      product(rows, g.width, cols, {ds, kKeyBlock}, {row_at<T>(g.key, b, key_head, j), g.key.row},
              row_at<T>(g.grad_query, b, h, i), g.grad_query.row, j > 0);
      product(cols, g.width, rows, {ds, 1, kKeyBlock}, {query, g.query.row},
              row_at<T>(g.grad_key, b, key_head, j), g.grad_key.row, true);
    }
  }

  // A task is a head of the keys, whose gradients all its queries add to.
  void backward() const {
    const int64_t key_heads = g.heads / g.group;
    parallel_for(0, g.batch * key_heads, this->grain(g.queries * g.group), [&](int64_t from, int64_t to) {
      const int64_t block = kQueryBlock * kKeyBlock;
      Scratch scratch(static_cast<size_t>(block * (g.kept ? 3 : 2) + kQueryBlock * g.width) * sizeof(T));
      T *s = scratch.as<T>(), *ds = s + block, *scaled = ds + block,
        *dropped = scaled + kQueryBlock * g.width;
      for (int64_t task = from; task < to; ++task) {
        const int64_t b = task / key_heads, first = task % key_heads * g.group;
        for (int64_t h = first; h < first + g.group; ++h) {
          for (int64_t i = 0; i < g.queries; i += this->query_block())
            backward_block(b, h, i, std::min(this->query_block(), g.queries - i), s, ds, scaled, dropped);
        }
      }
    });
  }
};

void forward(const AttentionArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? Attention<double>{{g}}.forward() : Attention<float>{{g}}.forward();
}
void backward(const AttentionArgs& g) {
  FlushDenormals flush;
  g.dtype == DType::float64 ? Attention<double>{{g}}.backward() : Attention<float>{{g}}.backward();
}
bool reads_transposed(const AttentionArgs& g) {
  constexpr int64_t kFewQueries = 16;  // so few read keys and values once, as they are
  return g.queries > kFewQueries;
}

}  // namespace

void fill_attention(AttentionTable& table) {
  table.forward = forward;
  table.backward = backward;
  table.reads_transposed = reads_transposed;
  table.pairs = nullptr;
}

}  // namespace ctorch::CT_ISA
