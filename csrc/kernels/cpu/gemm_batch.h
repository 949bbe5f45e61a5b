// The matrices of a batch of products: where they lie, and those with the same a as one product.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "kernels/gemm.h"

namespace ctorch::CT_ISA {
namespace {

// Offsets of the operands of one matrix of the batch, in elements.
struct BatchOffsets {
  int64_t a = 0, b = 0, c = 0, d = 0;
};
inline BatchOffsets batch_offsets(const GemmArgs& g, int64_t index) {
  BatchOffsets at;
  for (int dim = g.batch_dims - 1; dim >= 0; --dim) {
    const int64_t i = index % g.batch_size[dim];
    index /= g.batch_size[dim];
    at.a += i * g.a.batch[dim];
    at.b += i * g.b.batch[dim];
    at.c += i * g.c.batch[dim];
    at.d += i * g.d.batch[dim];
  }
  return at;
}
inline int64_t count_matrices(const GemmArgs& g) {
  int64_t count = 1;
  for (int dim = 0; dim < g.batch_dims; ++dim) count *= g.batch_size[dim];
  return count;
}

// Run one product per matrix of the batch: in turn if each is large enough for all threads, else side by
// side.
template <class Body>
void for_each_matrix(const GemmArgs& g, Body&& body) {
  const int64_t batch = count_matrices(g);
  if (batch == 0 || g.m == 0 || g.n == 0) return;
  if (batch == 1) return body(batch_offsets(g, 0));
  constexpr int64_t kWorth = 1 << 17, kLarge = 1 << 23;  // multiply-adds: worth a thread; worth all threads
  const int64_t work = g.m * g.n * std::max<int64_t>(g.k, 1);
  if (work >= kLarge && batch < 4 * num_threads()) {
    for (int64_t i = 0; i < batch; ++i) body(batch_offsets(g, i));
    return;
  }
  parallel_for(0, batch, std::max<int64_t>(1, kWorth / work), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) body(batch_offsets(g, i));
  });
}

// Some columns of a product that lie in one matrix: columns [first, first + count) of that at `offset`, which
// are [at, at + count) of those asked for.
struct ColumnRun {
  int64_t at, count, first;
  BatchOffsets offset;
};

// A batch whose matrices share a, as one product: the columns of b, c and d, matrix after matrix. a is packed
// once then, and small matrices fill the register tiles.
class JoinedColumns {
 public:
  // Takes the dims along which a stays the same out of the batch; those of one matrix are left out too.
  explicit JoinedColumns(const GemmArgs& g) : joined_(g), others_(g) {
    joined_.batch_dims = others_.batch_dims = 0;
    for (int dim = 0; dim < g.batch_dims; ++dim) {
      if (g.batch_size[dim] != 1) append(g.a.batch[dim] == 0 ? joined_ : others_, g, dim);
    }
    count_ = count_matrices(joined_);
    others_.n *= count_;
  }
  int64_t count() const { return count_; }
  // The product of all columns, of which a batch may be left.
  const GemmArgs& product() const { return others_; }
  // Whether the columns lie as those of one matrix.
  bool follow_on() const {
    if (joined_.batch_dims != 1) return false;
    const auto follows = [&](const auto& o) { return o.batch[0] == joined_.n * o.col; };
    return follows(joined_.b) && follows(joined_.c) && (!joined_.d.data || follows(joined_.d));
  }
  // Finds the runs of columns [col, col + cols), at most one for each; returns their number.
  int64_t find_runs(ColumnRun* runs, int64_t col, int64_t cols) const {
    int64_t n = 0;
    for (int64_t at = 0; at < cols; at += runs[n++].count) {
      const int64_t matrix = (col + at) / joined_.n, first = (col + at) % joined_.n;
      runs[n] = {at, std::min(cols - at, joined_.n - first), first, batch_offsets(joined_, matrix)};
    }
    return n;
  }

 private:
  static void append(GemmArgs& to, const GemmArgs& g, int dim) {
    const int at = to.batch_dims++;
    to.batch_size[at] = g.batch_size[dim];
    to.a.batch[at] = g.a.batch[dim], to.b.batch[at] = g.b.batch[dim];
    to.c.batch[at] = g.c.batch[dim], to.d.batch[at] = g.d.batch[dim];
  }

  GemmArgs joined_, others_;
  int64_t count_;
};

}  // namespace
}  // namespace ctorch::CT_ISA
