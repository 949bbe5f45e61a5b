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

// Whether some matrices of the batch have the same a, too large to stay in the L1: of most batches it is
// known at once that they have not.
inline bool shares_large_a(const GemmArgs& g) {
  constexpr int64_t kLeast = 16384;  // elements
  for (int dim = 0; dim < g.batch_dims; ++dim) {
    if (g.batch_size[dim] > 1 && g.a.batch[dim] == 0) return g.m * g.k > kLeast;
  }
  return false;
}

// A batch whose matrices share a, as one product: the columns of b, c and d, matrix after matrix. a is packed
// once then, and small matrices fill the register tiles.
class JoinedColumns {
 public:
  // Takes the dims along which a stays the same out of the batch; those of one matrix are left out too.
  explicit JoinedColumns(const GemmArgs& g) : from_(g), to_(g), product_(g) {
    from_.batch_dims = product_.batch_dims = 0;
    for (int dim = 0; dim < g.batch_dims; ++dim) {
      if (g.batch_size[dim] != 1) append(g.a.batch[dim] == 0 ? from_ : product_, g, dim);
    }
    count_ = count_matrices(from_);
    product_.n *= count_;
    to_ = from_;
    merge(from_, [&](int dim) { return follows(from_.b, from_.n, dim); });
    merge(to_,
          [&](int dim) { return follows(to_.c, to_.n, dim) && (!to_.d.data || follows(to_.d, to_.n, dim)); });
  }
  int64_t count() const { return count_; }
  // The product of all columns, of which a batch may be left.
  const GemmArgs& product() const { return product_; }
  // Whether the columns lie as those of one matrix.
  bool follow_on() const { return from_.batch_dims == 0 && to_.batch_dims == 0; }
  // Find the runs of columns [col, col + cols), at most one for each, of b, or of c and d; return their
  // number.
  int64_t find_runs_of_b(ColumnRun* runs, int64_t col, int64_t cols) const {
    return find_runs(from_, runs, col, cols);
  }
  int64_t find_runs_of_c(ColumnRun* runs, int64_t col, int64_t cols) const {
    return find_runs(to_, runs, col, cols);
  }

 private:
  static void append(GemmArgs& to, const GemmArgs& g, int dim) {
    const int at = to.batch_dims++;
    to.batch_size[at] = g.batch_size[dim];
    to.a.batch[at] = g.a.batch[dim], to.b.batch[at] = g.b.batch[dim];
    to.c.batch[at] = g.c.batch[dim], to.d.batch[at] = g.d.batch[dim];
  }
  template <class Operand>
  static bool follows(const Operand& o, int64_t n, int dim) {
    return o.batch[dim] == n * o.col;
  }
  // Makes matrices one whose columns follow one another in memory, of one operand at least.
  template <class Follows>
  static void merge(GemmArgs& g, Follows&& follows) {
    while (g.batch_dims > 0 && follows(g.batch_dims - 1)) g.n *= g.batch_size[--g.batch_dims];
  }
  static int64_t find_runs(const GemmArgs& g, ColumnRun* runs, int64_t col, int64_t cols) {
    int64_t n = 0;
    for (int64_t at = 0; at < cols; at += runs[n++].count) {
      const int64_t matrix = (col + at) / g.n, first = (col + at) % g.n;
      runs[n] = {at, std::min(cols - at, g.n - first), first, batch_offsets(g, matrix)};
    }
    return n;
  }

  GemmArgs from_, to_;  // the batch as b has it, and as c and d have it
  GemmArgs product_;
  int64_t count_;
};

}  // namespace
}  // namespace ctorch::CT_ISA
