// Distinct elements and slices.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/table.h"
#include "ops/index.h"
#include "ops/index_target.h"
#include "ops/sort.h"

namespace ctorch::ops {
namespace {

using Result = std::tuple<Tensor, Tensor, Tensor>;

Tensor none() { return empty(Dims{0}, DType::int64); }

Tensor as_line(const Tensor& t) {
  Tensor flat = contiguous(t);
  return flat.view_as({flat.numel()}, {1}, flat.offset());
}

// The lengths of the runs that begin where `first` is set.
Tensor run_lengths(const Tensor& first) {
  Tensor starts = nonzero_tuple(first)[0];
  const int64_t n = starts.numel(), *s = starts.data<const int64_t>();
  Tensor counts = empty(Dims{n}, DType::int64);
  for (int64_t i = 0; i < n; ++i) counts.data<int64_t>()[i] = (i + 1 < n ? s[i + 1] : first.numel()) - s[i];
  return counts;
}

// For element order[i] (i if null), the number of the run that holds position i.
Tensor run_numbers(const Tensor& first, const int64_t* order, IntList sizes) {
  Tensor inverse = empty(sizes, DType::int64);
  int64_t run = -1;
  for (int64_t i = 0; i < first.numel(); ++i) {
    run += first.data<const bool>()[i];
    inverse.data<int64_t>()[order ? order[i] : i] = run;
  }
  return inverse;
}

// Integers of a small range are counted instead of sorted: one pass, no random access beyond a table of this
// many entries.
constexpr int64_t kLargestCountTable = 1 << 20;

std::optional<Result> unique_by_counting(const Tensor& line, IntList sizes, bool return_inverse,
                                         bool return_counts) {
  const auto& kernels = cpu_kernels().sort;
  const int dt = static_cast<int>(line.dtype());
  const int64_t n = line.numel();
  if (!kernels.integer_range[dt] || line.dtype() == DType::uint64 || n == 0) return std::nullopt;
  int64_t low, high, range;
  kernels.integer_range[dt](line.data(), n, &low, &high);
  if (__builtin_sub_overflow(high, low, &range) || range >= kLargestCountTable || range > 4 * n)
    return std::nullopt;
  ++range;
  Tensor table = empty(Dims{range}, DType::int64);
  zero_(table);
  int64_t* counts = table.data<int64_t>();
  kernels.count_integers[dt](line.data(), n, low, counts);
  int64_t distinct = 0;
  for (int64_t i = 0; i < range; ++i) distinct += counts[i] > 0;
  Tensor values = empty(Dims{distinct}, line.dtype()),
         how_many = return_counts ? empty(Dims{distinct}, DType::int64) : none();
  Tensor inverse = none();
  visit_dtype<Integers>(line.dtype(), "unique", [&]<class T>() {
    for (int64_t i = 0, k = 0; i < range; ++i) {
      if (counts[i] == 0) continue;
      values.data<T>()[k] = static_cast<T>(low + i);
      if (return_counts) how_many.data<int64_t>()[k] = counts[i];
      counts[i] = k++;
    }
    if (return_inverse) {
      inverse = empty(sizes, DType::int64);
      for (int64_t i = 0; i < n; ++i)
        inverse.data<int64_t>()[i] = counts[static_cast<int64_t>(line.data<T>()[i]) - low];
    }
  });
  return Result{values, inverse, how_many};
}

Result runs_of(const Tensor& line, const int64_t* order, IntList sizes, bool return_inverse,
               bool return_counts) {
  Tensor first = empty(Dims{line.numel()}, DType::boolean);
  cpu_kernels().sort.run_starts[static_cast<int>(line.dtype())](line.data(), line.numel(),
                                                                first.data<bool>());
  return {masked_select(line, first, {}), return_inverse ? run_numbers(first, order, sizes) : none(),
          return_counts ? run_lengths(first) : none()};
}

// The slices along dim as rows (n, width) of a contiguous tensor.
Tensor rows_of(const Tensor& self, int64_t dim) {
  Dims sizes = self.sizes(), strides = self.strides();
  sizes.erase(dim);
  strides.erase(dim);
  sizes.insert(0, self.sizes()[dim]);
  strides.insert(0, self.strides()[dim]);
  return contiguous(self.view_as(std::move(sizes), std::move(strides), self.offset()));
}

// Runs of equal rows; order[i] is the row at place i.
Result row_runs(int64_t dim, const Tensor& rows, const std::vector<int64_t>& order, bool sorted,
                bool return_inverse, bool return_counts) {
  const int64_t n = rows.sizes()[0], width = n ? rows.numel() / n : 0;
  Tensor first = empty(Dims{n}, DType::boolean);
  Tensor differs = empty(Dims{2 * width}, rows.dtype()), flags = empty(Dims{2 * width}, DType::boolean);
  const int64_t bytes = width * rows.item_size();
  for (int64_t i = 0; i < n; ++i) {
    bool same_as_last =
        i > 0 && std::memcmp(rows.data() + order[i] * bytes, rows.data() + order[i - 1] * bytes,
                             static_cast<size_t>(bytes)) == 0;
    if (i > 0 && (!same_as_last || is_differentiable(rows.dtype()))) {
      // -0 equals 0, and NaN nothing: compare as numbers, by pairs.
      same_as_last = true;
      const int64_t item = rows.item_size();
      for (int64_t c = 0; c < width; ++c) {
        std::memcpy(differs.data() + 2 * c * item, rows.data() + order[i - 1] * bytes + c * item,
                    static_cast<size_t>(item));
        std::memcpy(differs.data() + (2 * c + 1) * item, rows.data() + order[i] * bytes + c * item,
                    static_cast<size_t>(item));
      }
      cpu_kernels().sort.run_starts[static_cast<int>(rows.dtype())](differs.data(), 2 * width,
                                                                    flags.data<bool>());
      for (int64_t c = 0; c < width; ++c) same_as_last &= !flags.data<bool>()[2 * c + 1];
    }
    first.data<bool>()[i] = !same_as_last;
  }
  Tensor starts = nonzero_tuple(first)[0];
  Tensor chosen = empty(starts.sizes(), DType::int64);
  for (int64_t i = 0; i < starts.numel(); ++i)
    chosen.data<int64_t>()[i] = order[static_cast<size_t>(starts.data<int64_t>()[i])];
  Tensor distinct = index_select(rows, 0, chosen, {});
  Dims sizes = distinct.sizes(), strides = distinct.strides();
  sizes.erase(0);
  strides.erase(0);
  sizes.insert(dim, distinct.sizes()[0]);
  strides.insert(dim, distinct.strides()[0]);
  return {distinct.view_as(std::move(sizes), std::move(strides), 0),
          return_inverse ? run_numbers(first, sorted ? order.data() : nullptr, Dims{n}) : none(),
          return_counts ? run_lengths(first) : none()};
}

void check_rows(const Tensor& self, int64_t dim, const char* op) {
  bool empty_slices = false;
  for (int64_t d = 0; d < self.dim(); ++d) empty_slices |= d != dim && self.sizes()[d] == 0;
  check(self.sizes()[dim] == 0 || !empty_slices, op,
        ": There are 0 sized dimensions, and they aren't selected, so unique cannot be applied");
}

}  // namespace

Result unique(const Tensor& self, bool return_inverse, bool return_counts) {
  Tensor line = as_line(self);
  if (auto counted = unique_by_counting(line, self.sizes(), return_inverse, return_counts)) return *counted;
  if (!return_inverse) {
    auto [values, order] = sort(line, 0, false, true);
    return runs_of(values, nullptr, self.sizes(), false, return_counts);
  }
  auto [values, order] = sort(line, 0, false, true);
  return runs_of(values, order.data<int64_t>(), self.sizes(), true, return_counts);
}

Result unique_dim(const Tensor& self, int64_t dim, bool return_inverse, bool return_counts) {
  dim = wrap_dim(dim, self.dim(), "unique");
  if (self.dim() == 0) return unique(self, return_inverse, return_counts);
  check_rows(self, dim, "unique");
  Tensor rows = rows_of(self, dim);
  const int64_t n = rows.sizes()[0], width = n ? rows.numel() / n * rows.item_size() : 0;
  auto kernel = cpu_kernels().sort.ordered_bytes[static_cast<int>(self.dtype())];
  check_implemented(kernel, "unique: not implemented for dtype ", self.dtype());
  Tensor keys = empty(Dims{rows.numel() * rows.item_size()}, DType::uint8);
  kernel(rows.data(), rows.numel(), keys.data<uint8_t>());
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const uint8_t* k = keys.data<const uint8_t>();
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::memcmp(k + a * width, k + b * width, static_cast<size_t>(width)) < 0;
  });
  return row_runs(dim, rows, order, true, return_inverse, return_counts);
}

Result unique_consecutive(const Tensor& self, bool return_inverse, bool return_counts,
                          std::optional<int64_t> dim) {
  if (!dim || self.dim() == 0) {
    if (dim) wrap_dim(*dim, 0, "unique_consecutive");
    return runs_of(as_line(self), nullptr, self.sizes(), return_inverse, return_counts);
  }
  const int64_t d = wrap_dim(*dim, self.dim(), "unique_consecutive");
  check_rows(self, d, "unique_consecutive");
  Tensor rows = rows_of(self, d);
  std::vector<int64_t> order(static_cast<size_t>(rows.sizes()[0]));
  std::iota(order.begin(), order.end(), 0);
  return row_runs(d, rows, order, false, return_inverse, return_counts);
}

}  // namespace ctorch::ops
