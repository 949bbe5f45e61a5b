// Attention over bfloat16, by instructions that sum products of pairs of neighbours in k. Weights, and the
// gradients of scores, are rounded to bfloat16 where they are multiplied; scores and sums are floats.
//
// All products read rows of numbers that are contiguous along k on one side, and on the other side pairs:
// two neighbours in k in a lane of 32 bits, lanes side by side. Backward so sums transposed gradients of keys
// and values, whose right sides are pairs of rows of a block of scores.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/avx512_bf16/pairs.h"
#include "kernels/cpu/flush_denormals.h"

namespace ctorch::CT_ISA {
namespace {

inline constexpr int64_t kPairCols = PairProducts::cols;

CT_INLINE int64_t round_up(int64_t n, int64_t step) { return ceil_div(n, step) * step; }

// Two vectors side by side; and lane by lane, the first in the lower halves.
CT_INLINE void store_halves(BFloat16* to, Simd<float>::Vector first, Simd<float>::Vector second) {
  const __m512bh both =
      _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first));
  std::memcpy(to, &both, sizeof both);
}
CT_INLINE void store_pairs(Pair* to, Simd<float>::Vector first, Simd<float>::Vector second) {
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes)));
  const auto both = reinterpret_cast<Halves>(
      _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first)));
  const Halves pairs =
      __builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9,
                              25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  std::memcpy(to, &pairs, sizeof pairs);
}

// The right side of a product: k (filled up with zeros) by n numbers, in panels of kPairCols columns.
struct PairPanels {
  Pair* data;
  int64_t steps;  // pairs along k

  static int64_t size(int64_t k, int64_t n) { return k / 2 * round_up(n, kPairCols); }
  // Element (p, j) of the strip at src[p * k_stride + j * col].
  void pack(int64_t k, int64_t n, const BFloat16* src, int64_t k_stride, int64_t col) const {
    for (int64_t j = 0; j < n; j += kPairCols) {
      Pair* panel = at(0, j);
      pack_pairs(panel, kPairCols, std::min(kPairCols, n - j), k, src + j * col, col, k_stride);
      fill_row<Pair>(panel + ceil_div(k, 2) * kPairCols, (steps - ceil_div(k, 2)) * kPairCols, 0);
    }
  }
  Pair* at(int64_t k, int64_t j) const { return data + (j * steps + k / 2 * kPairCols); }
  int64_t panel() const { return steps * kPairCols; }
};

class PairAttention : AttentionScores<float, false> {
  using Scores = AttentionScores<float, false>;
  using Scores::g;

 public:
  explicit PairAttention(const AttentionArgs& args)
      : Scores{args}, products_(*args.pairs), step_(products_.step) {}

  void forward() const {
    // The keys and values of all heads as right sides.
    const int64_t heads = g.batch * (g.heads / g.group);
    const int64_t key_size = PairPanels::size(wide_k(), g.keys),
                  value_size = PairPanels::size(keys_k(), g.value_width);
    Scratch scratch(static_cast<size_t>(heads * (key_size + value_size)) * sizeof(Pair));
    Pair* panels = scratch.as<Pair>();
    const auto keys_of = [&](int64_t head) {
      return PairPanels{panels + head * (key_size + value_size), wide_k() / 2};
    };
    const auto values_of = [&](int64_t head) {
      return PairPanels{keys_of(head).data + key_size, keys_k() / 2};
    };
    const int64_t key_heads = g.heads / g.group;
    parallel_for(0, heads, 1, [&](int64_t from, int64_t to) {
      for (int64_t head = from; head < to; ++head) {
        const int64_t b = head / key_heads, h = head % key_heads;
        keys_of(head).pack(g.width, g.keys, row_at<BFloat16>(g.key, b, h, 0), 1, g.key.row);
        values_of(head).pack(g.keys, g.value_width, row_at<BFloat16>(g.value, b, h, 0), g.value.row, 1);
      }
    });
    this->for_each_query_block([&](int64_t b, int64_t h, int64_t i, int64_t rows) {
      const int64_t head = b * key_heads + h / g.group;
      forward_block(b, h, i, rows, keys_of(head), values_of(head));
    });
  }

  // A task is a head of the keys, whose gradients all its queries add to.
  void backward() const {
    const int64_t key_heads = g.heads / g.group;
    parallel_for(0, g.batch * key_heads, this->grain(g.queries * g.group), [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) backward_head(task / key_heads, task % key_heads);
    });
  }

 private:
  // What a thread holds while it multiplies.
  class Registers {
   public:
    explicit Registers(const PairProducts& products) : end_(products.end) { products.begin(); }
    ~Registers() { end_(); }
    Registers(const Registers&) = delete;
    Registers& operator=(const Registers&) = delete;

   private:
    void (*end_)();
  };

  // Sizes along k, and of rows and columns of sums, filled up.
  int64_t wide_k() const { return round_up(g.width, step_); }
  int64_t value_k() const { return round_up(g.value_width, step_); }
  int64_t keys_k() const { return round_up(g.keys, step_); }
  int64_t filled_rows(int64_t rows) const { return round_up(rows, products_.rows); }
  static int64_t filled_cols(int64_t cols) { return round_up(cols, kPairCols); }

  void multiply(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const PairPanels& b,
                int64_t p, int64_t j, float* c, int64_t c_row, bool add) const {
    products_.multiply(filled_rows(m), filled_cols(n), round_up(k, step_), a, a_row, b.at(p, j), kPairCols,
                       b.panel(), c, c_row, add);
  }
  // The same with pairs of rows of a block of scores on the right.
  void multiply(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const Pair* b, float* c,
                int64_t c_row) const {
    products_.multiply(filled_rows(m), filled_cols(n), round_up(k, step_), a, a_row, b, kKeyBlock, kPairCols,
                       c, c_row, true);
  }

  // Rows that products of a block of scores read, on either side.
  int64_t block_rows(int64_t rows) const { return round_up(rows, std::max(step_, products_.rows)); }
  // Rows of a left side: `rows` of them and then zeros.
  void load_rows(BFloat16* to, int64_t to_row, const BFloat16* from, int64_t row, int64_t rows,
                 int64_t width) const {
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(to + r * to_row, from + r * row, static_cast<size_t>(width) * sizeof(BFloat16));
      fill_row(to + r * to_row + width, to_row - width, BFloat16(0.0f));
    }
    fill_row(to + rows * to_row, (block_rows(rows) - rows) * to_row, BFloat16(0.0f));
  }
  // The same transposed: rows of kQueryBlock. Pairs of rows change places as they are.
  void load_columns(BFloat16* to, const BFloat16* from, int64_t row, int64_t rows, int64_t width) const {
    constexpr int64_t kRow = kQueryBlock / 2, lanes = kLanes<Pair>;
    const int64_t given = ceil_div(rows, 2), count = block_rows(rows) / 2;
    Scratch scratch(static_cast<size_t>(count * width) * sizeof(Pair));
    Pair *pairs = scratch.as<Pair>(), *turned = reinterpret_cast<Pair*>(to);
    pack_pairs(pairs, width, width, rows, from, 1, row);
    fill_row<Pair>(pairs + given * width, (count - given) * width, 0);
    for (int64_t p = 0; p < count; p += lanes)
      pack_rows_along_k<Pair>(turned + p, kRow, std::min(lanes, count - p), width, pairs + p * width, width);
    for (int64_t c = width; c < filled_rows(width); ++c) fill_row<Pair>(turned + c * kRow, count, 0);
  }
  static void write_row(BFloat16* to, const float* from, int64_t n, float factor) {
    for (int64_t c = 0; c < n; c += Scores::lanes)
      store_rounded(to + c, load_vector(from + c) * factor, n - c);
  }
  // Row c of the result is column c of `from`, (width, row).
  static void write_columns(const AttentionRows<void*>& to, int64_t b, int64_t h, int64_t cols,
                            const float* from, int64_t row, int64_t width, float factor) {
    constexpr int64_t lanes = Scores::lanes;
    for (int64_t c = 0; c < cols; c += lanes) {
      for (int64_t w = 0; w < width; w += lanes) {
        typename Scores::Vector square[lanes] = {};
        for (int64_t l = 0; l < std::min(lanes, width - w); ++l)
          square[l] = load_vector(from + (w + l) * row + c) * factor;
        transpose_square<float>(square);
        for (int64_t l = 0; l < std::min(lanes, cols - c); ++l)
          store_rounded(row_at<BFloat16>(to, b, h, c + l) + w, square[l], width - w);
      }
    }
  }

  void scores(int64_t b, int64_t h, int64_t i, int64_t rows, int64_t j, int64_t cols, const BFloat16* query,
              const PairPanels& keys, float* s) const {
    multiply(rows, cols, g.width, query, wide_k(), keys, 0, j, s, kKeyBlock, false);
    this->mask(b, h, i, rows, j, cols, s);
  }

  void forward_block(int64_t b, int64_t h, int64_t i, int64_t rows, const PairPanels& keys,
                     const PairPanels& values) const {
    const Registers registers(products_);
    constexpr int64_t lanes = Scores::lanes, block = kQueryBlock * kKeyBlock;
    const int64_t out_row = filled_cols(g.value_width);
    Scratch scratch(static_cast<size_t>(block + kQueryBlock * out_row) * sizeof(float) +
                    static_cast<size_t>(block + kQueryBlock * wide_k()) * sizeof(BFloat16));
    float *s = scratch.as<float>(), *out = s + block;
    auto *p = reinterpret_cast<BFloat16*>(out + kQueryBlock * out_row), *query = p + block;
    load_rows(query, wide_k(), row_at<BFloat16>(g.query, b, h, i), g.query.row, rows, g.width);
    fill_row(p + rows * kKeyBlock, (filled_rows(rows) - rows) * kKeyBlock, BFloat16(0.0f));
    alignas(64) float highest[kQueryBlock], sum[kQueryBlock], before[kQueryBlock];
    fill_row(highest, kQueryBlock, -this->kInf);
    fill_row(sum, kQueryBlock, 0.0f);
    const int64_t seen = this->keys_seen(i, rows);
    for (int64_t j = 0; j < seen; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, seen - j);
      scores(b, h, i, rows, j, cols, query, keys, s);
      for (int64_t r = 0; r < rows; r += lanes) {
        BFloat16* to = p + r * kKeyBlock;
        this->weights(s + r * kKeyBlock, std::min(lanes, rows - r), cols, highest + r, sum + r, before + r,
                      [&](int64_t row, int64_t c, auto w0, auto w1)
                          __attribute__((always_inline)) { store_halves(to + row * kKeyBlock + c, w0, w1); });
      }
      for (int64_t r = 0; j > 0 && r < rows; ++r) {
        if (before[r] != 1) scale_row(out + r * out_row, out_row, before[r]);
      }
      multiply(rows, g.value_width, cols, p, kKeyBlock, values, j, 0, out, out_row, j > 0);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (sum[r] == 0) fill_row(out + r * out_row, g.value_width, 0.0f);  // no key seen
      write_row(row_at<BFloat16>(g.out, b, h, i + r), out + r * out_row, g.value_width,
                sum[r] == 0 ? 1 : 1 / sum[r]);
    }
    this->write_sums(b, h, i, rows, highest, sum);
  }

  // What a task of backward holds: right sides, and the transposed sums of gradients, of a head of the keys;
  // blocks of queries and scores.
  struct Backward {
    PairPanels keys_t, values_t, keys;  // (width, keys), (value_width, keys), (keys, width)
    float *grad_keys, *grad_values;     // (width, keys), (value_width, keys)
    BFloat16 *query, *query_t, *grad_out, *grad_out_t;
    float *s, *dp, *grad_query;
    BFloat16* ds;
    Pair *p_pairs, *ds_pairs;
  };
  // Cuts memory, or nullptr to measure it, into the parts of w; returns their size.
  size_t place(Backward& w, char* memory) const {
    size_t used = 0;
    const auto take = [&](auto*& part, int64_t count) {
      part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(memory + used);
      used += static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(*part)), kVectorBytes));
    };
    const int64_t cols = filled_cols(g.keys), block = kQueryBlock * kKeyBlock;
    take(w.keys_t.data, PairPanels::size(wide_k(), g.keys));
    take(w.values_t.data, PairPanels::size(value_k(), g.keys));
    take(w.keys.data, PairPanels::size(keys_k(), g.width));
    w.keys_t.steps = wide_k() / 2, w.values_t.steps = value_k() / 2, w.keys.steps = keys_k() / 2;
    take(w.grad_keys, filled_rows(g.width) * cols);
    take(w.grad_values, filled_rows(g.value_width) * cols);
    take(w.query, kQueryBlock * wide_k());
    take(w.query_t, kQueryBlock * filled_rows(g.width));
    take(w.grad_out, kQueryBlock * value_k());
    take(w.grad_out_t, kQueryBlock * filled_rows(g.value_width));
    take(w.s, block);
    take(w.dp, block);
    take(w.grad_query, kQueryBlock * filled_cols(g.width));
    take(w.ds, block);
    take(w.p_pairs, block / 2);
    take(w.ds_pairs, block / 2);
    return used;
  }

  void backward_head(int64_t b, int64_t key_head) const {
    const Registers registers(products_);
    Backward w;
    Scratch scratch(place(w, nullptr));
    place(w, scratch.as<char>());
    const auto *key = row_at<BFloat16>(g.key, b, key_head, 0),
               *value = row_at<BFloat16>(g.value, b, key_head, 0);
    w.keys_t.pack(g.width, g.keys, key, 1, g.key.row);
    w.values_t.pack(g.value_width, g.keys, value, 1, g.value.row);
    w.keys.pack(g.keys, g.width, key, g.key.row, 1);
    const int64_t cols = filled_cols(g.keys);
    fill_row(w.grad_keys, filled_rows(g.width) * cols, 0.0f);
    fill_row(w.grad_values, filled_rows(g.value_width) * cols, 0.0f);
    for (int64_t h = key_head * g.group; h < (key_head + 1) * g.group; ++h) {
      for (int64_t i = 0; i < g.queries; i += this->query_block())
        backward_block(b, h, i, std::min(this->query_block(), g.queries - i), w);
    }
    write_columns(g.grad_key, b, key_head, g.keys, w.grad_keys, cols, g.width, static_cast<float>(g.scale));
    write_columns(g.grad_value, b, key_head, g.keys, w.grad_values, cols, g.value_width, 1);
  }

  struct RowSums {
    float highest, log_sum, dot;  // dot: of the result and its gradient
  };
  // See Attention<T>::backward_block(); the scale comes last.
  void backward_block(int64_t b, int64_t h, int64_t i, int64_t rows, const Backward& w) const {
    const auto* grad_out = row_at<BFloat16>(g.grad_out, b, h, i);
    load_rows(w.query, wide_k(), row_at<BFloat16>(g.query, b, h, i), g.query.row, rows, g.width);
    load_rows(w.grad_out, value_k(), grad_out, g.grad_out.row, rows, g.value_width);
    load_columns(w.query_t, row_at<BFloat16>(g.query, b, h, i), g.query.row, rows, g.width);
    load_columns(w.grad_out_t, grad_out, g.grad_out.row, rows, g.value_width);
    // Rows that fill up a block weigh nothing.
    RowSums sums[kQueryBlock];
    for (int64_t r = 0; r < kQueryBlock; ++r) sums[r] = {0, this->kInf, 0};
    for (int64_t r = 0; r < rows; ++r) {
      sums[r] = {this->row_sums(g.highest, b, h, i)[r], this->row_sums(g.log_sum, b, h, i)[r],
                 dot_of(row_at<BFloat16>(g.out, b, h, i + r), grad_out + r * g.grad_out.row)};
    }
    const int64_t filled = round_up(rows, step_), seen = this->keys_seen(i, rows),
                  query_row = filled_cols(g.width);
    for (int64_t j = 0; j < seen; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, seen - j), keys = filled_cols(g.keys);
      multiply(filled, cols, g.width, w.query, wide_k(), w.keys_t, 0, j, w.s, kKeyBlock, false);
      this->mask(b, h, i, rows, j, cols, w.s);
      multiply(filled, cols, g.value_width, w.grad_out, value_k(), w.values_t, 0, j, w.dp, kKeyBlock, false);
      grad_scores(filled, cols, sums, w);
      multiply(g.value_width, cols, filled, w.grad_out_t, kQueryBlock, w.p_pairs, w.grad_values + j, keys);
      multiply(g.width, cols, filled, w.query_t, kQueryBlock, w.ds_pairs, w.grad_keys + j, keys);
      multiply(rows, g.width, cols, w.ds, kKeyBlock, w.keys, j, 0, w.grad_query, query_row, j > 0);
    }
    for (int64_t r = 0; r < rows && seen > 0; ++r) {
      write_row(row_at<BFloat16>(g.grad_query, b, h, i + r), w.grad_query + r * query_row, g.width,
                static_cast<float>(g.scale));
    }
  }
  float dot_of(const BFloat16* a, const BFloat16* b) const {
    Lanes<float> sum(0);
    read_lanes2(a, b, g.value_width,
                [&](const BFloat16* p, const BFloat16* q) __attribute__((always_inline)) {
                  for (int l = 0; l < kRowLanes; ++l)
                    sum[l] += static_cast<float>(p[l]) * static_cast<float>(q[l]);
                });
    return sum.sum();
  }
  // Scores, and the products of grad_out with values, become weights as pairs of rows, and the gradients of
  // scores both as pairs of rows and as rows.
  void grad_scores(int64_t rows, int64_t cols, const RowSums* sums, const Backward& w) const {
    constexpr int64_t lanes = Scores::lanes;
    const float by = this->factor();
    for (int64_t r = 0; r < rows; r += 2) {
      const float *s = w.s + r * kKeyBlock, *dp = w.dp + r * kKeyBlock;
      BFloat16* ds = w.ds + r * kKeyBlock;
      Pair *p_pairs = w.p_pairs + r / 2 * kKeyBlock, *ds_pairs = w.ds_pairs + r / 2 * kKeyBlock;
      for (int64_t c = 0; c < cols; c += 2 * lanes) {
        typename Scores::Vector d[2][2];
        for (int64_t v = 0; v < 2; ++v) {
          typename Scores::Vector weight[2];
          const int64_t at = c + v * lanes;
          for (int64_t l = 0; l < 2; ++l) {
            const RowSums& row = sums[r + l];
            weight[l] = this->weight(load_vector(s + l * kKeyBlock + at), by, row.highest, row.log_sum);
            d[l][v] = weight[l] * (load_vector(dp + l * kKeyBlock + at) - row.dot);
          }
          store_pairs(p_pairs + at, weight[0], weight[1]);
          store_pairs(ds_pairs + at, d[0][v], d[1][v]);
        }
        for (int64_t l = 0; l < 2; ++l) store_halves(ds + l * kKeyBlock + c, d[l][0], d[l][1]);
      }
      for (int64_t l = 0; l < 2; ++l)
        fill_row(ds + l * kKeyBlock + cols, round_up(cols, step_) - cols, BFloat16(0.0f));
    }
  }

  const PairProducts& products_;
  const int64_t step_;
};

}  // namespace
}  // namespace ctorch::CT_ISA
