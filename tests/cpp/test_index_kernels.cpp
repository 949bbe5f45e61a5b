// Index, mask and sort kernels against plain loops, at every level of the machine, on exactly sized buffers,
// so that a sanitizer sees each read or write outside of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/table.h"

namespace ctorch {
namespace {

class IndexKernels : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    level_ = static_cast<IsaLevel>(GetParam());
    if (level_ > best_isa()) GTEST_SKIP() << "this machine has no " << isa_name(level_);
  }
  const IndexTable& index() const { return cpu_kernels(level_).index; }
  const SortTable& sorts() const { return cpu_kernels(level_).sort; }

  int64_t random(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  template <class T>
  std::vector<T> numbers(int64_t n, int64_t range) {
    std::vector<T> out(static_cast<size_t>(n));
    for (T& v : out) v = static_cast<T>(random(range) - range / 2);
    return out;
  }

  std::mt19937_64 engine_{3};

 private:
  IsaLevel level_;
};

constexpr int kInt16 = static_cast<int>(DType::int16), kInt32 = static_cast<int>(DType::int32);
constexpr int kInt64 = static_cast<int>(DType::int64), kFloat = static_cast<int>(DType::float32);

std::vector<int64_t> stable_order(const int16_t* x, int64_t n, bool descending) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return descending ? x[a] > x[b] : x[a] < x[b]; });
  return order;
}

TEST_P(IndexKernels, SortTopkAndSelectAgree) {
  for (int round = 0; round < 200; ++round) {
    const int64_t n = random(4) ? random(200) + 1 : random(3000) + 1, lines = random(3) + 1,
                  k = random(n + 1);
    const bool descending = random(2);
    auto x = numbers<int16_t>(lines * n, random(2) ? 5 : 60000);
    std::vector<int16_t> values(x.size()), best_values(static_cast<size_t>(lines * k));
    std::vector<int64_t> order(x.size()), best(static_cast<size_t>(lines * k)), position, chosen(lines);
    sorts().sort[kInt16]({.lines = lines,
                          .length = n,
                          .descending = descending,
                          .in = x.data(),
                          .values = values.data(),
                          .indices = order.data()});
    sorts().topk[kInt16]({.lines = lines,
                          .length = n,
                          .k = k,
                          .largest = descending,
                          .in = x.data(),
                          .values = best_values.data(),
                          .indices = best.data()});
    for (int64_t line = 0; line < lines; ++line) position.push_back(random(n));
    sorts().select[kInt16](
        {.lines = lines, .length = n, .in = x.data(), .position = position.data(), .indices = chosen.data()});
    for (int64_t line = 0; line < lines; ++line) {
      const auto want = stable_order(x.data() + line * n, n, descending);
      ASSERT_TRUE(std::equal(want.begin(), want.end(), order.begin() + line * n)) << n;
      ASSERT_TRUE(std::equal(want.begin(), want.begin() + k, best.begin() + line * k)) << n << " " << k;
      const auto rising = stable_order(x.data() + line * n, n, false);
      ASSERT_EQ(chosen[static_cast<size_t>(line)],
                rising[static_cast<size_t>(position[static_cast<size_t>(line)])]);
    }
  }
}

TEST_P(IndexKernels, SortOfWideKeys) {
  for (int64_t n : {1, 17, 60, 5000, 40000}) {
    for (int shift : {0, 50}) {
      std::vector<int64_t> x(static_cast<size_t>(n)), values(x.size()), order(x.size());
      for (auto& v : x) v = static_cast<int64_t>(engine_()) >> shift;
      sorts().sort[kInt64]({.lines = 1,
                            .length = n,
                            .descending = false,
                            .in = x.data(),
                            .values = values.data(),
                            .indices = order.data()});
      ASSERT_TRUE(std::is_sorted(values.begin(), values.end()));
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(x[static_cast<size_t>(order[i])], values[static_cast<size_t>(i)]);
    }
  }
}

TEST_P(IndexKernels, Masks) {
  for (int round = 0; round < 300; ++round) {
    const int64_t n = random(3) ? random(100) : random(20000), density = random(4);
    std::vector<uint8_t> mask(static_cast<size_t>(n));
    for (auto& m : mask) m = density == 0 ? 0 : density == 1 ? random(2) : density == 2 ? random(20) == 0 : 3;
    std::vector<int64_t> starts(static_cast<size_t>(mask_blocks(n)));
    const int64_t count = index().count_mask(mask.data(), n, starts.data());
    ASSERT_EQ(count, std::count_if(mask.begin(), mask.end(), [](uint8_t m) { return m != 0; }));
    auto x = numbers<uint16_t>(n, 60000);
    std::vector<uint16_t> out(static_cast<size_t>(count)), back(x.size(), 0);
    std::vector<int64_t> at(static_cast<size_t>(count));
    index().masked_select[1](x.data(), mask.data(), n, starts.data(), out.data());
    index().masked_scatter[1](back.data(), mask.data(), n, starts.data(), out.data());
    index().nonzero(mask.data(), n, starts.data(), 1, &n, at.data(), count);
    size_t k = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(back[i], mask[i] ? x[i] : 0);
      if (!mask[i]) continue;
      ASSERT_EQ(out[k], x[i]);
      ASSERT_EQ(at[k++], static_cast<int64_t>(i));
    }
  }
}

TEST_P(IndexKernels, AlongEachDim) {
  for (int round = 0; round < 500; ++round) {
    const int64_t shape[3] = {random(6) + 1, random(6) + 1, random(40) + 1};
    const int dim = static_cast<int>(random(3));
    int64_t table_shape[3] = {shape[0], shape[1], shape[2]};
    table_shape[dim] = random(8) + 1;
    const int64_t steps[3] = {shape[1] * shape[2], shape[2], 1};
    const int64_t table_steps[3] = {table_shape[1] * table_shape[2], table_shape[2], 1};
    const int64_t n = shape[0] * steps[0], bound = table_shape[dim];
    auto table = numbers<int32_t>(table_shape[0] * table_steps[0], 1000);
    std::vector<int32_t> value(static_cast<size_t>(n), -1);
    std::vector<int64_t> at(static_cast<size_t>(n));
    for (auto& i : at) i = random(bound);
    const bool bad = random(10) == 0;
    if (bad) at[static_cast<size_t>(random(n))] = random(2) ? -1 : bound;
    int64_t sizes[2], strides[2], table_strides[2];
    for (int d = 0, c = 0; d < 3; ++d) {
      if (d == dim) continue;
      sizes[c] = shape[d];
      strides[c] = steps[d];
      table_strides[c++] = table_steps[d];
    }
    AlongDimArgs a{.ndim = 2,
                   .sizes = sizes,
                   .index_strides = strides,
                   .table_strides = table_strides,
                   .value_strides = strides,
                   .length = shape[dim],
                   .bound = bound,
                   .index_stride = steps[dim],
                   .table_stride = table_steps[dim],
                   .value_stride = steps[dim],
                   .index = at.data(),
                   .table = table.data(),
                   .value = value.data()};
    ASSERT_EQ(index().gather[2](a).tensor >= 0, bad);
    if (bad) continue;
    auto want = table;
    for (int64_t i = 0; i < n; ++i) {
      int64_t c[3] = {i / steps[0], i / steps[1] % shape[1], i % shape[2]};
      c[dim] = at[static_cast<size_t>(i)];
      const auto place = static_cast<size_t>(c[0] * table_steps[0] + c[1] * table_steps[1] + c[2]);
      ASSERT_EQ(value[static_cast<size_t>(i)], table[place]);
      want[place] += value[static_cast<size_t>(i)];
    }
    index().scatter_reduce[static_cast<int>(ScatterOp::add)][kInt32](a);
    ASSERT_EQ(table, want);
  }
}

TEST_P(IndexKernels, ThroughOneOrTwoIndexTensors) {
  for (int round = 0; round < 400; ++round) {
    const int64_t a = random(5) + 1, b = random(5) + 1, c = random(70) + 1,
                  n = random(4) ? random(20) + 1 : random(1500) + 1;
    const bool two = random(2), bad = random(10) == 0;
    auto table = numbers<float>(a * b * c, 1000);
    std::vector<int64_t> first(static_cast<size_t>(n)), second(static_cast<size_t>(n));
    for (auto& i : first) i = random(2 * a) - a;
    for (auto& i : second) i = random(2 * b) - b;
    if (bad) second[static_cast<size_t>(random(n))] = random(2) ? b : -b - 1;
    const int64_t* tensors[2] = {second.data(), first.data()};
    const int64_t steps[2] = {1, 1}, bounds[2] = {b, a}, table_steps[2] = {c, b * c};
    const int64_t sizes[2] = {a, c}, strides[2] = {b * c, 1}, value_strides[2] = {n * c, 1};
    std::vector<float> value(static_cast<size_t>(n * c * (two ? 1 : a)), -1);
    IndexedArgs args{.position_ndim = 1,
                     .position_sizes = &n,
                     .value_position_strides = &c,
                     .num_indices = two ? 2 : 1,
                     .index = tensors,
                     .index_strides = steps,
                     .bounds = bounds,
                     .index_table_strides = table_steps,
                     .wrap = true,
                     .slice_ndim = two ? 1 : 2,
                     .slice_sizes = two ? sizes + 1 : sizes,
                     .table_strides = two ? strides + 1 : strides,
                     .value_strides = two ? value_strides + 1 : value_strides,
                     .table = table.data(),
                     .value = value.data()};
    const auto before = table;
    ASSERT_EQ(index().read[2](args).tensor >= 0, bad);
    if (bad) {
      ASSERT_GE(index().write[2](args).tensor, 0);
      ASSERT_EQ(table, before);  // nothing is written
      continue;
    }
    auto each = [&](auto body) {
      for (int64_t p = 0; p < n; ++p) {
        for (int64_t x = 0; x < (two ? 1 : a); ++x) {
          const int64_t i = two ? (first[p] + a) % a : x, j = (second[p] + b) % b;
          for (int64_t k = 0; k < c; ++k) body((i * b + j) * c + k, (two ? 0 : x * n * c) + p * c + k);
        }
      }
    };
    each([&](int64_t t, int64_t v) { ASSERT_EQ(table[t], value[v]); });
    for (float& v : value) v = static_cast<float>(random(1000));
    auto want = before;
    each([&](int64_t t, int64_t v) { want[t] = value[v]; });
    index().write[2](args);
    ASSERT_EQ(table, want);
    each([&](int64_t t, int64_t v) { want[t] += value[v]; });
    index().add[kFloat](args);
    ASSERT_EQ(table, want);
  }
}

TEST_P(IndexKernels, CatOfUnevenPieces) {
  for (int round = 0; round < 200; ++round) {
    const int64_t outer = random(4) + 1, pieces = random(4) + 1;
    std::vector<std::vector<char>> in;
    std::vector<const char*> data;
    std::vector<int64_t> bytes;
    int64_t row = 0;
    for (int64_t i = 0; i < pieces; ++i) {
      bytes.push_back(random(3) ? random(90000) : 0);
      row += bytes.back();
      in.push_back(numbers<char>(outer * bytes.back(), 100));
    }
    if (row == 0) continue;
    for (const auto& piece : in) data.push_back(piece.data());
    std::vector<char> out(static_cast<size_t>(outer * row)), want;
    for (int64_t o = 0; o < outer; ++o) {
      for (size_t i = 0; i < in.size(); ++i) {
        want.insert(want.end(), in[i].begin() + o * bytes[i], in[i].begin() + (o + 1) * bytes[i]);
      }
    }
    index().cat({.outer = outer,
                 .pieces = pieces,
                 .row_bytes = row,
                 .in = data.data(),
                 .piece_bytes = bytes.data(),
                 .out = out.data()});
    ASSERT_EQ(out, want);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, IndexKernels, testing::Range(0, kNumIsaLevels), [](const auto& level) {
  return std::string(isa_name(static_cast<IsaLevel>(level.param)));
});

}  // namespace
}  // namespace ctorch
