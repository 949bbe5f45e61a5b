// Attention over float32 on AMX tiles, in six products of three bfloat16 pieces (see gemm.cpp).
//
// Keys and values are packed once for all queries. Weights, and the gradients of scores, are split where they
// are computed, in the vectors in which they are packed: two vectors of 16 keys of a row are a row of a tile
// on the left side, vectors of two rows one of a tile on the right side. Backward so sums transposed
// gradients of keys and values, whose right sides are weights and gradients of scores.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/amx/gemm_split.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {
namespace {

class PieceAttention : AttentionScores<float, false> {
  using Scores = AttentionScores<float, false>;
  using Scores::g;
  static constexpr int kPieces = 3;
  static constexpr int64_t kStepPairs = kPieces * kPiecePairs;  // of a panel
  static constexpr double kUnit = 1.0 / kSplitScale / kSplitScale;

 public:
  explicit PieceAttention(const AttentionArgs& args) : Scores{args, kUnit} {}

  // Whether there are queries enough to pack keys for.
  static bool wins(const AttentionArgs& g) {
    constexpr int64_t kLeastRows = 64, kLeastWidth = 16;
    return g.dtype == DType::float32 && !g.dropout && std::min(g.queries, g.keys) >= kLeastRows &&
           std::min(g.width, g.value_width) >= kLeastWidth;
  }

  // False, and nothing written, if there are numbers that are not fit for tiles.
  bool forward() const {
    const float keys = largest(g.key, key_heads(), g.keys, g.width);
    if (!fit_for_tiles(largest(g.query, g.heads, g.queries, g.width), keys, g.width) ||
        !fit_for_tiles(1, largest(g.value, key_heads(), g.keys, g.value_width), g.keys))
      return false;
    const int64_t key_size = size_of(g.keys, g.width), value_size = size_of(g.value_width, g.keys);
    const int64_t heads = g.batch * key_heads(), bytes = (key_size + value_size) * int64_t{sizeof(Pair)};
    const int64_t most =
        std::clamp<int64_t>(kPackedBytes / bytes, std::min<int64_t>(heads, num_threads()), heads);
    Scratch scratch(static_cast<size_t>(most * bytes));
    for (int64_t first = 0; first < heads; first += most) {
      const int64_t count = std::min(most, heads - first);
      const auto keys_of = [&](int64_t head) {
        return Panels{scratch.as<Pair>() + (head - first) * (key_size + value_size),
                      ceil_div(g.width, kStep)};
      };
      const auto values_of = [&](int64_t head) {
        return Panels{keys_of(head).data + key_size, ceil_div(g.keys, kStep)};
      };
      // Blocks of keys, so that there are enough for all threads.
      const int64_t blocks = ceil_div(g.keys, kKeyBlock);
      parallel_for(0, count * blocks, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          const int64_t head = first + i / blocks, j = i % blocks * kKeyBlock;
          const int64_t b = head / key_heads(), h = head % key_heads(),
                        cols = std::min(kKeyBlock, g.keys - j);
          keys_of(head).at(j, 0).pack(row(g.key, b, h, j), g.key.row, 1, cols, g.width, false);
          values_of(head).at(0, j).pack(row(g.value, b, h, j), 1, g.value.row, g.value_width, cols, false);
        }
      });
      const int64_t high = query_block(), parts = ceil_div(g.queries, high);
      parallel_for(0, count * g.group * parts, grain(high), [&](int64_t from, int64_t to) {
        for (int64_t task = from; task < to; ++task) {
          const int64_t i = task % parts * high, head = first + task / parts / g.group;
          const int64_t h = head % key_heads() * g.group + task / parts % g.group;
          forward_block(head / key_heads(), h, i, std::min(high, g.queries - i), keys_of(head),
                        values_of(head));
        }
      });
    }
    return true;
  }

  // The same. A task is a head of the keys, whose gradients all its queries add to.
  bool backward() const {
    const float query = largest(g.query, g.heads, g.queries, g.width),
                key = largest(g.key, key_heads(), g.keys, g.width),
                value = largest(g.value, key_heads(), g.keys, g.value_width),
                grad = largest(g.grad_out, g.heads, g.queries, g.value_width);
    // A product of a weight, of a row of the gradient with one of the values, and with one of the result.
    const float score = 2 * grad * value * static_cast<float>(g.value_width);
    const int64_t longest = std::max(g.keys, g.queries * g.group);
    if (!fit_for_tiles(query, key, g.width) || !fit_for_tiles(grad, value, g.value_width) ||
        !fit_for_tiles(1, grad, longest) || !fit_for_tiles(score, std::max(query, key), longest))
      return false;
    parallel_for(0, g.batch * key_heads(), this->grain(g.queries * g.group), [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) backward_head(task / key_heads(), task % key_heads());
    });
    return true;
  }

 private:
  // Packed panels of lanes, `steps` of k each, or a part of them.
  struct Panels {
    Pair* data;
    int64_t steps;

    int64_t panel() const { return steps * kStepPairs; }
    Panels at(int64_t lane, int64_t k) const {
      return {data + lane / kPanel * panel() + k / kStep * kStepPairs, steps};
    }
    // Element p in k of lane l at from[l * lane + p * step]. What is missing of the last panel and the last
    // step is zeros.
    void pack(const float* from, int64_t lane, int64_t step, int64_t lanes, int64_t k,
              bool lanes_are_rows) const {
      Bits seen = {};
      for (int64_t l = 0; l < round_up(lanes, kPanel); l += kTile) {
        for (int64_t p = 0; p < k; p += kStep) {
          pack_floats<kPieces>(
              at(l, p).data + l % kPanel / kTile * kTilePairs, {from + l * lane + p * step, lane, step},
              std::clamp<int64_t>(lanes - l, 0, kTile), std::min(kStep, k - p), lanes_are_rows, seen);
        }
      }
    }
    // Two vectors of a row of a left side, or of two rows of a right side: number r of those of a step.
    void split(Floats first, Floats second, int64_t lane, int64_t k, int64_t r) const {
      Bits pieces[kPieces], seen = {};
      split_pairs<kPieces>(first, second, pieces, seen);
      Pair* to = at(lane, k).data + lane % kPanel / kTile * kTilePairs + r * kTile;
#pragma GCC unroll 3
      for (int p = 0; p < kPieces; ++p) store_vector(to + p * kPiecePairs, pieces[p]);
    }
  };
  static int64_t round_up(int64_t n, int64_t step) { return ceil_div(n, step) * step; }
  static int64_t size_of(int64_t lanes, int64_t k) {
    return ceil_div(lanes, kPanel) * ceil_div(k, kStep) * kStepPairs;
  }
  int64_t key_heads() const { return g.heads / g.group; }
  static const float* row(const AttentionRows<const void*>& rows, int64_t b, int64_t h, int64_t i) {
    return row_at<float>(rows, b, h, i);
  }

  // The greatest magnitude.
  float largest(const AttentionRows<const void*>& rows, int64_t heads, int64_t count, int64_t width) const {
    SharedLargest all;
    constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread
    parallel_for(
        0, g.batch * heads * count, std::max<int64_t>(1, kGrain / width), [&](int64_t from, int64_t to) {
          Bits seen = {};
          for (int64_t i = from; i < to; ++i) {
            const float* p = row(rows, i / count / heads, i / count % heads, i % count);
            for (int64_t c = 0; c < width; c += kTile) {
              const Bits bits =
                  reinterpret_cast<Bits>(load_partial(p + c, std::min(kTile, width - c))) & 0x7fffffffu;
              seen = bits > seen ? bits : seen;
            }
          }
          all.see(seen);
        });
    return all.value();
  }

  // c (m, n) = a b over k, or added to c, where m, n and k are filled up.
  static void multiply(int64_t m, int64_t n, int64_t k, const Panels& a, const Panels& b, float* c,
                       int64_t c_row, bool add) {
    using Tiles = SumTiles<true, true>;
    for (int64_t j = 0; j < n; j += kPanel) {
      for (int64_t i = 0; i < m; i += kPanel) {
        float* sums = c + i * c_row + j;
        if (add) {
          Tiles::load(sums, c_row);
        } else {
          Tiles::clear();
        }
        add_panels<kPieces, Tiles>(a.at(i, 0).data, b.at(j, 0).data, ceil_div(k, kStep), {});
        Tiles::store(sums, c_row);
      }
    }
    asm volatile("" ::: "memory");  // the intrinsics do not say what memory they write
  }

  void forward_block(int64_t b, int64_t h, int64_t i, int64_t rows, const Panels& keys,
                     const Panels& values) const {
    const TileRegisters registers;
    constexpr int64_t block = kQueryBlock * kKeyBlock;
    const int64_t out_row = round_up(g.value_width, kPanel), query_size = size_of(kQueryBlock, g.width);
    Scratch scratch(static_cast<size_t>(block + kQueryBlock * out_row) * sizeof(float) +
                    static_cast<size_t>(query_size + size_of(kQueryBlock, kKeyBlock)) * sizeof(Pair));
    const Panels query{scratch.as<Pair>(), ceil_div(g.width, kStep)},
        p{query.data + query_size, kKeyBlock / kStep};
    float *s = reinterpret_cast<float*>(p.data + size_of(kQueryBlock, kKeyBlock)), *out = s + block;
    query.pack(row(g.query, b, h, i), g.query.row, 1, rows, g.width, true);
    alignas(64) float highest[kQueryBlock], sum[kQueryBlock], before[kQueryBlock];
    fill_row(highest, kQueryBlock, -kInf);
    fill_row(sum, kQueryBlock, 0.0f);
    const int64_t seen = keys_seen(i, rows);
    for (int64_t j = 0; j < seen; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, seen - j);
      multiply(rows, cols, g.width, query, keys.at(j, 0), s, kKeyBlock, false);
      mask(b, h, i, rows, j, cols, s);
      for (int64_t r = 0; r < rows; r += lanes) {
        weights(s + r * kKeyBlock, std::min(lanes, rows - r), cols, highest + r, sum + r, before + r,
                [&](int64_t l, int64_t c, Floats w0, Floats w1)
                    __attribute__((always_inline)) { p.split(w0, w1, r, c, l); });
      }
      for (int64_t r = 0; j > 0 && r < rows; ++r) {
        if (before[r] != 1) scale_row(out + r * out_row, out_row, before[r]);
      }
      multiply(rows, g.value_width, cols, p, values.at(0, j), out, out_row, j > 0);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* to = row_at<float>(g.out, b, h, i + r);
      const float* from = out + r * out_row;
      const float factor = sum[r] == 0 ? 0 : static_cast<float>(kUnit) / sum[r];
      if (sum[r] == 0) {  // no key seen
        fill_row(to, g.value_width, 0.0f);
      } else {
        for (int64_t c = 0; c < g.value_width; ++c) to[c] = from[c] * factor;
      }
    }
    write_sums(b, h, i, rows, highest, sum);
  }

  // What a task of backward holds: right sides, and the transposed sums of gradients, of a head of the keys;
  // blocks of queries and scores.
  struct Backward {
    Panels keys_t, values_t, keys;                // right: (width, keys), (value_width, keys), (keys, width)
    Panels query, grad_out, query_t, grad_out_t;  // left: (queries, width), ...; transposed
    Panels p, ds, ds_left;                        // right: (queries, keys); left
    float *grad_keys, *grad_values;               // (width, keys), (value_width, keys)
    float *s, *dp, *grad_query;
  };
  // Cuts memory, or nullptr to measure it, into the parts of w; returns their size.
  size_t place(Backward& w, char* memory) const {
    int64_t used = 0;
    const auto take = [&](float*& part, int64_t count) {
      part = reinterpret_cast<float*>(memory + used);
      used += round_up(count * int64_t{sizeof(float)}, 64);
    };
    const auto panels = [&](Panels& part, int64_t lanes, int64_t k) {
      part = {reinterpret_cast<Pair*>(memory + used), ceil_div(k, kStep)};
      used += size_of(lanes, k) * int64_t{sizeof(Pair)};
    };
    const int64_t cols = round_up(g.keys, kPanel);
    panels(w.keys_t, g.keys, g.width);
    panels(w.values_t, g.keys, g.value_width);
    panels(w.keys, g.width, g.keys);
    panels(w.query, kQueryBlock, g.width);
    panels(w.grad_out, kQueryBlock, g.value_width);
    panels(w.query_t, g.width, kQueryBlock);
    panels(w.grad_out_t, g.value_width, kQueryBlock);
    panels(w.p, kKeyBlock, kQueryBlock);
    panels(w.ds, kKeyBlock, kQueryBlock);
    panels(w.ds_left, kQueryBlock, kKeyBlock);
    take(w.grad_keys, round_up(g.width, kPanel) * cols);
    take(w.grad_values, round_up(g.value_width, kPanel) * cols);
    take(w.s, kQueryBlock * kKeyBlock);
    take(w.dp, kQueryBlock * kKeyBlock);
    take(w.grad_query, kQueryBlock * round_up(g.width, kPanel));
    return static_cast<size_t>(used);
  }

  void backward_head(int64_t b, int64_t key_head) const {
    const TileRegisters registers;
    Backward w;
    Scratch scratch(place(w, nullptr));
    place(w, scratch.as<char>());
    const float *key = row(g.key, b, key_head, 0), *value = row(g.value, b, key_head, 0);
    w.keys_t.pack(key, g.key.row, 1, g.keys, g.width, false);
    w.values_t.pack(value, g.value.row, 1, g.keys, g.value_width, false);
    w.keys.pack(key, 1, g.key.row, g.width, g.keys, false);
    const int64_t cols = round_up(g.keys, kPanel);
    fill_row(w.grad_keys, round_up(g.width, kPanel) * cols, 0.0f);
    fill_row(w.grad_values, round_up(g.value_width, kPanel) * cols, 0.0f);
    for (int64_t h = key_head * g.group; h < (key_head + 1) * g.group; ++h) {
      for (int64_t i = 0; i < g.queries; i += query_block())
        backward_block(b, h, i, std::min(query_block(), g.queries - i), w);
    }
    add_columns(g.grad_key, b, key_head, w.grad_keys, cols, g.width, static_cast<float>(g.scale * kUnit));
    add_columns(g.grad_value, b, key_head, w.grad_values, cols, g.value_width, static_cast<float>(kUnit));
  }

  struct RowSums {
    float highest, log_sum, dot;  // dot: of the result and its gradient
  };
  // See Attention<T>::backward_block(); the scale comes last.
  void backward_block(int64_t b, int64_t h, int64_t i, int64_t rows, const Backward& w) const {
    const float *query = row(g.query, b, h, i), *grad_out = row(g.grad_out, b, h, i);
    w.query.pack(query, g.query.row, 1, rows, g.width, true);
    w.grad_out.pack(grad_out, g.grad_out.row, 1, rows, g.value_width, true);
    w.query_t.pack(query, 1, g.query.row, g.width, rows, true);
    w.grad_out_t.pack(grad_out, 1, g.grad_out.row, g.value_width, rows, true);
    // Rows that fill up a block weigh nothing.
    RowSums sums[kQueryBlock];
    for (int64_t r = 0; r < kQueryBlock; ++r) sums[r] = {0, kInf, 0};
    for (int64_t r = 0; r < rows; ++r) {
      sums[r] = {row_sums(g.highest, b, h, i)[r], row_sums(g.log_sum, b, h, i)[r],
                 dot_of(row_at<float>(g.out, b, h, i + r), grad_out + r * g.grad_out.row)};
    }
    const int64_t seen = keys_seen(i, rows), query_row = round_up(g.width, kPanel);
    for (int64_t j = 0; j < seen; j += kKeyBlock) {
      const int64_t cols = std::min(kKeyBlock, seen - j), keys = round_up(g.keys, kPanel);
      multiply(rows, cols, g.width, w.query, w.keys_t.at(j, 0), w.s, kKeyBlock, false);
      mask(b, h, i, rows, j, cols, w.s);
      multiply(rows, cols, g.value_width, w.grad_out, w.values_t.at(j, 0), w.dp, kKeyBlock, false);
      grad_scores(round_up(rows, kStep), cols, sums, w);
      multiply(g.value_width, cols, rows, w.grad_out_t, w.p, w.grad_values + j, keys, true);
      multiply(g.width, cols, rows, w.query_t, w.ds, w.grad_keys + j, keys, true);
      multiply(rows, g.width, cols, w.ds_left, w.keys.at(0, j), w.grad_query, query_row, j > 0);
    }
    const auto factor = static_cast<float>(g.scale * kUnit);
    for (int64_t r = 0; r < rows && seen > 0; ++r) {
      float* to = row_at<float>(g.grad_query, b, h, i + r);
      for (int64_t c = 0; c < g.width; ++c) to[c] = w.grad_query[r * query_row + c] * factor;
    }
  }
  float dot_of(const float* a, const float* b) const {
    Lanes<float> sum(0);
    read_lanes2(a, b, g.value_width, [&](const float* p, const float* q) __attribute__((always_inline)) {
      for (int l = 0; l < kRowLanes; ++l) sum[l] += p[l] * q[l];
    });
    return sum.sum();
  }
  // Scores, and the products of grad_out with values, become weights on the right, and gradients of scores on
  // both sides. Rows r and r + 16 of a step are a row of a right side.
  void grad_scores(int64_t rows, int64_t cols, const RowSums* sums, const Backward& w) const {
    const float by = factor();
    for (int64_t r = 0; r < rows; r = r % kStep == kTile - 1 ? r + kTile + 1 : r + 1) {
      for (int64_t c = 0; c < cols; c += 2 * lanes) {
        Floats weight[2][2], d[2][2];  // of each row, two vectors
#pragma GCC unroll 2
        for (int64_t l = 0; l < 2; ++l) {
          const RowSums& row = sums[r + l * kTile];
          const int64_t at = (r + l * kTile) * kKeyBlock + c;
#pragma GCC unroll 2
          for (int64_t v = 0; v < 2; ++v) {
            weight[l][v] = this->weight(load_vector(w.s + at + v * lanes), by, row.highest, row.log_sum);
            d[l][v] =
                weight[l][v] * (load_vector(w.dp + at + v * lanes) * static_cast<float>(kUnit) - row.dot);
          }
        }
#pragma GCC unroll 2
        for (int64_t v = 0; v < 2; ++v) {
          w.p.split(weight[0][v], weight[1][v], c + v * lanes, r, r % kTile);
          w.ds.split(d[0][v], d[1][v], c + v * lanes, r, r % kTile);
          w.ds_left.split(d[v][0], d[v][1], r + v * kTile, c, r % kTile);
        }
      }
    }
  }
  // Row c of the result has column c of `from`, (width, row), added.
  void add_columns(const AttentionRows<void*>& to, int64_t b, int64_t h, const float* from, int64_t row,
                   int64_t width, float factor) const {
    for (int64_t c = 0; c < g.keys; c += lanes) {
      for (int64_t w = 0; w < width; w += lanes) {
        Floats square[lanes] = {};
        for (int64_t l = 0; l < std::min(lanes, width - w); ++l)
          square[l] = load_vector(from + (w + l) * row + c) * factor;
        transpose_square<float>(square);
        const int64_t n = std::min(lanes, width - w);
        for (int64_t l = 0; l < std::min(lanes, g.keys - c); ++l) {
          float* at = row_at<float>(to, b, h, c + l) + w;
          store_partial(at, load_partial(at, n) + square[l], n);
        }
      }
    }
  }

  static constexpr int64_t kPackedBytes = int64_t{1}
                                          << 26;  // of keys and values at a time, where heads are many
};

}  // namespace
}  // namespace ctorch::CT_ISA
