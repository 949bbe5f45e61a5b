// Kernels of the unary functors.
#include "kernels/cpu/elementwise_lists.h"

namespace ctorch::CT_ISA {

void fill_elementwise_unary(ElementwiseTable& table) { fill_list(table, functors::UnaryFunctors()); }

}  // namespace ctorch::CT_ISA
