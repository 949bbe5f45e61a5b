// Greatest and least elements, and where they stand. NaN counts as beyond every number, in both directions.
#include "kernels/cpu/reduce_lanes.h"

namespace ctorch::CT_ISA {
namespace {

// What elements are compared as: bool as uint8.
template <class T>
using order_t = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

template <class V, bool kMax>
CT_INLINE bool beyond(V a, V b) {
  return kMax ? a > b : a < b;
}
template <class V, bool kMax>
constexpr V worst() {
  if constexpr (std::is_floating_point_v<V>) {
    return kMax ? -__builtin_inf() : __builtin_inf();
  } else {
    constexpr bool is_unsigned = V(-1) > V(0);
    constexpr V lowest = is_unsigned ? V(0) : static_cast<V>(uint64_t{1} << (sizeof(V) * 8 - 1));
    return kMax ? lowest : static_cast<V>(~lowest);
  }
}

template <class T, bool kMax>
struct ExtremeOp {
  using In = order_t<T>;
  using Lane = acc_t<In>;
  using Total = Lane;
  static CT_INLINE Lane load(In x) { return convert<Lane>(x); }
  static CT_INLINE Lane combine(Lane a, Lane b) { return extreme<kMax>(a, b); }
  static CT_INLINE Total total(Lane x) { return x; }
  static CT_INLINE Total empty() { return worst<Lane, kMax>(); }
  static CT_INLINE Total join(Total a, Total b) { return combine(a, b); }
};
template <class T>
struct Same {
  using Out = order_t<T>;
  static CT_INLINE Out result(const ReduceArgs&, acc_t<Out> x) { return convert<Out>(x); }
};

// ---- with the index
// ---------------------------------------------------------------------------------------------------

template <class V>
struct Found {
  V value;
  int64_t index;  // -1: nothing yet
};

template <class T, bool kMax>
struct IndexReducer {
  using Op = ExtremeOp<T, kMax>;
  using In = typename Op::In;
  using Value = typename Op::Lane;
  using Total = Found<Value>;
  // Values and row numbers of equal size side by side keep a loop over columns free of shuffles.
  using Wide = std::conditional_t<std::is_floating_point_v<Value>, Value,
                                  std::conditional_t<(sizeof(Value) < 4), int32_t, Value>>;
  using Row = std::conditional_t<sizeof(Wide) == 8, int64_t, int32_t>;

  template <class V>
  static CT_INLINE bool better(V x, V than) {
    if constexpr (std::is_floating_point_v<V>) {
      return beyond<V, kMax>(x, than) | ((x != x) & (than == than));
    } else {
      return beyond<V, kMax>(x, than);
    }
  }
  static CT_INLINE void join_one(Total& t, Value value, int64_t index) {
    if (t.index < 0 || better(value, t.value)) t = {value, index};
  }

  static void empty(void* totals, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<Total*>(totals)[j] = {Value(0), -1};
  }
  // The extreme first, which needs no indices, then the first place where it stands; short rows in one go.
  static void row(const ReduceArgs&, const void* data, int64_t n, int64_t start, void* total) {
    const In* p = static_cast<const In*>(data);
    auto& t = *static_cast<Total*>(total);
    if (n < 32) {
      Value best = Op::load(p[0]);
      int64_t where = 0;
      for (int64_t i = 1; i < n; ++i) {  // without branches, which random data would mispredict
        const Value x = Op::load(p[i]);
        const bool take = better(x, best);
        best = take ? x : best;
        where = take ? i : where;
      }
      return join_one(t, best, start + where);
    }
    const Value best = combine_row<Op>(p, n);
    if (t.index >= 0 && !better(best, t.value)) return;
    t = {best, start + first_of(p, n, best)};
  }
  static CT_INLINE bool hit(Value x, Value best) { return (x == best) | (x != x); }
  static int64_t first_of(const In* p, int64_t n, Value best) {
    constexpr int kStep = 64;
    int64_t i = 0;
    for (; i + kStep <= n; i += kStep) {
      int any = 0;
      for (int j = 0; j < kStep; ++j) any |= hit(Op::load(p[i + j]), best);
      if (any) break;
    }
    while (i < n - 1 && !hit(Op::load(p[i]), best)) ++i;
    return i;
  }
  static void columns(const ReduceArgs&, const void* data, int64_t rows, int64_t stride, int64_t cols,
                      int64_t start, void* totals) {
    const In* CT_RESTRICT p = static_cast<const In*>(data);
    Wide best[kMaxCols];
    Row where[kMaxCols];
    for (int64_t j = 0; j < cols; ++j) {
      best[j] = Op::load(p[j]);
      where[j] = 0;
    }
    for (int64_t i = 1; i < rows; ++i) {
      const In* r = p + i * stride;
      const Row row_number = static_cast<Row>(i);
      for (int64_t j = 0; j < cols; ++j) {
        const Wide x = Op::load(r[j]);
        const bool take = better(x, best[j]);
        best[j] = take ? x : best[j];
        where[j] = take ? row_number : where[j];
      }
    }
    for (int64_t j = 0; j < cols; ++j) {
      join_one(static_cast<Total*>(totals)[j], static_cast<Value>(best[j]), start + where[j]);
    }
  }
  static void join(void* a, const void* b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      const auto& from = static_cast<const Total*>(b)[j];
      if (from.index >= 0) join_one(static_cast<Total*>(a)[j], from.value, from.index);
    }
  }
  static void write_index(const ReduceArgs& args, const void* totals, int64_t n, int64_t at,
                          int64_t out_stride) {
    auto* out = static_cast<int64_t*>(args.out[0]) + at;
    for (int64_t j = 0; j < n; ++j) out[j * out_stride] = static_cast<const Total*>(totals)[j].index;
  }
  template <class Out>
  static void write_both(const ReduceArgs& args, const void* totals, int64_t n, int64_t at,
                         int64_t out_stride) {
    auto* values = static_cast<Out*>(args.out[0]) + at;
    auto* indices = static_cast<int64_t*>(args.out[1]) + at;
    for (int64_t j = 0; j < n; ++j) {
      values[j * out_stride] = convert<Out>(static_cast<const Total*>(totals)[j].value);
      indices[j * out_stride] = static_cast<const Total*>(totals)[j].index;
    }
  }
};

template <bool kMax, class... Ts>
void fill_extremes(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, kMax ? Reduce::max : Reduce::min) =
        lane_reducer<Ts, ExtremeOp<acc_t<Ts>, kMax>, Same<Ts>>(),
    entry<Ts>(table, kMax ? Reduce::argmax : Reduce::argmin) =
        make_reducer<Ts, IndexReducer<acc_t<Ts>, kMax>>(&IndexReducer<acc_t<Ts>, kMax>::write_index, true),
    entry<Ts>(table, kMax ? Reduce::max_index : Reduce::min_index) =
        make_reducer<Ts, IndexReducer<acc_t<Ts>, kMax>>(
            &IndexReducer<acc_t<Ts>, kMax>::template write_both<order_t<Ts>>, true)),
   ...);
}

}  // namespace

void fill_reduce_order(ReduceTable& table) {
  fill_extremes<true>(table, OrderedTypes{});
  fill_extremes<false>(table, OrderedTypes{});
}

}  // namespace ctorch::CT_ISA
