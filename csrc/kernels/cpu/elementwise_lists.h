// Fills the table with the kernels of a list of functors.
#pragma once

#include "kernels/cpu/loops.h"
#include "kernels/functors/lists.h"

namespace ctorch::CT_ISA {
namespace {

template <class... Fs>
inline void fill_list(ElementwiseTable& table, TypeList<Fs...>) {
  (fill_functor<Fs>(table.fn[functors::functor_id<Fs>]), ...);
}

}  // namespace
}  // namespace ctorch::CT_ISA
