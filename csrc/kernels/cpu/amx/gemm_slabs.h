// The loops of a matrix product around the tiles: slabs of the operands that are packed at a time, tasks for
// the threads.
#pragma once

#include <algorithm>
#include <optional>

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
  // Steps of k that are summed in tiles before the sum is added to those of other blocks; up to longest_block
  // are one. To store and add 2 x 2 tiles takes 200 ns (measured), an eighth of the time of 256 numbers in k
  // and six products; but the error of a running sum grows with the square root of its length at least, and
  // that of 512 is larger than that of multiply-adds. Where pieces are left out, or sums are rounded to
  // bfloat16, it does not matter.
  int64_t block_steps, longest_block;
  // Depth of a slab: with 4096 columns of B, 32 or 48 MB.
  int64_t slab_depth;
  PackTile<T> pack;
  const PanelKernels& kernels;
};

inline constexpr TileFormat<float> kHighest = {3, 8, 8, 2048, pack_floats<3>, kPanelKernels<3>};
inline constexpr TileFormat<float> kHigh = {2, 16, 32, 2048, pack_floats<2>, kPanelKernels<2>};
inline constexpr TileFormat<float> kMedium = {1, 32, 64, 4096, pack_floats<1>, kPanelKernels<1>};
inline constexpr TileFormat<BFloat16> kBFloat16 = {1, 32, 64, 4096, pack_bfloat16, kPanelKernels<1>};

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
  // usable(largest of a panel of A, of a panel of B, k) says whether their numbers are fit for tiles; where
  // they are not, otherwise(product) computes that part of the result.
  template <class Usable, class Otherwise>
  void run(Usable&& usable, Otherwise&& otherwise) {
    const char* kept = static_cast<const char*>(q_.b_panels);
    std::optional<Scratch> a_buffer, b_buffer;
    const auto room = [&](std::optional<Scratch>& buffer, int64_t lanes) {
      if (!buffer) buffer.emplace(packed_bytes(lanes));
      return buffer->template as<Pair>();
    };
    Scratch largest(static_cast<size_t>(panels(slab_rows_) + panels(slab_cols_)) * sizeof(uint32_t));
    a_largest_ = largest.as<uint32_t>();
    for_each_slab_of_b([&](int64_t j, int64_t p, int64_t at) {
      uint32_t* b_largest = a_largest_ + panels(slab_rows_);
      for (int64_t i = 0; i < q_.m; i += slab_rows_) {
        take_slab(i, j, p);
        const Plan plan = make_plan(kept != nullptr);
        std::fill_n(a_largest_, panels(s_.m), 0u);
        a_packed_ = plan.a_by_task ? nullptr : room(a_buffer, slab_rows_);
        Pair* b_packed = kept || plan.b_by_task ? nullptr : room(b_buffer, slab_cols_);
        b_largest_ = kept ? reinterpret_cast<const uint32_t*>(kept + at) : b_largest;
        b_packed_ = kept ? reinterpret_cast<const Pair*>(kept + at + largest_bytes(s_.n)) : b_packed;
        if (!kept && i == 0) std::fill_n(b_largest, panels(s_.n), 0u);
        pack(a_packed_, i > 0 ? nullptr : b_packed, b_largest);
        multiply(plan, b_largest, usable);
        compute_unfit(usable, otherwise);
      }
    });
  }

  // A form of B that can be kept: of each slab, the greatest magnitudes of its panels, and the panels. It
  // depends on B alone.
  int64_t prepared_bytes() {
    int64_t bytes = 0;
    for_each_slab_of_b([&](int64_t j, int64_t, int64_t at) { bytes = at + slab_bytes(j); });
    return bytes;
  }
  void prepare(void* to) {
    for_each_slab_of_b([&](int64_t j, int64_t p, int64_t at) {
      char* slab = static_cast<char*>(to) + at;
      take_slab(0, j, p);
      auto* largest = reinterpret_cast<uint32_t*>(slab);
      std::fill_n(largest, panels(s_.n), 0u);
      pack(nullptr, reinterpret_cast<Pair*>(slab + largest_bytes(s_.n)), largest);
    });
  }

 private:
  static int64_t panels(int64_t lanes) { return ceil_div(lanes, kPanel); }
  // In front of a slab that is kept; whole cache lines, as tiles want their rows in one.
  static int64_t largest_bytes(int64_t lanes) {
    return ceil_div(panels(lanes) * int64_t{sizeof(uint32_t)}, 64) * 64;
  }
  int64_t slab_bytes(int64_t j) const {
    const int64_t lanes = std::min(slab_cols_, q_.n - j);
    return largest_bytes(lanes) + static_cast<int64_t>(packed_bytes(lanes));
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
    return static_cast<size_t>(panels(lanes) * (slab_k_ / kStep) * step_pairs_) * sizeof(Pair);
  }

  void take_slab(int64_t i, int64_t j, int64_t p) {
    s_ = part(q_, i, std::min(slab_rows_, q_.m - i), j, std::min(slab_cols_, q_.n - j));
    s_.k = std::min(slab_k_, q_.k - p);
    s_.a += p * q_.a_k;
    s_.b += p * q_.b_k;
    s_.out = for_k_block(s_.out, p == 0, p + s_.k == q_.k);
    const PanelProduct product = panel_product();
    steps_ = product.steps, block_steps_ = product.block_steps, blocks_ = product.blocks();
  }
  // Rows [i, i + m) and columns [j, j + n) of the result.
  static Product<T, float, O> part(Product<T, float, O> q, int64_t i, int64_t m, int64_t j, int64_t n) {
    q.m = m, q.n = n;
    q.a += i * q.a_row;
    q.b += j * q.b_col;
    q.out.c += i * q.out.c_row + j * q.out.c_col;
    if (q.out.d) q.out.d += i * q.out.d_row + j * q.out.d_col;
    return q;
  }

  PanelProduct panel_product() const {
    const int64_t steps = ceil_div(s_.k, kStep);
    return PanelProduct(s_.m, s_.n, steps, steps <= format_.longest_block ? steps : format_.block_steps,
                        format_.kernels);
  }

  // How a slab is computed. An operand whose panels serve one task each is packed by these tasks, a block of
  // k right before it is multiplied: packed as a whole, it would go to memory and back (64 x 4096 by 4096 x
  // 4096: 100 MB).
  struct Plan {
    Rectangles tasks;
    bool a_by_task, b_by_task;
  };
  Plan make_plan(bool kept) const {
    constexpr int64_t kFew = 8, kTaskBytes = int64_t{1} << 19;
    const PanelProduct product = panel_product();
    const int64_t wide = std::clamp<int64_t>(kTaskBytes / product.panel_bytes(), 1, kMostByTask);
    if (!kept && panels(s_.m) <= kFew) {
      const Rectangles tasks = product.tasks(wide);
      if (tasks.take_all_rows()) return {tasks, false, true};
    }
    const Rectangles tasks = product.tasks(kWidest);
    const bool a_by_task = panels(s_.n) <= kFew && tasks.high() <= kMostByTask && tasks.take_all_cols();
    return {tasks, a_by_task, false};
  }

  // ---- packing

  struct Operand {
    Strip<T> strip;
    int64_t lanes;
    bool lanes_are_rows;
  };
  Operand a_operand() const { return {{s_.a, s_.a_row, s_.a_k}, s_.m, true}; }
  Operand b_operand() const { return {{s_.b, s_.b_col, s_.b_k}, s_.n, false}; }

  // Packs `count` steps from `step` on of up to kMostByTask panels from `first` on, each `panel` after the
  // one before it. Raises largest[panel] to the greatest magnitude that is met in it.
  void pack_panels(const Operand& o, int64_t first, int64_t panels, int64_t step, int64_t count, Pair* to,
                   int64_t panel, uint32_t* largest) const {
    const int64_t first_lane = first * kPanel;
    const int64_t tiles = ceil_div(std::min(panels * kPanel, o.lanes - first_lane), kTile);
    // In the order of memory: pages and lines are used up before the next are fetched.
    const bool tiles_inside = o.strip.lane == 1;
    Bits seen[kMostByTask] = {};
    for (int64_t i = 0; i < tiles * count; ++i) {
      const int64_t tile = tiles_inside ? i % tiles : i / count, at = tiles_inside ? i / tiles : i % count;
      const int64_t lane = first_lane + tile * kTile, k = (step + at) * kStep;
      const Strip<T> strip = {o.strip.data + lane * o.strip.lane + k * o.strip.step, o.strip.lane,
                              o.strip.step};
      format_.pack(to + tile / 2 * panel + at * step_pairs_ + tile % 2 * kTilePairs, strip,
                   std::min(kTile, o.lanes - lane), std::min(kStep, s_.k - k), o.lanes_are_rows,
                   seen[tile / 2]);
    }
    for (int64_t i = 0; i < panels; ++i)
      largest[first + i] = std::max(largest[first + i], bit_cast<uint32_t>(greatest(&seen[i], 1)));
  }

  // Whole operands; null: not this one. A unit of work is a block of k of a few panels: whole cache lines of
  // operands that lie along the panels.
  void pack(Pair* a, Pair* b, uint32_t* b_largest) {
    constexpr int64_t kUnitPanels = 4;
    const auto units = [&](const Operand& o) { return ceil_div(panels(o.lanes), kUnitPanels); };
    const int64_t a_units = a ? units(a_operand()) : 0, b_units = b ? units(b_operand()) : 0;
    // Of each block its own, so that no two threads write to the same.
    const int64_t all_panels = (a_units + b_units) * kUnitPanels;
    Scratch buffer(static_cast<size_t>(blocks_ * all_panels) * sizeof(uint32_t));
    uint32_t* largest = buffer.as<uint32_t>();
    std::fill_n(largest, blocks_ * all_panels, 0u);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (kUnitPanels * kPanel * block_steps_ * kStep));
    parallel_for(0, (a_units + b_units) * blocks_, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t unit = i / blocks_, block = i % blocks_, step = block * block_steps_;
        const bool of_a = unit < a_units;
        const Operand o = of_a ? a_operand() : b_operand();
        const int64_t first = (of_a ? unit : unit - a_units) * kUnitPanels;
        Pair* to_panels = (of_a ? a : b) + (first * steps_ + step) * step_pairs_;
        pack_panels(o, first, std::min(kUnitPanels, panels(o.lanes) - first), step,
                    std::min(block_steps_, steps_ - step), to_panels, steps_ * step_pairs_,
                    largest + block * all_panels + (of_a ? 0 : a_units * kUnitPanels));
      }
    });
    for (int64_t block = 0; block < blocks_; ++block) {
      const uint32_t* found = largest + block * all_panels;
      for (int64_t i = 0; a && i < panels(s_.m); ++i) a_largest_[i] = std::max(a_largest_[i], found[i]);
      found += a_units * kUnitPanels;
      for (int64_t j = 0; b && j < panels(s_.n); ++j) b_largest[j] = std::max(b_largest[j], found[j]);
    }
  }

  // ---- products

  template <class Usable>
  void multiply(const Plan& plan, uint32_t* b_largest, const Usable& usable) {
    if (plan.a_by_task) return multiply_by<true, false>(plan, a_largest_, usable);
    if (plan.b_by_task) return multiply_by<false, true>(plan, b_largest, usable);
    if (all_unfit(usable)) return;
    multiply_by<false, false>(plan, nullptr, usable);
  }
  template <bool kPacksA, bool kPacksB, class Usable>
  void multiply_by(const Plan& plan, uint32_t* largest, const Usable& usable) {
    const PanelProduct product = panel_product();
    parallel_for(0, plan.tasks.count(), plan.tasks.grain, [&](int64_t from, int64_t to) {
      TileRegisters tiles;
      for (int64_t task = from; task < to; ++task) {
        const Rectangle r = plan.tasks.at(task);
        TaskPanels<kPacksA, kPacksB, Usable> source(*this, r, largest, usable);
        RectangleSums(product, source).run(r);
      }
    });
  }

  // The source of a rectangle's sums.
  template <bool kPacksA, bool kPacksB, class Usable>
  class TaskPanels {
   public:
    static constexpr bool a_is_far = !kPacksA, b_is_far = !kPacksB;
    TaskPanels(const TileProduct& p, const Rectangle& r, uint32_t* largest, const Usable& usable)
        : p_(p),
          usable_(usable),
          first_(kPacksA ? r.i_from : r.j_from),
          count_(kPacksA   ? r.i_to - r.i_from
                 : kPacksB ? r.j_to - r.j_from
                           : 0),
          largest_(largest),
          memory_(static_cast<size_t>(count_ * panel()) * sizeof(Pair)) {}

    void begin(int64_t step, int64_t count) {
      if constexpr (kPacksA || kPacksB)
        p_.pack_panels(kPacksA ? p_.a_operand() : p_.b_operand(), first_, count_, step, count, own(first_),
                       panel(), largest_);
    }
    const Pair* a(int64_t i, int64_t step) const {
      return kPacksA ? own(i) : p_.a_packed_ + (i * p_.steps_ + step) * p_.step_pairs_;
    }
    const Pair* b(int64_t j, int64_t step) const {
      return kPacksB ? own(j) : p_.b_packed_ + (j * p_.steps_ + step) * p_.step_pairs_;
    }
    void expect(int64_t i, int64_t j) const {
      prefetch_tile(p_.s_.out, i * kPanel, j * kPanel, p_.rows(i), p_.cols(j));
    }
    void write(int64_t i, int64_t j, const float* sums) const {
      if (!p_.fit(usable_, i, j)) return;
      write_tile(p_.s_.out, i * kPanel, j * kPanel, p_.rows(i), p_.cols(j), sums, kPanel);
    }

   private:
    int64_t panel() const { return p_.block_steps_ * p_.step_pairs_; }
    Pair* own(int64_t i) const { return memory_.template as<Pair>() + (i - first_) * panel(); }

    const TileProduct& p_;
    const Usable& usable_;
    const int64_t first_, count_;
    uint32_t* largest_;
    const Scratch memory_;
  };
  int64_t rows(int64_t i) const { return std::min(kPanel, s_.m - i * kPanel); }
  int64_t cols(int64_t j) const { return std::min(kPanel, s_.n - j * kPanel); }

  // ---- numbers that are not fit for tiles

  template <class Usable>
  bool fit(const Usable& usable, int64_t i, int64_t j) const {
    return usable(bit_cast<float>(a_largest_[i]), bit_cast<float>(b_largest_[j]), s_.k);
  }
  static float greatest_of(const uint32_t* largest, int64_t count) {
    return bit_cast<float>(*std::max_element(largest, largest + count));
  }
  template <class Usable>
  bool all_fit(const Usable& usable) const {
    return usable(greatest_of(a_largest_, panels(s_.m)), greatest_of(b_largest_, panels(s_.n)), s_.k);
  }
  template <class Usable>
  bool all_unfit(const Usable& usable) const {
    if (all_fit(usable)) return false;
    for (int64_t j = 0; j < panels(s_.n); ++j) {
      for (int64_t i = 0; i < panels(s_.m); ++i) {
        if (fit(usable, i, j)) return false;
      }
    }
    return true;
  }
  template <class Usable, class Otherwise>
  void compute_unfit(const Usable& usable, const Otherwise& otherwise) const {
    if (all_fit(usable)) return;
    if (all_unfit(usable)) return otherwise(s_);
    for (int64_t j = 0; j < panels(s_.n); ++j) {
      for (int64_t i = 0, end; i < panels(s_.m); i = end + 1) {
        for (end = i; end < panels(s_.m) && !fit(usable, end, j);) ++end;
        const int64_t m = std::min(end * kPanel, s_.m) - i * kPanel;
        if (m > 0) otherwise(part(s_, i * kPanel, m, j * kPanel, cols(j)));
      }
    }
  }

  static constexpr int64_t kWidest = 64;          // of a rectangle, in panels
  static constexpr int64_t kMostByTask = 16;      // panels that a task packs
  static constexpr int64_t kPackGrain = 1 << 15;  // elements to pack that are worth a thread

  const Product<T, float, O> q_;
  const TileFormat<T>& format_;
  const int64_t step_pairs_;  // of a panel
  int64_t slab_k_, slab_rows_, slab_cols_;
  // The slab at hand; what is packed of it, and the greatest magnitudes of its panels, as bits of floats.
  Product<T, float, O> s_{};
  int64_t steps_ = 0, block_steps_ = 0, blocks_ = 0;
  Pair* a_packed_ = nullptr;
  const Pair* b_packed_ = nullptr;
  uint32_t* a_largest_ = nullptr;
  const uint32_t* b_largest_ = nullptr;
};

}  // namespace
}  // namespace ctorch::CT_ISA
