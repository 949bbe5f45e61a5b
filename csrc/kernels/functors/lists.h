// All functors, and the number of each in the kernel table.
#pragma once

#include "kernels/elementwise.h"
#include "kernels/functors/activation.h"
#include "kernels/functors/binary.h"
#include "kernels/functors/ternary.h"
#include "kernels/functors/unary.h"

namespace ctorch::functors {

template <class... Lists>
struct JoinAll;
template <class A>
struct JoinAll<A> {
  using type = A;
};
template <class A, class B, class... Rest>
struct JoinAll<A, B, Rest...> {
  using type = typename JoinAll<Join<A, B>, Rest...>::type;
};

using UnaryFunctors = JoinAll<PlainUnary, RoundingUnary, QuestionUnary, OtherUnary>::type;
using ArithmeticFunctors = JoinAll<PlainBinary, NumberBinary, OtherBinary, OtherTernary>::type;
using ActivationFunctors = JoinAll<PlainActivations, PlainBackwards, OtherActivations>::type;
using AllFunctors = JoinAll<UnaryFunctors, ArithmeticFunctors, ActivationFunctors>::type;
static_assert(AllFunctors::size <= kMaxFunctors);

template <class F, class List>
struct IndexIn;
template <class F, class... Fs>
struct IndexIn<F, TypeList<Fs...>> {
  static constexpr int find() {
    int i = 0, at = -1;
    ((std::is_same_v<F, Fs> ? (at = i) : 0, ++i), ...);
    return at;
  }
};
template <class F>
inline constexpr int functor_id = IndexIn<F, AllFunctors>::find();

}  // namespace ctorch::functors
