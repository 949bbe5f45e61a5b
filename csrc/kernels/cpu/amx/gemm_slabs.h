// The loops of a matrix product around the tiles: slabs of the operands that are packed at a time, tasks for
// the threads.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/amx/gemm_split.h"
#include "kernels/cpu/amx/panel_sums.h"
#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {
namespace {

// How operands of type T are packed and multiplied.
template <class T>
struct TileFormat {
  int64_t pieces;
  // Steps of k that are summed in tiles before the sum is added to those of other blocks: 2 x 2 tiles are
  // stored and added in some 150 cycles, one part in 20 of the time of 256 numbers in k and six products;
  // while the error of a running sum grows with the square root of its length at least, and panels of one
  // block (32 or 48 KB) pass through the L1.
  int64_t block_steps;
  // Depth of a slab: with 4096 columns of B, 32 or 48 MB.
  int64_t slab_depth;
  PackTile<T> pack;
  const PanelKernels& kernels;
};

template <class T, class O>
class TileProduct {
 public:
  TileProduct(const Product<T, float, O>& q, const TileFormat<T>& format)
      : q_(q), format_(format), step_pairs_(format.pieces * kPiecePairs) {
    const int64_t depths = ceil_div(q.k, format.slab_depth);
    slab_k_ = ceil_div(ceil_div(q.k, depths), kStep) * kStep;
    slab_rows_ = std::min(q.m, std::max<int64_t>(1024, (int64_t{1} << 21) / slab_k_ / kPanel * kPanel));
    slab_cols_ = std::min(q.n, std::max<int64_t>(4096, (int64_t{1} << 23) / slab_k_ / kPanel * kPanel));
  }

  // Every slab of the result (or of the sums so far, in k) is a product of its own, with its own addend.
  // Before its sums are computed, usable(largest of A, largest of B, k) says whether its numbers are fit for
  // tiles; where they are not, otherwise(product) computes it.
  template <class Usable, class Otherwise>
  void run(Usable&& usable, Otherwise&& otherwise) {
    const char* kept = static_cast<const char*>(q_.b_panels);
    Scratch a_buffer(packed_bytes(slab_rows_)), b_buffer(kept ? 0 : packed_bytes(slab_cols_));
    a_packed_ = a_buffer.as<Pair>();
    Pair* b_packed = b_buffer.as<Pair>();
    for_each_slab_of_b([&](int64_t j, int64_t p, int64_t at) {
      b_packed_ = kept ? reinterpret_cast<const Pair*>(kept + at + kLargestBytes) : b_packed;
      for (int64_t i = 0; i < q_.m; i += slab_rows_) {
        take_slab(i, j, p);
        pack(a_packed_, kept || i > 0 ? nullptr : b_packed);
        if (kept) b_largest_ = *reinterpret_cast<const float*>(kept + at);
        usable(a_largest_, b_largest_, s_.k) ? multiply() : otherwise(s_);
      }
    });
  }

  // A form of B that can be kept: of each slab, the greatest magnitude, and the packed panels. It depends on
  // B alone.
  int64_t prepared_bytes() {
    int64_t bytes = 0;
    for_each_slab_of_b([&](int64_t j, int64_t, int64_t at) { bytes = at + slab_bytes(j); });
    return bytes;
  }
  void prepare(void* to) {
    for_each_slab_of_b([&](int64_t j, int64_t p, int64_t at) {
      char* slab = static_cast<char*>(to) + at;
      take_slab(0, j, p);
      pack(nullptr, reinterpret_cast<Pair*>(slab + kLargestBytes));
      *reinterpret_cast<float*>(slab) = b_largest_;
    });
  }

 private:
  // In front of a slab that is kept; a cache line, as tiles want their rows in one.
  static constexpr int64_t kLargestBytes = 64;
  int64_t slab_bytes(int64_t j) const {
    return kLargestBytes + static_cast<int64_t>(packed_bytes(std::min(slab_cols_, q_.n - j)));
  }
  // Calls visit(first column, first in k, where a kept one begins).
  template <class Visit>
  void for_each_slab_of_b(Visit&& visit) {
    int64_t at = 0;
    for (int64_t j = 0; j < q_.n; j += slab_cols_) {
      for (int64_t p = 0; p < q_.k; p += slab_k_, at += slab_bytes(j)) visit(j, p, at);
    }
  }

  size_t packed_bytes(int64_t lanes) const {
    return static_cast<size_t>(ceil_div(lanes, kPanel) * (slab_k_ / kStep) * step_pairs_) * sizeof(Pair);
  }

  void take_slab(int64_t i, int64_t j, int64_t p) {
    s_ = q_;
    s_.m = std::min(slab_rows_, q_.m - i);
    s_.n = std::min(slab_cols_, q_.n - j);
    s_.k = std::min(slab_k_, q_.k - p);
    s_.a += i * q_.a_row + p * q_.a_k;
    s_.b += p * q_.b_k + j * q_.b_col;
    s_.out.c += i * q_.out.c_row + j * q_.out.c_col;
    if (q_.out.d) s_.out.d += i * q_.out.d_row + j * q_.out.d_col;
    s_.out = for_k_block(s_.out, p == 0, p + s_.k == q_.k);
    const PanelProduct product = panel_product();
    steps_ = product.steps, block_steps_ = product.block_steps, blocks_ = product.blocks();
  }

  // A unit of work is a block of k of a few panels: whole cache lines of operands that lie along the panels.
  void pack(Pair* a, Pair* b) {
    const int64_t a_units = a ? ceil_div(s_.m, kUnitLanes) * blocks_ : 0;
    const int64_t b_units = b ? ceil_div(s_.n, kUnitLanes) * blocks_ : 0;
    Scratch largest_buffer(static_cast<size_t>(a_units + b_units) * sizeof(Bits));
    Bits* largest = largest_buffer.as<Bits>();
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (kUnitLanes * block_steps_ * kStep));
    parallel_for(0, a_units + b_units, grain, [&](int64_t from, int64_t to) {
      for (int64_t unit = from; unit < to; ++unit) {
        if (unit < a_units) {
          pack_unit(a, {s_.a, s_.a_row, s_.a_k}, s_.m, unit, true, largest[unit]);
        } else {
          pack_unit(b, {s_.b, s_.b_col, s_.b_k}, s_.n, unit - a_units, false, largest[unit]);
        }
      }
    });
    if (a) a_largest_ = greatest(largest, a_units);
    if (b) b_largest_ = greatest(largest + a_units, b_units);
  }

  void pack_unit(Pair* packed, Strip<T> strip, int64_t lanes, int64_t unit, bool lanes_are_rows,
                 Bits& largest) {
    const int64_t first_lane = unit / blocks_ * kUnitLanes, first_step = unit % blocks_ * block_steps_;
    const int64_t tiles = ceil_div(std::min(kUnitLanes, lanes - first_lane), kTile);
    const int64_t steps = std::min(block_steps_, steps_ - first_step);
    // In the order of memory: pages and lines are used up before the next are fetched.
    const bool tiles_inside = strip.lane == 1;
    Bits seen = {};
    for (int64_t i = 0; i < tiles * steps; ++i) {
      const int64_t lane = first_lane + kTile * (tiles_inside ? i % tiles : i / steps);
      const int64_t step = first_step + (tiles_inside ? i / tiles : i % steps);
      Pair* to = packed + (lane / kPanel * steps_ + step) * step_pairs_ + lane % kPanel / kTile * kTilePairs;
      const Strip<T> part = {strip.data + lane * strip.lane + step * kStep * strip.step, strip.lane,
                             strip.step};
      format_.pack(to, part, std::min(kTile, lanes - lane), std::min(kStep, s_.k - step * kStep),
                   lanes_are_rows, seen);
    }
    largest = seen;
  }

  void multiply() {
    const PanelProduct product = panel_product();
    const Rectangles tasks = product.tasks(kWidest);
    parallel_for(0, tasks.count(), tasks.grain, [&](int64_t from, int64_t to) {
      TileRegisters tiles;
      RectangleSums sums(product, *this);
      for (int64_t task = from; task < to; ++task) sums.run(tasks.at(task));
    });
  }
  // Two blocks save less than the room for their sums costs.
  PanelProduct panel_product() const {
    const int64_t steps = ceil_div(s_.k, kStep), most = format_.block_steps;
    return PanelProduct(s_.m, s_.n, steps, steps <= 2 * most ? steps : most, format_.kernels);
  }

  // For RectangleSums.
  template <class Source>
  friend class RectangleSums;
  static constexpr bool a_is_far = true, b_is_far = true;
  void begin(int64_t, int64_t) const {}
  const Pair* a(int64_t i, int64_t step) const { return a_packed_ + (i * steps_ + step) * step_pairs_; }
  const Pair* b(int64_t j, int64_t step) const { return b_packed_ + (j * steps_ + step) * step_pairs_; }
  void expect(int64_t i, int64_t j) const {
    prefetch_tile(s_.out, i * kPanel, j * kPanel, std::min(kPanel, s_.m - i * kPanel),
                  std::min(kPanel, s_.n - j * kPanel));
  }
  void write(int64_t i, int64_t j, const float* sums) const {
    write_tile(s_.out, i * kPanel, j * kPanel, std::min(kPanel, s_.m - i * kPanel),
               std::min(kPanel, s_.n - j * kPanel), sums, kPanel);
  }

  static constexpr int64_t kWidest = 64;  // of a rectangle, in panels
  static constexpr int64_t kUnitLanes = 4 * kPanel;
  static constexpr int64_t kPackGrain = 1 << 15;  // elements to pack that are worth a thread

  const Product<T, float, O> q_;
  const TileFormat<T>& format_;
  const int64_t step_pairs_;  // of a panel
  int64_t slab_k_, slab_rows_, slab_cols_;
  Pair* a_packed_ = nullptr;
  const Pair* b_packed_ = nullptr;
  // The slab at hand.
  Product<T, float, O> s_{};
  int64_t steps_ = 0, block_steps_ = 0, blocks_ = 0;
  float a_largest_ = 0, b_largest_ = 0;
};

}  // namespace
}  // namespace ctorch::CT_ISA
