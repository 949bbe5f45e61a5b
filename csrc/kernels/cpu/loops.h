// The loops over a functor: blocks of one cache line of elements, whose bodies the compiler vectorises at
// each level. What is left over at the end of a row goes through the same body by way of a padded copy, so
// that an element's result does not depend on its place.
#pragma once

#include <utility>

#include "kernels/cpu/packet.h"
#include "kernels/elementwise.h"
#include "kernels/functors/meta.h"

namespace ctorch::CT_ISA {
namespace {

template <class F, int I, class T>
using InputType = std::conditional_t<F::first_is_bool && I == 0, bool, T>;

// bool is stored as a byte, any of which but 0 counts as true.
template <class T>
CT_INLINE T load(const char* p, int64_t i) {
  if constexpr (std::is_same_v<T, bool>)
    return reinterpret_cast<const uint8_t*>(p)[i] != 0;
  else
    return reinterpret_cast<const T*>(p)[i];
}

// Copy the n elements at `from`, fewer than a block, to `to`, and fill the block up with the first of them.
// Not inlined: it would be the larger part of every kernel.
template <int kSize>
CT_NOINLINE void pad(char* to, const char* from, int64_t n) {
  for (int64_t j = 0; j < n; ++j) __builtin_memcpy(to + j * kSize, from + j * kSize, kSize);
  for (int64_t j = n * kSize; j < 64; j += kSize) __builtin_memcpy(to + j, from, kSize);
}
template <int kSize>
CT_NOINLINE void unpad(char* to, const char* from, int64_t n) {
  for (int64_t j = 0; j < n; ++j) __builtin_memcpy(to + j * kSize, from + j * kSize, kSize);
}

template <class F, class T, unsigned kFixed, size_t... I>
CT_INLINE void elementwise_row(char* out_bytes, const char* const* in_bytes, int64_t n,
                               std::index_sequence<I...>) {
  constexpr F f;
  constexpr int kInputs = sizeof...(I);
  using R = decltype(f(InputType<F, I, T>()...));
  const char* in[kInputs] = {in_bytes[I]...};
  R* out = reinterpret_cast<R*>(out_bytes);
  struct {
    InputType<F, 0, T> first;  // which may be of another type than the rest
    T rest[kInputs];
  } fixed;
  if constexpr (kFixed & 1) fixed.first = load<InputType<F, 0, T>>(in[0], 0);
  ((I > 0 && ((kFixed >> I) & 1) ? void(fixed.rest[I] = load<T>(in[I], 0)) : void()), ...);
  auto at = [&]<size_t K>(std::integral_constant<size_t, K>, int64_t j) __attribute__((always_inline)) {
    if constexpr (!((kFixed >> K) & 1))
      return load<InputType<F, K, T>>(in[K], j);
    else if constexpr (K == 0)
      return fixed.first;
    else
      return fixed.rest[K];
  };

  if constexpr (F::template scalar<T>) {
    for (int64_t j = 0; j < n; ++j) out[j] = f(at(std::integral_constant<size_t, I>(), j)...);
    return;
  }
  constexpr int64_t kBlock = 64 / sizeof(T);
  alignas(64) char padded[kInputs][64];
  alignas(64) R padded_out[kBlock];
  constexpr bool kChecked = requires { F::easy(T(InputType<F, I, T>())...); };
  for (; n > 0;) {
    bool partial = n < kBlock;
    // The bulk of the row at once; what is left, padded to a block.
    int64_t count = partial ? kBlock : n & -kBlock;
    if constexpr (kChecked) count = kBlock;
    R* to = out;
    if (partial) {
      to = padded_out;
      (((kFixed >> I) & 1 ? void()
                          : (pad<sizeof(InputType<F, I, T>)>(padded[I], in[I], n), void(in[I] = padded[I]))),
       ...);
    }
    bool easy = true;
    if constexpr (kChecked) {
      int hard = 0;
      for (int64_t j = 0; j < kBlock; ++j) hard |= !F::easy(at(std::integral_constant<size_t, I>(), j)...);
      easy = !hard;
      if (!easy)
        for (int64_t j = 0; j < kBlock; ++j) to[j] = F::exact(at(std::integral_constant<size_t, I>(), j)...);
    }
    if (easy) {
#pragma GCC ivdep
      for (int64_t j = 0; j < (count & -kBlock); ++j)
        to[j] = f(at(std::integral_constant<size_t, I>(), j)...);
    }
    if (partial) unpad<sizeof(R)>(reinterpret_cast<char*>(out), reinterpret_cast<char*>(to), n);
    n -= count;
    out += count;
    ((in[I] += ((kFixed >> I) & 1) ? 0 : count * static_cast<int64_t>(sizeof(InputType<F, I, T>))), ...);
  }
}

// n elements, a multiple of a packet's, by F::exact(), if they are not all F::easy().
template <class F, class T>
CT_INLINE bool half_row_if_hard(typename Packet<T>::Bits* out, const char* in, int64_t n) {
  using P = Packet<T>;
  auto* packets = reinterpret_cast<const typename P::Bits*>(in);
  int hard = 0;
  for (int64_t j = 0; j < n / P::kLanes; ++j) {
    float x[P::kLanes];
    P::unpack(packets[j], x);
    for (int k = 0; k < P::kLanes; ++k) hard |= !F::easy(x[k]);
  }
  for (int64_t j = 0; hard && j < n / P::kLanes; ++j) {
    float x[P::kLanes];
    P::unpack(packets[j], x);
    for (int k = 0; k < P::kLanes; ++k) x[k] = P::number(F::easy(x[k]) ? F::coarse(x[k]) : F::exact(x[k]));
    P::template pack<true>(out[j], x);
  }
  return hard;
}

// The same for half types: the formula is for float.
template <class F, class T, unsigned kFixed, size_t... I>
CT_INLINE void half_row(char* out, const char* const* in_bytes, int64_t n, std::index_sequence<I...>) {
  using P = Packet<T>;
  constexpr F f;
  constexpr int kInputs = sizeof...(I);
  constexpr int64_t kBlock = 32;
  constexpr bool kChecked = requires { F::easy(((void)I, 0.0f)...); };
  const char* in[kInputs] = {in_bytes[I]...};
  float fixed[kInputs];
  ((((kFixed >> I) & 1) ? void(fixed[I] = P::number(load<float>(in[I], 0))) : void()), ...);
  alignas(64) char padded[kInputs][64], padded_out[64];
  for (; n > 0;) {
    bool partial = n < kBlock;
    int64_t count = partial ? kBlock : n & -kBlock;
    char* to = out;
    if (partial) {
      to = padded_out;
      (((kFixed >> I) & 1 ? void() : (pad<2>(padded[I], in[I], n), void(in[I] = padded[I]))), ...);
    }
    auto* packets = reinterpret_cast<typename P::Bits*>(to);
    constexpr int64_t kMost = 8 * kBlock;  // to check: more would lose the L1, fewer the vectors of packets
    if (kChecked && count > kMost) count = kMost;
    int64_t whole = (count & -kBlock) / P::kLanes;
    if constexpr (kChecked) {
      if (half_row_if_hard<F, T>(packets, in[0], count)) whole = 0;
    }
#pragma GCC ivdep
    for (int64_t j = 0; j < whole; ++j) {
      float x[kInputs][P::kLanes], y[P::kLanes];
      (((kFixed >> I) & 1 ? void() : P::unpack(reinterpret_cast<const typename P::Bits*>(in[I])[j], x[I])),
       ...);
      for (int k = 0; k < P::kLanes; ++k) {
        if constexpr (requires { F::coarse(x[I][k]...); })
          y[k] = F::coarse(((kFixed >> I) & 1 ? fixed[I] : x[I][k])...);
        else
          y[k] = f(((kFixed >> I) & 1 ? fixed[I] : x[I][k])...);
      }
      P::template pack<F::halves == Halves::direct>(packets[j], y);
    }
    if (partial) unpad<2>(out, to, n);
    n -= count;
    out += 2 * count;
    ((in[I] += ((kFixed >> I) & 1) ? 0 : 2 * count), ...);
  }
}

template <class F, class T, unsigned kFixed>
CT_INLINE void elementwise_rows(const ElementwiseArgs& args) {
  constexpr int kInputs = F::inputs + F::params;
  char* out = args.data[0];
  const char* in[kInputs];
  for (int i = 0; i < kInputs; ++i) in[i] = args.data[i + 1];
  for (int64_t row = 0; row < args.rows; ++row) {
    if constexpr (is_half_v<T>)
      half_row<F, T, kFixed>(out, in, args.n, std::make_index_sequence<kInputs>());
    else
      elementwise_row<F, T, kFixed>(out, in, args.n, std::make_index_sequence<kInputs>());
    out += args.row_bytes[0];
    for (int i = 0; i < kInputs; ++i) in[i] += args.row_bytes[i + 1];
  }
}

[[maybe_unused]] CT_NOINLINE ElementwiseArgs exchange_inputs(ElementwiseArgs args) {
  std::swap(args.data[1], args.data[2]);
  std::swap(args.row_bytes[1], args.row_bytes[2]);
  args.fixed = 2;
  return args;
}

template <class F, class T>
void elementwise_kernel(const ElementwiseArgs& args) {
  if constexpr (F::commutative) {
    if (args.fixed == 1) {
      elementwise_kernel<F, T>(exchange_inputs(args));
      return;
    }
  }
  [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    auto run = [&]<unsigned kFixed>() __attribute__((always_inline)) {
      if constexpr (!(F::commutative && kFixed == 1))
        if (args.fixed == kFixed) elementwise_rows<F, T, kFixed>(args);
    };
    (run.template operator()<F::masks[I]>(), ...);
  }(std::make_index_sequence<std::size(F::masks)>());
}

// Put the kernels of F for the types of List into its row of the table.
template <class F, class... Ts>
void fill_types(ElementwiseFn* row, TypeList<Ts...>) {
  ((row[static_cast<int>(dtype_of<Ts>)] = &elementwise_kernel<F, Ts>), ...);
}

inline void share(ElementwiseFn* row, DType from, DType to) {
  row[static_cast<int>(to)] = row[static_cast<int>(from)];
}

template <class F>
struct OnHalfBits : functors::Unary {
  CT_FORMULA uint16_t operator()(uint16_t x) const { return F::half_bits(x); }
};

template <class F>
void fill_functor(ElementwiseFn* row) {
  fill_types<F>(row, typename F::Types());
  if constexpr (F::halves != Halves::buffered) fill_types<F>(row, DirectHalves());
  if constexpr (requires { F::half_bits(uint16_t()); }) {
    row[static_cast<int>(DType::float16)] = &elementwise_kernel<OnHalfBits<F>, uint16_t>;
    share(row, DType::float16, DType::bfloat16);
  }
  if constexpr (F::sign_free || F::bits) {
    share(row, DType::uint8, DType::int8);
    share(row, DType::uint16, DType::int16);
    share(row, DType::uint32, DType::int32);
    share(row, DType::uint64, DType::int64);
  }
  if constexpr (F::byte_bool || F::bits) share(row, DType::uint8, DType::boolean);
  if constexpr (F::bits) {
    share(row, DType::uint16, DType::float16);
    share(row, DType::uint16, DType::bfloat16);
    share(row, DType::uint32, DType::float32);
    share(row, DType::uint64, DType::float64);
    share(row, DType::uint64, DType::complex64);
  }
}

}  // namespace
}  // namespace ctorch::CT_ISA
