// Kernels of the arithmetic functors.
#include "kernels/cpu/elementwise_lists.h"

namespace ctorch::CT_ISA {

void fill_elementwise_arithmetic(ElementwiseTable& table) {
  fill_list(table, functors::ArithmeticFunctors());
  // where() moves bits; those of complex128 have a type of their own.
  table.fn[functors::functor_id<functors::Where>][static_cast<int>(DType::complex128)] =
      &elementwise_kernel<functors::Where, functors::Bits128>;
}

}  // namespace ctorch::CT_ISA
