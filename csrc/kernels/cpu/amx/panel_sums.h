// The loops of a product around the tiles, for a rectangle of pairs of panels of A and B.
#pragma once

#include <algorithm>

#include "core/scratch.h"
#include "kernels/cpu/amx/gemm_tiles.h"
#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {
namespace {

// Of an L2 of 2 MB, the sums of a rectangle, and its part of A in a block of k. Where there are several
// blocks, the part of the next one is on its way meanwhile.
inline constexpr int64_t kSumBytes = int64_t{1} << 19, kRowBytes = int64_t{1} << 20;

inline constexpr int64_t kPanelSums = kPanel * kPanel;
inline constexpr int64_t kPanelSumBytes = kPanelSums * int64_t{sizeof(float)};

// What is summed: m by n, over `steps` of k, of which block_steps at a time are summed in tiles.
struct PanelProduct {
  int64_t m, n, steps, block_steps;
  const PanelKernels* kernels;

  // Blocks of equal length of at most `most` steps.
  PanelProduct(int64_t m, int64_t n, int64_t steps, int64_t most, const PanelKernels& kernels)
      : m(m), n(n), steps(steps), block_steps(ceil_div(steps, ceil_div(steps, most))), kernels(&kernels) {}
  int64_t blocks() const { return ceil_div(steps, block_steps); }
  int64_t panel_bytes() const { return block_steps * kernels->pieces * kPiecePairs * int64_t{sizeof(Pair)}; }
  int64_t rows(int64_t i) const { return std::min(kPanel, m - i * kPanel); }
  int64_t cols(int64_t j) const { return std::min(kPanel, n - j * kPanel); }
  // Rectangles of at most `widest` columns and of rows of so many bytes; `narrowest`: see there.
  Rectangles tasks(int64_t widest, int64_t row_bytes = kRowBytes, int64_t narrowest = 1) const {
    const int64_t parts = blocks() > 1 ? 2 : 1;
    const int64_t high = std::clamp<int64_t>(row_bytes / parts / panel_bytes(), 4, 32);
    if (blocks() > 1) widest = std::min(widest, kSumBytes / kPanelSumBytes / high);
    return Rectangles(ceil_div(m, kPanel), ceil_div(n, kPanel), high, widest, kPanel * kPanel * steps * kStep,
                      narrowest);
  }
};

// Sums of the pairs of panels of a rectangle.
//
// Source says where packed panels lie, a(i, step) and b(j, step), and which of them have been packed long
// ago (a_is_far, b_is_far); begin(step, count) comes before the blocks of k that begin there; expect(i, j)
// when the sums of a pair will soon be whole; and write(i, j, sums) takes them, rows of kPanel.
template <class Source>
class RectangleSums {
 public:
  RectangleSums(const PanelProduct& product, Source& source) : p_(product), source_(source) {}

  // Blocks of k outermost: the rectangle's part of A in a block, and its sums, stay in the L2, while B's
  // panels go through the L1.
  void run(const Rectangle& r) {
    const int64_t wide = r.j_to - r.j_from, blocks = p_.blocks();
    // Sums are read by whole vectors, from the last row also beyond its end.
    alignas(64) float tiles[2][kPanelSums + kTile];
    const int64_t pairs = blocks == 1 ? 0 : (r.i_to - r.i_from) * wide;
    Scratch buffer(static_cast<size_t>(pairs * kPanelSums + kTile) * sizeof(float));
    float* sums = buffer.as<float>();
    // What TILESTORED has written can be read only once it is in the cache: the instructions for the next
    // pair are under way by then.
    Sum done{};
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t step = block * p_.block_steps, count = std::min(p_.block_steps, p_.steps - step);
      source_.begin(step, count);
      for (int64_t j = r.j_from; j < r.j_to; ++j) {
        for (int64_t i = r.i_from; i < r.i_to; ++i) {
          float* tile = tiles[done.tile == tiles[0]];
          float* sum = blocks == 1 ? tile : sums + ((i - r.i_from) * wide + j - r.j_from) * kPanelSums;
          const Sum next = {i, j, sum, tile, block == 0, block == blocks - 1};
          multiply(next, step, count, ahead(r, next, step, count));
          finish(done);
          done = next;
        }
      }
    }
    finish(done);
  }

 private:
  // A pair of panels whose product over a block of k is in `tile`, and whose sum over the blocks is in `sum`.
  struct Sum {
    int64_t i, j;
    float *sum, *tile;
    bool first, last;  // block of k; the first is written to `sum` at once
  };

  void multiply(const Sum& pair, int64_t step, int64_t count, const Ahead& ahead) {
    if (pair.last) source_.expect(pair.i, pair.j);
    p_.kernels->of[p_.rows(pair.i) > kTile][p_.cols(pair.j) > kTile](
        source_.a(pair.i, step), source_.b(pair.j, step), count, pair.first ? pair.sum : pair.tile, ahead);
  }

  // Each pair of a column of the rectangle asks for its part of the next column's panel of B, each pair of a
  // row for its part of the row's panel of A in the next block.
  Ahead ahead(const Rectangle& r, const Sum& pair, int64_t step, int64_t count) const {
    Ahead ahead;
    if (Source::b_is_far && (pair.j + 1 < r.j_to || !pair.last)) {
      const auto* next =
          pair.j + 1 < r.j_to ? source_.b(pair.j + 1, step) : source_.b(r.j_from, step + count);
      ahead.b = part(next, pair.i - r.i_from, r.i_to - r.i_from, count);
    }
    if (Source::a_is_far && !pair.last)
      ahead.a = part(source_.a(pair.i, step + count), pair.j - r.j_from, r.j_to - r.j_from, count);
    return ahead;
  }
  Ahead::Lines part(const Pair* panel, int64_t index, int64_t parts, int64_t count) const {
    const int64_t bytes = ceil_div(p_.panel_bytes(), 64 * parts * count) * 64;
    return {reinterpret_cast<const char*>(panel) + index * count * bytes, bytes};
  }

  void finish(const Sum& pair) {
    if (!pair.tile) return;  // none yet
    if (!pair.first) add(pair.sum, pair.tile, p_.rows(pair.i), p_.cols(pair.j));
    if (pair.last) source_.write(pair.i, pair.j, pair.sum);
  }

  static CT_INLINE void add(float* sum, const float* tile, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows * kPanel; i += kPanel) {
      for (int64_t j = i; j < i + cols; j += kTile)
        store_vector(sum + j, load_vector(sum + j) + load_vector(tile + j));
    }
  }

  const PanelProduct& p_;
  Source& source_;
};

}  // namespace
}  // namespace ctorch::CT_ISA
