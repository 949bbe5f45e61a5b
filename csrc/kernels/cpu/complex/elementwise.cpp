// Kernels of the functors that take complex numbers.
#include "kernels/cpu/elementwise_lists.h"

namespace ctorch {
namespace CT_ISA {
namespace {

template <class... Fs>
void fill_complex(ElementwiseTable& table, TypeList<Fs...>) {
  (fill_types<Fs>(table.fn[functors::functor_id<Fs>], typename Fs::ComplexTypes()), ...);
}

}  // namespace
}  // namespace CT_ISA

void fill_complex_elementwise(ElementwiseTable& table) {
  CT_ISA::fill_complex(table, functors::AllFunctors());
}

}  // namespace ctorch
