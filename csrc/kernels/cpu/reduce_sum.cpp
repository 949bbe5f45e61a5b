// Sums, means, products, counts, all and any.
#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/packet.h"
#include "kernels/cpu/reduce_lanes.h"

namespace ctorch::CT_ISA {
namespace {

template <class T>
struct SumOp {
  using In = element_t<T>;
  using Lane = lane_t<T>;
  using Total = wide_t<T>;
  static CT_INLINE Lane load(In x) { return convert<Lane>(x); }
  static CT_INLINE Lane combine(Lane a, Lane b) { return plus(a, b); }
  static CT_INLINE Total total(Lane x) { return convert<Total>(x); }
  static CT_INLINE Total empty() { return Total{}; }
  static CT_INLINE Total join(Total a, Total b) { return plus(a, b); }
};

// Of half types, whose conversion costs more than the addition: in registers, without a copy as floats.
template <class T>
struct HalfSumReducer {
  using Vector = Simd<float>::Vector;
  static constexpr int64_t kWidth = kLanes<float>;

  static void row(const ReduceArgs&, const void* data, int64_t n, int64_t, void* total) {
    const T* p = static_cast<const T*>(data);
    Vector sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sums[k] += load_convert<float>(p + i + k * kWidth);
    }
    for (; i + kWidth <= n; i += kWidth) sums[0] += load_convert<float>(p + i);
    float rest = 0;
    for (; i < n; ++i) rest += static_cast<float>(p[i]);
    *static_cast<double*>(total) += sum_lanes<float>((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
  }
  // Eight rows at a time: sums stay in the L1, and memory is read in few streams.
  static void columns(const ReduceArgs&, const void* data, int64_t rows, int64_t stride, int64_t cols,
                      int64_t, void* totals) {
    float sums[kMaxCols];
    for (int64_t first = 0; first < rows; first += 8) {
      const T* p = static_cast<const T*>(data) + first * stride;
      const int64_t count = least(8, rows - first);
      int64_t j = 0;
      for (; j + kWidth <= cols; j += kWidth) {
        Vector sum = first ? load_vector(sums + j) : Vector{};
        if (count == 8) {
#pragma GCC unroll 8
          for (int64_t i = 0; i < 8; ++i) sum += load_convert<float>(p + i * stride + j);
        } else {
          for (int64_t i = 0; i < count; ++i) sum += load_convert<float>(p + i * stride + j);
        }
        store_vector(sums + j, sum);
      }
      for (; j < cols; ++j) {
        float sum = first ? sums[j] : 0;
        for (int64_t i = 0; i < count; ++i) sum += static_cast<float>(p[i * stride + j]);
        sums[j] = sum;
      }
    }
    for (int64_t j = 0; j < cols; ++j) static_cast<double*>(totals)[j] += sums[j];
  }
};

template <class T>
struct NanSumOp : SumOp<T> {
  using typename SumOp<T>::Lane;
  static CT_INLINE Lane load(T x) {
    auto value = convert<Lane>(x);
    return value == value ? value : 0;
  }
};

// Products are joined in the lanes' own type: a wider one would hide the overflow that PyTorch shows.
template <class T>
struct ProdOp {
  using In = element_t<T>;
  using Lane = lane_t<T>;
  using Total = Lane;
  static CT_INLINE Lane load(In x) { return convert<Lane>(x); }
  static CT_INLINE Lane combine(Lane a, Lane b) { return times(a, b); }
  static CT_INLINE Total total(Lane x) { return x; }
  static CT_INLINE Total empty() {
    if constexpr (is_complex_v<T>) {
      return {1, 0};
    } else {
      return 1;
    }
  }
  static CT_INLINE Total join(Total a, Total b) { return times(a, b); }
};

// PyTorch's dtypes: floating and complex sums keep theirs, all others are int64.
template <class T>
struct AsIs {
  using Out = std::conditional_t<is_float_v<T> || is_complex_v<T>, element_t<T>, int64_t>;
  template <class Total>
  static CT_INLINE Out result(const ReduceArgs&, Total x) {
    return convert<Out>(x);
  }
};
template <class T>
struct Divided {
  using Out = element_t<T>;
  static CT_INLINE Out result(const ReduceArgs& args, wide_t<T> x) {
    const double n = static_cast<double>(args.count);
    if constexpr (is_complex_v<T>) {
      return convert<Out>(Cplx<double>{x.re / n, x.im / n});
    } else {
      return convert<Out>(x / n);
    }
  }
};

// Elements are told from zero by their bits, with the sign of floating ones (kMask) left out.
template <class Bits, Bits kMask>
struct CountOp {
  using In = Bits;
  using Lane = std::conditional_t<(sizeof(Bits) > 4), int64_t, int32_t>;  // a lane counts at most one block
  using Total = int64_t;
  static CT_INLINE Lane load(In x) { return (x & kMask) != 0 ? 1 : 0; }
  static CT_INLINE Lane combine(Lane a, Lane b) { return a + b; }
  static CT_INLINE Total total(Lane x) { return x; }
  static CT_INLINE Total empty() { return 0; }
  static CT_INLINE Total join(Total a, Total b) { return a + b; }
};
template <class Part>
struct CountComplexOp : CountOp<uint64_t, 0> {
  using In = Cplx<Part>;
  static CT_INLINE Lane load(In x) { return (x.re != 0) | (x.im != 0) ? 1 : 0; }
};
struct Counted {
  using Out = int64_t;
  static CT_INLINE Out result(const ReduceArgs&, int64_t n) { return n; }
};
struct IsAll {
  using Out = bool;
  static CT_INLINE Out result(const ReduceArgs& args, int64_t n) { return n == args.count; }
};
struct IsAny {
  using Out = bool;
  static CT_INLINE Out result(const ReduceArgs&, int64_t n) { return n != 0; }
};

template <class Op, class... Ts>
void fill_counts(ReduceTable& table) {
  ((entry<Ts>(table, Reduce::count_nonzero) = lane_reducer<void, Op, Counted>(),
    entry<Ts>(table, Reduce::all) = lane_reducer<void, Op, IsAll>(),
    entry<Ts>(table, Reduce::any) = lane_reducer<void, Op, IsAny>()),
   ...);
}
template <class... Ts>
void fill_sums(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::sum) = lane_reducer<Ts, SumOp<acc_t<Ts>>, AsIs<Ts>>()), ...);
}
template <class... Ts>
void fill_prods(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::prod) = lane_reducer<Ts, ProdOp<acc_t<Ts>>, AsIs<Ts>>()), ...);
}
template <class... Ts>
void fill_means(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::mean) = lane_reducer<Ts, SumOp<acc_t<Ts>>, Divided<Ts>>()), ...);
}
template <class T>
void fill_half_sum(Reducer& r) {
  r.row = &HalfSumReducer<T>::row;
  r.columns = &HalfSumReducer<T>::columns;
  r.widen = nullptr;
}
template <class... Ts>
void fill_half_sums(ReduceTable& table, TypeList<Ts...>) {
  ((fill_half_sum<Ts>(entry<Ts>(table, Reduce::sum)), fill_half_sum<Ts>(entry<Ts>(table, Reduce::mean))),
   ...);
}
template <class... Ts>
void fill_nansums(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::nansum) = lane_reducer<Ts, NanSumOp<acc_t<Ts>>, AsIs<Ts>>()), ...);
}

}  // namespace

void fill_reduce_sum(ReduceTable& table) {
  // The integer types left out are rare enough to be converted to int64 first.
  fill_sums(table, Join<TypeList<uint8_t, int32_t, int64_t>, FloatsAndComplexes>{});
  fill_prods(table, Join<TypeList<int64_t>, FloatsAndComplexes>{});
  fill_means(table, FloatsAndComplexes{});
  fill_half_sums(table, DirectHalves{});
  fill_nansums(table, Floats{});
  fill_counts<CountOp<uint8_t, 0xff>, bool, uint8_t, int8_t>(table);
  entry<bool>(table, Reduce::sum) = entry<bool>(table, Reduce::count_nonzero);
  fill_counts<CountOp<uint16_t, 0xffff>, uint16_t, int16_t>(table);
  fill_counts<CountOp<uint32_t, 0xffffffffu>, uint32_t, int32_t>(table);
  fill_counts<CountOp<uint64_t, ~uint64_t{0}>, uint64_t, int64_t>(table);
  fill_counts<CountOp<uint16_t, 0x7fff>, Half, BFloat16>(table);
  fill_counts<CountOp<uint32_t, 0x7fffffffu>, float>(table);
  fill_counts<CountOp<uint64_t, (~uint64_t{0} >> 1)>, double>(table);
  fill_counts<CountComplexOp<float>, complex64_t>(table);
  fill_counts<CountComplexOp<double>, complex128_t>(table);
}

}  // namespace ctorch::CT_ISA
